/**
 * The analytics package's error codes. Style and rules as in `@fieldproof/protocol/errors`.
 */
import { type ErrorRow, FieldproofError } from '@fieldproof/protocol/errors';

export const ANALYTICS_ERRORS = {
  ERR_LINE_ENCODE: {
    what: 'A point cannot be written as line protocol (a newline in a name, a number that is not finite, no fields).',
    remedy: 'The message names the part; fix the name or value where it was made.',
  },
  ERR_LINE_SYNTAX: {
    what: 'The text is not line protocol.',
    remedy: 'The message gives the line and byte; see docs.influxdata.com, line protocol.',
  },
  ERR_LINE_BUFFER_FULL: {
    what: 'One table is larger than a whole write may be.',
    remedy: 'Split the table by instants.',
  },
  ERR_TAIL_UNAVAILABLE: {
    what: 'The broker did not answer the request for its evidence, or the connection ended.',
    remedy: 'It is tried again by itself; check that the broker runs and its address is right.',
  },
  ERR_TAIL_AUTH: {
    what: 'The broker refused the token, or the token cannot be read.',
    remedy: 'Give the file of a token with the scope "tail".',
  },
  ERR_TAIL_RANGE: {
    what: 'The evidence log has no entry of that index, or does not keep it any more.',
    remedy: 'Check that the broker is the one of before; what it has is read.',
  },
  ERR_TAIL_CORRUPT: {
    what: 'The broker sends evidence with a wrong checksum or index.',
    remedy: 'Nothing after it is read. Check the disk of the broker and restore its log.',
  },
  ERR_TAIL_OTHER_LOG: {
    what: 'The evidence log is not the one that the cursor belongs to.',
    remedy: 'Point to the broker of before, or delete the cursor to begin with this log.',
  },
  ERR_TAIL_FORKED: {
    what: 'The evidence log no longer holds what the cursor has passed: it went back, or was restored from an older copy.',
    remedy:
      'Everything is read again from entry 0, for windows too. Readings whose evidence is gone stay in the store: fieldproof rebuild leaves them out.',
  },
  ERR_BATCH_SET_ASIDE: {
    what: 'Readings were sent several times and not acknowledged: something in the flow keeps them.',
    remedy:
      'Look for a function node that does not pass messages on; the dead letter file has them.',
  },
  ERR_DEAD_LETTERS_DAMAGED: {
    what: 'A file of dead letters is damaged, and not only at its end, where a crash leaves it.',
    remedy:
      'It is kept under the name in the message, with all that is still whole in it, and a new one is begun. Check the disk.',
  },
  ERR_ROWS_IGNORED: {
    what: 'Rows of a window node were sent several times, and a store behind it did not take them: something in the flow keeps them.',
    remedy:
      'Look for a function node between window and store that does not pass messages on. The rows are kept and sent again until they are stored; when they are too many, the reading stops.',
  },
  ERR_CURSOR_CORRUPT: {
    what: 'A cursor file cannot be read.',
    remedy: 'The one before it is used, else everything is read again; what is stored stays.',
  },
  ERR_WINDOW_STATE: {
    what: 'A state file of windows cannot be read.',
    remedy:
      'Windows are made again from the one before: the evidence is read again from entry 0, by itself. Messages of plain readings since then are not in them.',
  },
  ERR_WINDOW_STATE_FORMAT: {
    what: 'A state file of windows is of another release of this software.',
    remedy:
      'It is kept under the name in the message. Windows are made again: the evidence is read again from entry 0, by itself. Messages of plain readings are not in windows that were open; for these, go back to the other release with the kept files until the windows are closed.',
  },
  ERR_STATE_WRITE: {
    what: 'The cursor, the windows or the dead letters of a projection cannot be written.',
    remedy:
      'Free disk space where the message says, or make the folder writable. Nothing is lost: it is tried again by itself, and what is not durable is read again.',
  },
  ERR_STORE_UNAVAILABLE: {
    what: 'The time-series store did not answer, or answered that it cannot now.',
    remedy:
      'Nothing is lost; the write is sent again. Check that the store runs and its disk has room.',
  },
  ERR_STORE_FULL: {
    what: 'The disk of the time-series store is full.',
    remedy:
      'Free disk space where the store lies. Nothing is lost: the write is sent again by itself, and the evidence is kept meanwhile.',
  },
  ERR_STORE_LOCKED: {
    what: 'Another process has the store folder open.',
    remedy: 'Stop the other process, or choose another data folder.',
  },
  ERR_STORE_CORRUPT: {
    what: 'The store files cannot be opened.',
    remedy: 'Move the folder away and rebuild the store from the evidence log.',
  },
  ERR_STORE_CLOSED: {
    what: 'The store was used before open() or after close().',
    remedy: 'Fix the calling code.',
  },
  ERR_STORE_LINES_REFUSED: {
    what: 'The store refused some lines for good; the other lines of the body are stored.',
    remedy: 'The message names the first refused line and why; sending it again will not help.',
  },
  ERR_STORE_FIELD_TYPE: {
    what: 'A metric changed its type; the points that did are not stored, the others are.',
    remedy: 'The message names series and metric. Give the new meaning a new metric name.',
  },
  ERR_STORE_SERIES_BUDGET: {
    what: 'The store holds as many series or fields as it may; points of new ones are not stored.',
    remedy: 'Look for a device that invents names; raise maxSeries if the growth is wanted.',
  },
  ERR_STORE_BODY_TOO_LARGE: {
    what: 'One write is larger than the store accepts.',
    remedy: 'Split the body at a line end.',
  },
  ERR_STORE_AUTH: {
    what: 'The time-series store refused the user name or password.',
    remedy: 'Check the credentials in INFLUX_URL.',
  },
  ERR_STORE_QUERY: {
    what: 'A query argument is outside its domain.',
    remedy: 'The message names the argument.',
  },
  ERR_STORE_LIMIT: {
    what: 'The answer would hold more points than the query allows.',
    remedy: 'Ask for a shorter range, wider buckets or one device.',
  },
  ERR_ROUTE_UNKNOWN: {
    what: 'The API has no such path.',
    remedy: 'Look at /v1/openapi.json for the paths there are.',
  },
  ERR_METHOD_NOT_ALLOWED: {
    what: 'The path exists, but not with this method.',
    remedy: 'Use one of the methods in the Allow header.',
  },
  ERR_REQUEST_INVALID: {
    what: 'A parameter or the body of the request is outside its domain.',
    remedy: 'The detail names the parameter; see /v1/openapi.json.',
  },
  ERR_REQUEST_TOO_LARGE: {
    what: 'The request is larger than the route takes.',
    remedy: 'Send it in smaller parts; lines of a write can be split at any line end.',
  },
  ERR_MEDIA_TYPE: {
    what: 'The body has a content type or encoding that the route does not read.',
    remedy: 'Send application/json, or for a write plain text, raw or gzip.',
  },
  ERR_NOT_READY: {
    what: 'The process runs but cannot serve data yet.',
    remedy: 'Wait some seconds; when it stays so, look at the log of the control process.',
  },
  ERR_INTERNAL: {
    what: 'The server failed in a way that it did not foresee.',
    remedy: 'Give the request id to the operator, who finds the cause in the log.',
  },
  ERR_TOKEN_MISSING: {
    what: 'The request carries no bearer token.',
    remedy: 'Send "Authorization: Bearer fpt_…"; npm start prints how to get one.',
  },
  ERR_TOKEN_UNKNOWN: {
    what: 'The token is not one of this server: mistyped, revoked, or of another network.',
    remedy: 'Ask the operator for a token (fieldproof token create).',
  },
  ERR_TOKEN_EXPIRED: {
    what: 'The token is past its expiry.',
    remedy: 'Ask the operator for a new token (fieldproof token create).',
  },
  ERR_TOKEN_SCOPE: {
    what: 'The token is valid but lacks the scope that the route needs.',
    remedy: 'Use a token with the scope that the detail names.',
  },
  ERR_TOKEN_NAME: {
    what: 'There is no token of this name, or already one.',
    remedy: 'See fieldproof token list.',
  },
  ERR_TOKEN_FILE: {
    what: 'The file of token hashes cannot be read.',
    remedy: 'Restore it, or move it away: a new admin token is then made and all others end.',
  },
  ERR_CONFIG: {
    what: 'The configuration of the control process is not usable.',
    remedy: 'The message lists every problem; see analytics/README.md.',
  },
  ERR_PORT_TAKEN: {
    what: 'Another program listens on the port.',
    remedy: 'Stop the other program or choose another port (--port, 0 for any).',
  },
  ERR_LISTEN: {
    what: 'The control process cannot listen on this address.',
    remedy: 'Check --host and --port; ports below 1024 need rights.',
  },
  ERR_API_UNREACHABLE: {
    what: 'The API did not answer.',
    remedy: 'Check that the network runs (npm start) and that --url is its address.',
  },
  ERR_API_ANSWER: {
    what: 'The address answered, but not as the Fieldproof API does.',
    remedy: 'Check --url; it is the address of the control process, by default port 7881.',
  },
  ERR_CONFIG_DEVICE: {
    what: 'The network has no such device.',
    remedy: 'See fieldproof devices; a part of a name must fit one device only.',
  },
  ERR_CONFIG_REFUSED: {
    what: 'The device did not take the settings.',
    remedy: 'Correct what the reasons name and issue them again; the settings before are in force.',
  },
  ERR_CONFIG_CONFLICT: {
    what: 'Somebody else has set the device meanwhile.',
    remedy: 'Look at what is wanted now, fieldproof config show, and issue the settings again.',
  },
  ERR_CONFIG_UNAVAILABLE: {
    what: 'Settings cannot be issued: broker or control key are not there.',
    remedy: 'Start the broker; set FIELDPROOF_CONTROL_KEYS_DIR to the folder with control.key.',
  },
  ERR_CONFIG_UNANSWERED: {
    what: 'The device has not answered yet.',
    remedy: 'Nothing is lost: it gets them when it connects. See fieldproof config show.',
  },
  ERR_REBUILD_NONE: {
    what: 'No rebuild of the embedded store is under way, or another one has begun.',
    remedy: 'Run fieldproof rebuild, which begins one; a restart of the control process ends it.',
  },
  ERR_REBUILD_INCOMPLETE: {
    what: 'The rebuilt store may not take the place of the present one.',
    remedy: 'Profiles that no evidence gives need --force or a --window; else run it again.',
  },
  ERR_REBUILD_TARGET: {
    what: 'The database to rebuild into holds readings already.',
    remedy: 'Choose another --database, or let --replace drop this one first.',
  },
  ERR_REBUILD_INTERRUPTED: {
    what: 'The rebuild was ended before it was done.',
    remedy: 'Run it again: the embedded store is as before, a database is continued.',
  },
  ERR_AUDIT_INPUT: {
    what: 'A file or folder that an audit is to read is missing or is something else.',
    remedy: 'Point to the data folders of the broker and of the agents, and to the store file.',
  },
  ERR_AUDIT_FAILED: {
    what: 'The audit found something that is lost, doubled or changed.',
    remedy: 'The table names the check; its examples name device, boot, seq and entry.',
  },
  ERR_USAGE: {
    what: 'The command line is not complete or has an unknown part.',
    remedy: 'See --help of the command; its end shows examples.',
  },
} as const satisfies Record<string, ErrorRow>;

export type AnalyticsErrorCode = keyof typeof ANALYTICS_ERRORS;

/** Codes after which the same call may succeed later; all others are permanent. */
const TRANSIENT: ReadonlySet<AnalyticsErrorCode> = new Set([
  'ERR_STATE_WRITE',
  'ERR_STORE_FULL',
  'ERR_STORE_UNAVAILABLE',
  'ERR_TAIL_UNAVAILABLE',
]);

/** Thrown by everything in this package that fails. */
export class AnalyticsError extends FieldproofError {
  declare readonly code: AnalyticsErrorCode;

  constructor(code: AnalyticsErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }

  /** Whether the same call may succeed later; false means: park it, do not retry. */
  get transient(): boolean {
    return TRANSIENT.has(this.code);
  }
}
