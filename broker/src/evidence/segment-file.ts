/** Names and first bytes of segments (evidence-log.md section 2): what the writer and the reader agree on. */

import { BrokerError } from '../errors.ts';

/** What every segment begins with. */
export const SEGMENT_MAGIC: Uint8Array = new TextEncoder().encode('fieldproof-seg-1');

const NAME = /^(\d{16})\.seg$/;

/** The file name of the segment whose first frame has that index. */
export function segmentName(first: number): string {
  return `${String(first).padStart(16, '0')}.seg`;
}

/** The index in a segment's file name, or undefined when it is not one. */
export function segmentFirst(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The error for evidence that has changed or is missing. */
export function corrupt(where: string, what: string, cause?: unknown): BrokerError {
  return new BrokerError('ERR_LOG_CORRUPT', `${where}: ${what}`, { cause });
}
