/** Durations as people write them. */

import { BrokerError } from '../errors.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** Milliseconds of `90s`, `90m`, `36h`, `14d`, `2w`, or of a number of days. @throws {BrokerError} ERR_REQUEST. */
export function parseDuration(text: string): number {
  const [, amount, unit = 'd'] = /^(\d{1,6}(?:\.\d{1,3})?)([smhdw])?$/.exec(text.trim()) ?? [];
  const ms = Math.round(Number(amount) * UNIT_MS[unit]!);
  if (amount !== undefined && ms >= 1) return ms;
  throw new BrokerError('ERR_REQUEST', `${text}: expected a duration such as 14d, 36h or 90m`);
}
