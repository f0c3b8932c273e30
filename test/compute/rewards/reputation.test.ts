import {
  afterOutcome,
  NO_HISTORY,
  outcomeWeight,
  type Reputation,
  reputationPpm,
} from '@fieldproof/compute/rewards/reputation';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';

const HALF = outcomeWeight(7n, 7n);

function after(start: Reputation, isGood: boolean, times: number): Reputation {
  let reputation = start;
  for (let at = 0; at < times; at += 1) reputation = afterOutcome(reputation, isGood, HALF);
  return reputation;
}

test("Acurast's published values at weight 0.5", () => {
  const score = (reputation: Reputation) => (reputationPpm(reputation) / 1e6).toFixed(4);
  const hundred = after(NO_HISTORY, true, 100);
  expect(score(NO_HISTORY)).toBe('0.5098');
  expect(score(after(NO_HISTORY, true, 20))).toBe('0.9207');
  expect(score(hundred)).toBe('0.9766');
  expect(score(after(hundred, false, 1))).toBe('0.9552');
  expect(score(after(hundred, false, 5))).toBe('0.8751');
});

test('an outcome of more value counts more, and never as much as one', () => {
  expect(outcomeWeight(0n, 0n)).toBe(HALF);
  expect(outcomeWeight(3n, 1n)).toBe(750_000_000_000n);
  fc.assert(
    fc.property(fc.bigInt(1n, 10n ** 15n), fc.bigInt(1n, 10n ** 15n), (value, mean) => {
      const weight = outcomeWeight(value, mean);
      expect(weight >= 0n && weight < 10n ** 12n).toBe(true);
      expect(outcomeWeight(value + 1n, mean) >= weight).toBe(true);
    }),
  );
});

test('the score stays within 0 and 1, and of two outcomes the good one leaves the better score', () => {
  const history = fc.array(fc.tuple(fc.boolean(), fc.bigInt(0n, 10n ** 12n)), { maxLength: 60 });
  fc.assert(
    fc.property(history, (outcomes) => {
      let reputation = NO_HISTORY;
      for (const [isGood, weight] of outcomes) {
        reputation = afterOutcome(reputation, isGood, weight);
        const ppm = reputationPpm(reputation);
        expect(ppm >= 0 && ppm <= 1_000_000).toBe(true);
        const [better, worse] = [true, false].map((each) => afterOutcome(reputation, each, weight));
        expect(reputationPpm(better!)).toBeGreaterThanOrEqual(reputationPpm(worse!));
      }
    }),
  );
});
