/** Splits a pool by points, to the last micro-credit. docs/spec/rewards.md section 8. */

import { PPM } from './slot-credit.ts';

export interface Claim {
  /** 32 bytes of the device's key as lower-case hex: ties go by it. */
  readonly device: string;
  readonly owner: string;
  readonly points: bigint;
}

export interface SplitPolicy {
  /** Micro-credits. */
  readonly pool: bigint;
  /** With fewer points in all, the pool is not given away whole. */
  readonly fullPoints: bigint;
  readonly devicePpm: number;
  readonly ownerPpm: number;
}

export interface Share {
  readonly amount: bigint;
  /** What caps took of it. */
  readonly capped: bigint;
}

export interface Split {
  /** In the order of the claims. */
  readonly shares: readonly Share[];
  /** Pool minus all amounts. */
  readonly unallocated: bigint;
}

/** Whatever the order of the claims, each device gets the same. */
export function splitPool(claims: readonly Claim[], policy: SplitPolicy): Split {
  const { pool, fullPoints } = policy;
  const total = claims.reduce((sum, { points }) => sum + points, 0n);
  const weight = total > fullPoints ? total : fullPoints;
  const shares =
    weight === 0n
      ? claims.map(() => 0n)
      : total >= fullPoints
        ? byLargestRemainder(
            pool,
            claims.map(({ points }) => points),
            (a, b) => compare(claims[a]!.device, claims[b]!.device),
          )
        : claims.map(({ points }) => (pool * points) / weight);
  const amounts = capOwners(
    claims,
    shares.map((share) => smaller(share, part(pool, policy.devicePpm))),
    part(pool, policy.ownerPpm),
  );
  return {
    shares: amounts.map((amount, at) => ({ amount, capped: shares[at]! - amount })),
    unallocated: pool - amounts.reduce((sum, amount) => sum + amount, 0n),
  };
}

/**
 * Splits a whole by weights: each gets its share rounded down, and those with the largest remainders one more, until
 * nothing is left. With no weight at all everybody gets nothing.
 *
 * @param before - which of two with equal remainders goes first, negative for the first one.
 */
export function byLargestRemainder(
  whole: bigint,
  weights: readonly bigint[],
  before: (a: number, b: number) => number = (a, b) => a - b,
): bigint[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0n);
  if (total === 0n) return weights.map(() => 0n);
  const shares = weights.map((weight) => (whole * weight) / total);
  const left = Number(whole - shares.reduce((sum, share) => sum + share, 0n));
  const remainders = weights.map((weight) => (whole * weight) % total);
  const order = [...weights.keys()]
    .filter((at) => remainders[at]! > 0n)
    .sort((a, b) => compare(remainders[b]!, remainders[a]!) || before(a, b));
  for (const at of order.slice(0, left)) shares[at]! += 1n;
  return shares;
}

function capOwners(claims: readonly Claim[], shares: readonly bigint[], limit: bigint): bigint[] {
  const sums = new Map<string, bigint>();
  for (const [at, { owner }] of claims.entries()) {
    sums.set(owner, (sums.get(owner) ?? 0n) + shares[at]!);
  }
  return shares.map((share, at) => {
    const sum = sums.get(claims[at]!.owner)!;
    return sum > limit ? (share * limit) / sum : share;
  });
}

function part(whole: bigint, ppm: number): bigint {
  return (whole * BigInt(ppm)) / BigInt(PPM);
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function compare<T extends bigint | string>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
