/**
 * Reputation as Acurast's beta score with forgetting (their pallet `marketplace`, `reputation`), in integers.
 * docs/spec/rewards.md section 11.
 */

import { PPM } from './slot-credit.ts';

/** One, in the units of weights and sums: 10^-12. */
const ONE = 10n ** 12n;
const LAMBDA = [98n, 100n] as const;

/** Sums of good and bad, each outcome forgotten by 2 % with the next. */
export interface Reputation {
  readonly good: bigint;
  readonly bad: bigint;
}

export const NO_HISTORY: Reputation = { good: 0n, bad: 0n };

/**
 * How much an outcome counts, by its value against the mean value of all before it.
 *
 * @returns in units of 10^-12; a half where both are 0.
 */
export function outcomeWeight(value: bigint, meanValue: bigint): bigint {
  return value + meanValue === 0n ? ONE / 2n : (ONE * value) / (meanValue + value);
}

export function afterOutcome(
  { good, bad }: Reputation,
  isGood: boolean,
  weight: bigint,
): Reputation {
  const [kept, of] = LAMBDA;
  return {
    good: (good * kept) / of + (isGood ? weight : 0n),
    bad: (bad * kept) / of + (isGood ? 0n : weight),
  };
}

/** @returns the score in ppm; with no history 509,803. */
export function reputationPpm({ good, bad }: Reputation): number {
  const score = (BigInt(PPM) * 52n * (good + ONE)) / (51n * (good + bad + 2n * ONE));
  return Math.min(PPM, Number(score));
}
