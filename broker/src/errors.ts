/** Every code that the broker raises, sends in a reject or counts. `docs/errors.md` has one row per code. */

import { type ErrorRow, FieldproofError } from '@fieldproof/protocol/errors';

export const BROKER_ERRORS = {
  ERR_LOG_FULL: {
    what: 'The evidence log cannot be written.',
    remedy: 'Keep the envelopes and send them again; the operator must free disk space.',
  },
  ERR_LOG_CORRUPT: {
    what: 'Stored evidence has changed or is missing.',
    remedy: 'Stop using the disk, restore a backup; the message names the file and the place.',
  },
  ERR_INDEX_RANGE: {
    what: 'The index or size is above that of the log.',
    remedy: 'Ask for an index below the size of the newest checkpoint, or tail from the size.',
  },
  ERR_DATA_LOCKED: {
    what: 'Another broker uses the data folder.',
    remedy: 'Stop it or choose another folder with --data.',
  },
} as const satisfies Record<string, ErrorRow>;

export type BrokerErrorCode = keyof typeof BROKER_ERRORS;

/** Thrown by this package; devices see its code in rejects, people in problem details. */
export class BrokerError extends FieldproofError {
  declare readonly code: BrokerErrorCode;

  constructor(code: BrokerErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}
