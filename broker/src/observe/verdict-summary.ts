/** What became of the messages of the last while, in one line of the log. Pure. */

import type { CounterValues } from '../gate/counters.ts';

export interface VerdictSummary {
  readonly received: number;
  readonly accepted: number;
  readonly duplicate: number;
  readonly rejected: number;
  readonly codes: Readonly<Record<string, number>>;
}

/** @returns the difference of two counts; null when nothing has come. */
export function verdictSummary(before: CounterValues, after: CounterValues): VerdictSummary | null {
  const codes: Record<string, number> = {};
  for (const [code, count] of Object.entries(after.rejectedByCode)) {
    const grown = count - (before.rejectedByCode[code] ?? 0);
    if (grown > 0) codes[code] = grown;
  }
  const summary = {
    received: after.received - before.received,
    accepted: after.accepted - before.accepted,
    duplicate: after.duplicate - before.duplicate,
    rejected: after.rejected - before.rejected,
    codes,
  };
  const { received, accepted, duplicate, rejected } = summary;
  return received + accepted + duplicate + rejected === 0 ? null : summary;
}
