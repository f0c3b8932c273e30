/** Errors of starting the whole network on one machine. */

import { type ErrorRow, FieldproofError } from '@fieldproof/protocol/errors';

export const STACK_ERRORS = {
  ERR_OPTION: {
    what: 'An option or environment variable of npm start is wrong.',
    remedy: 'See npm start -- --help.',
  },
  ERR_DATA_VERSION: {
    what: 'The data folder was made by another version.',
    remedy: 'Start the version that made it, or give another folder with -- --data DIR.',
  },
  ERR_DATA_FOLDER: {
    what: 'The data folder cannot be used.',
    remedy: 'Give a folder that you may write to with -- --data DIR.',
  },
  ERR_ALREADY_RUNNING: {
    what: 'Another network runs on this data folder.',
    remedy: 'Stop it first, or give another folder with -- --data DIR.',
  },
  ERR_INFLUX_UNREACHABLE: {
    what: 'INFLUX_URL names a server that does not answer as InfluxDB.',
    remedy: 'Start InfluxDB or correct INFLUX_URL; without it the embedded store is used.',
  },
  ERR_PORT_LOST: {
    what: 'While a process of the network was being started again, another program took its port and kept it.',
    remedy:
      'Stop that program and start the network again, or choose other ports with -- --port-base N.',
  },
  ERR_PROCESS_FAILED: {
    what: 'A process of the network ended before it was ready.',
    remedy: 'The line above says why; its log file says more.',
  },
} as const satisfies Record<string, ErrorRow>;

export type StackErrorCode = keyof typeof STACK_ERRORS;

export class StackError extends FieldproofError {
  declare readonly code: StackErrorCode;

  constructor(code: StackErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}
