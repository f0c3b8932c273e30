import { byLargestRemainder, type Claim, splitPool } from '@fieldproof/compute/rewards/amounts';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';

const WHOLE = { fullPoints: 0n, devicePpm: 1_000_000, ownerPpm: 1_000_000 };
const claim = fc.record({
  owner: fc.constantFrom('a', 'b', 'c'),
  points: fc.bigInt({ min: 0n, max: 10n ** 15n }),
});
const claims = fc
  .array(claim, { maxLength: 20 })
  .map((some) => some.map((each, at): Claim => ({ ...each, device: `${at}`.padStart(4, '0') })));
const policy = fc.record({
  pool: fc.bigInt({ min: 0n, max: 10n ** 12n }),
  fullPoints: fc.bigInt({ min: 0n, max: 10n ** 16n }),
  devicePpm: fc.nat(1_000_000),
  ownerPpm: fc.nat(1_000_000),
});

test('what is left over goes to the largest remainders, of equal ones to the first device', () => {
  const even: Claim[] = ['03', '01', '02'].map((device) => ({ device, owner: 'o', points: 1n }));
  const { shares, unallocated } = splitPool(even, { pool: 11n, ...WHOLE });
  expect(shares.map(({ amount }) => amount)).toEqual([3n, 4n, 4n]);
  expect(unallocated).toBe(0n);
  expect(byLargestRemainder(10n, [3n, 3n, 1n])).toEqual([4n, 4n, 2n]);
});

test('with fewer points than make it full, the rest of the pool stays', () => {
  const one: Claim = { device: '01', owner: 'o', points: 25n };
  const { shares, unallocated } = splitPool([one], { ...WHOLE, pool: 1000n, fullPoints: 100n });
  expect([shares[0]!.amount, unallocated]).toEqual([250n, 750n]);
});

test('caps take from a device and from an owner, and nobody gets what they take', () => {
  const three: Claim[] = [
    { device: '01', owner: 'rich', points: 60n },
    { device: '02', owner: 'rich', points: 30n },
    { device: '03', owner: 'poor', points: 10n },
  ];
  const split = splitPool(three, { ...WHOLE, pool: 1000n, devicePpm: 500_000, ownerPpm: 400_000 });
  expect(split.shares.map(({ amount }) => amount)).toEqual([250n, 150n, 100n]);
  expect(split.shares.map(({ capped }) => capped)).toEqual([350n, 150n, 0n]);
  expect(split.unallocated).toBe(500n);
});

test('amounts and what is unallocated are the pool, and within the caps, for any claims', () => {
  fc.assert(
    fc.property(claims, policy, (some, rules) => {
      const { shares, unallocated } = splitPool(some, rules);
      const paid = shares.reduce((sum, { amount }) => sum + amount, 0n);
      expect(paid + unallocated).toBe(rules.pool);
      expect(unallocated >= 0n).toBe(true);
      const ofOwner = new Map<string, bigint>();
      for (const [at, { amount, capped }] of shares.entries()) {
        expect(amount >= 0n && capped >= 0n).toBe(true);
        expect(amount * 1_000_000n <= rules.pool * BigInt(rules.devicePpm)).toBe(true);
        const { owner, points } = some[at]!;
        if (points === 0n) expect(amount).toBe(0n);
        ofOwner.set(owner, (ofOwner.get(owner) ?? 0n) + amount);
      }
      for (const sum of ofOwner.values()) {
        expect(sum * 1_000_000n <= rules.pool * BigInt(rules.ownerPpm)).toBe(true);
      }
    }),
  );
});

test('the order of the claims changes nothing', () => {
  fc.assert(
    fc.property(claims, policy, fc.infiniteStream(fc.nat()), (some, rules, numbers) => {
      const shuffled = some
        .map((each) => ({ each, key: numbers.next().value as number }))
        .sort((a, b) => a.key - b.key)
        .map(({ each }) => each);
      const amounts = (list: readonly Claim[]) => {
        const { shares } = splitPool(list, rules);
        return new Map(list.map(({ device }, at) => [device, shares[at]!.amount]));
      };
      const expected = amounts(some);
      for (const [device, amount] of amounts(shuffled)) expect(amount).toBe(expected.get(device));
    }),
  );
});
