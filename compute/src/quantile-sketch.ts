/**
 * A sketch of the distribution of numbers with a relative error, in bounded memory, without logarithms.
 *
 * A bucket is what remains of a double when its lower bits are cut off: sign, exponent and the first bits of the
 * mantissa, at most the upper 32 bits of the double. When there are more than `MAX_BUCKETS`, one more bit is cut off
 * everywhere, and neighbours fall together. How many bits remain depends on the numbers only, not on their order or
 * grouping, so merging is exactly associative and commutative: equal multisets of numbers give equal sketches.
 * (The idea of collapsing all buckets alike is that of UDDSketch, Epicoco et al. 2020; the buckets are those of an
 * HDR histogram.)
 *
 * With `shift` bits cut off, the relative error of a quantile is at most 2^(shift−21) for shift ≤ 20, and 1.5 or 7.5 for
 * 21 or 22. For data that touch m octaves (those of negative numbers counted apart) shift is 0, or 2^(20−shift) · m is at
 * least 512: 1 % or better up to 8 octaves.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { doubleHighBits, doubleToNumber } from '@fieldproof/protocol/cbor-float';
import { readArray, readInteger, stateError } from './edge-state.ts';

/** Protects memory: a bucket takes some 40 bytes. */
export const MAX_BUCKETS = 1024;
/** From here down a magnitude counts as zero. Beyond 1e100 none comes (MAX_MAGNITUDE). */
export const SMALLEST_MAGNITUDE = doubleToNumber(0x2b300000, 0); // 2^-332
/** Cutting off 22 bits leaves at most 336 buckets for magnitudes from 2^-332 to 2^333. */
const MAX_SHIFT = 22;
const LOWEST_HIGH_BITS = 0x2b300000;
/** Of the largest double below 2^333. */
const HIGHEST_HIGH_BITS = 0x54bfffff;

export interface QuantileSketch {
  /** How many of the upper 32 bits are cut off. */
  shift: number;
  count: number;
  /**
   * Bucket → numbers in it. 0 is zero; ±(1 + bits) is the bucket of the numbers whose upper bits are `bits`.
   * Ascending buckets hold ascending numbers.
   */
  buckets: Map<number, number>;
}

export function emptySketch(): QuantileSketch {
  return { shift: 0, count: 0, buckets: new Map() };
}

/** Adds a number within ±MAX_MAGNITUDE. */
export function addToSketch(sketch: QuantileSketch, value: number): void {
  sketch.count += 1;
  addToBucket(sketch.buckets, bucketOf(value, sketch.shift), 1);
  while (sketch.buckets.size > MAX_BUCKETS) collapse(sketch);
}

/** Adds another sketch, which stays as it is. */
export function mergeSketch(sketch: QuantileSketch, other: QuantileSketch): void {
  while (sketch.shift < other.shift) collapse(sketch);
  const cut = sketch.shift - other.shift;
  for (const [bucket, count] of other.buckets) {
    addToBucket(sketch.buckets, coarser(bucket, cut), count);
  }
  sketch.count += other.count;
  while (sketch.buckets.size > MAX_BUCKETS) collapse(sketch);
}

/**
 * The quantile by nearest rank: the number at place ⌈permille · count / 1000⌉ in ascending order, 1 at least, within the
 * stated error.
 *
 * @returns undefined for an empty sketch.
 */
export function sketchQuantile(sketch: QuantileSketch, permille: number): number | undefined {
  const rank = Math.max(1, Math.ceil((permille * sketch.count) / 1000));
  let passed = 0;
  for (const bucket of [...sketch.buckets.keys()].sort((a, b) => a - b)) {
    passed += sketch.buckets.get(bucket)!;
    if (passed >= rank) return middleOf(bucket, sketch.shift);
  }
  return undefined;
}

/** The largest relative error of a quantile of this sketch. */
export function sketchError({ shift }: QuantileSketch): number {
  if (shift > 20) return shift === 21 ? 1.5 : 7.5;
  // 2^(shift − 21)
  return doubleToNumber((1023 + shift - 21) << 20, 0);
}

/** `[shift, [bucket, count, …]]`, ascending; equal sketches have equal bytes. */
export function saveSketch({ shift, buckets }: QuantileSketch): CborValue {
  return [shift, [...buckets].sort(([a], [b]) => a - b).flat()];
}

/** @throws {ComputeError} ERR_EDGE_STATE */
export function readSketch(value: CborValue): QuantileSketch {
  const [shift, list] = readArray(value, 2);
  const sketch = emptySketch();
  sketch.shift = readInteger(shift, 0, MAX_SHIFT);
  const lowest = (LOWEST_HIGH_BITS >>> sketch.shift) + 1;
  const highest = (HIGHEST_HIGH_BITS >>> sketch.shift) + 1;
  const numbers = readArray(list, { max: 2 * MAX_BUCKETS });
  if (numbers.length % 2 !== 0) throw stateError('pairs of bucket and count', numbers);
  let before = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < numbers.length; i += 2) {
    const bucket = readInteger(numbers[i], -highest, highest);
    const isBucket = bucket === 0 || Math.abs(bucket) >= lowest;
    if (!isBucket || bucket <= before) throw stateError('ascending buckets', bucket);
    const count = readInteger(numbers[i + 1], 1, Number.MAX_SAFE_INTEGER);
    sketch.buckets.set(bucket, count);
    sketch.count = readInteger(sketch.count + count, 1, Number.MAX_SAFE_INTEGER);
    before = bucket;
  }
  return sketch;
}

function bucketOf(value: number, shift: number): number {
  const magnitude = Math.abs(value);
  if (magnitude < SMALLEST_MAGNITUDE) return 0;
  const bucket = (doubleHighBits(magnitude) >>> shift) + 1;
  return value < 0 ? -bucket : bucket;
}

/** The bucket that holds `bucket` when `cut` more bits are cut off. */
function coarser(bucket: number, cut: number): number {
  if (bucket === 0) return 0;
  const bits = ((Math.abs(bucket) - 1) >>> cut) + 1;
  return bucket < 0 ? -bits : bits;
}

function middleOf(bucket: number, shift: number): number {
  if (bucket === 0) return 0;
  const bits = Math.abs(bucket) - 1;
  const low = doubleToNumber((bits << shift) >>> 0, 0);
  const high = doubleToNumber(((bits + 1) << shift) >>> 0, 0);
  const middle = (low + high) / 2;
  return bucket < 0 ? -middle : middle;
}

function collapse(sketch: QuantileSketch): void {
  const buckets = new Map<number, number>();
  for (const [bucket, count] of sketch.buckets) addToBucket(buckets, coarser(bucket, 1), count);
  sketch.buckets = buckets;
  sketch.shift += 1;
}

function addToBucket(buckets: Map<number, number>, bucket: number, count: number): void {
  buckets.set(bucket, (buckets.get(bucket) ?? 0) + count);
}
