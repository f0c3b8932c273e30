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
  ERR_STORE_UNAVAILABLE: {
    what: 'The time-series store did not answer, or answered that it cannot now.',
    remedy:
      'Nothing is lost; the write is sent again. Check that the store runs and its disk has room.',
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
} as const satisfies Record<string, ErrorRow>;

export type AnalyticsErrorCode = keyof typeof ANALYTICS_ERRORS;

/** Codes after which the same call may succeed later; all others are permanent. */
const TRANSIENT: ReadonlySet<AnalyticsErrorCode> = new Set(['ERR_STORE_UNAVAILABLE']);

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
