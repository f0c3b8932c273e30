/**
 * Mean and spread of a stream in one pass (Welford, 1962), of two streams put together (Chan, Golub and LeVeque, 1979).
 *
 * The order of operations is part of the specification (docs/spec/edge-functions.md 4.2): other orders differ in
 * their last bits. The mean here only serves the spread; means that are shown come from exact sums.
 */

export interface Moments {
  count: number;
  mean: number;
  /** Sum of the squared distances to the mean; never negative. */
  m2: number;
}

export function emptyMoments(): Moments {
  return { count: 0, mean: 0, m2: 0 };
}

/** Adds a finite number. */
export function addToMoments(moments: Moments, value: number): void {
  moments.count += 1;
  const before = value - moments.mean;
  moments.mean += before / moments.count;
  moments.m2 += before * (value - moments.mean);
}

/** Adds another stream, which comes after this one. */
export function mergeMoments(moments: Moments, later: Moments): void {
  if (later.count === 0) return;
  if (moments.count === 0) {
    Object.assign(moments, later);
    return;
  }
  const count = moments.count + later.count;
  const distance = later.mean - moments.mean;
  moments.mean += distance * (later.count / count);
  moments.m2 =
    moments.m2 + later.m2 + distance * distance * ((moments.count * later.count) / count);
  moments.count = count;
}

/** The standard deviation of the sample (n − 1); undefined for fewer than two numbers. */
export function sampleDeviation({ count, m2 }: Moments): number | undefined {
  return count < 2 ? undefined : Math.sqrt(Math.max(0, m2) / (count - 1));
}
