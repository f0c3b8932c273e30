/**
 * Exact sums of doubles: whatever the order of adding, the rounded sum has the same bits.
 *
 * Shewchuk's partials (Adaptive Precision Floating-Point Arithmetic, 1997), rounded once to nearest, ties to even, as
 * in Python's `math.fsum`. Numbers that could overflow on the way are summed apart, scaled down by a power of two.
 */

/** From here on a number is summed scaled. 2^63 numbers below it cannot overflow. */
const LARGE = 2 ** 960;
const SCALE = 2 ** -100;
const SCALE_BITS = 100n;
/** Every finite double is a whole multiple of 2^-1074. */
const SMALLEST_POWER = 1074;

/** Partials that do not overlap, of increasing magnitude. Plain arrays, so that it can be stored as it is. */
export interface ExactSum {
  readonly small: number[];
  /** In units of 2^100. */
  readonly large: number[];
}

/** A sum of nothing. */
export function emptySum(): ExactSum {
  return { small: [], large: [] };
}

/** Adds a finite number. */
export function addToSum(sum: ExactSum, value: number): void {
  if (Math.abs(value) < LARGE) grow(sum.small, value);
  else grow(sum.large, value * SCALE);
}

/** Adds another sum. */
export function mergeSum(sum: ExactSum, { small, large }: ExactSum): void {
  for (const partial of small) grow(sum.small, partial);
  for (const partial of large) grow(sum.large, partial);
}

/** The double nearest to the exact sum; ±Infinity beyond the range of doubles. Zero is +0. */
export function roundSum({ small, large }: ExactSum): number {
  return large.length === 0 ? roundPartials(small) : roundExact(small, large);
}

/**
 * The sum as few doubles that add up to it: the one nearest to it, then the one nearest to what remains, until nothing
 * does. Equal sums have equal lists, however they came about. For sums without numbers from 2^960 on.
 */
export function sumParts({ small }: ExactSum): number[] {
  const rest = [...small];
  const parts: number[] = [];
  while (rest.length > 0) {
    const part = roundPartials(rest);
    parts.push(part);
    grow(rest, -part);
  }
  return parts;
}

function grow(partials: number[], value: number): void {
  let x = value;
  let kept = 0;
  for (let i = 0; i < partials.length; i++) {
    let y = partials[i]!;
    if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
    const high = x + y;
    const low = y - (high - x);
    if (low !== 0) partials[kept++] = low;
    x = high;
  }
  partials.length = kept;
  if (x !== 0) partials.push(x);
}

function roundPartials(partials: readonly number[]): number {
  let n = partials.length - 1;
  if (n < 0) return 0;
  let high = partials[n]!;
  let low = 0;
  while (n > 0) {
    const x = high;
    const y = partials[--n]!;
    high = x + y;
    low = y - (high - x);
    if (low !== 0) break;
  }
  // Half-way cases: the partials below decide to which side the sum lies.
  const below = n > 0 ? partials[n - 1]! : 0;
  if ((low < 0 && below < 0) || (low > 0 && below > 0)) {
    const y = 2 * low;
    const x = high + y;
    if (y === x - high) high = x;
  }
  return high;
}

/** In integers, for sums that need the whole range. */
function roundExact(small: readonly number[], large: readonly number[]): number {
  let total = 0n;
  for (const partial of small) total += toUnits(partial);
  for (const partial of large) total += toUnits(partial) << SCALE_BITS;
  const negative = total < 0n;
  const magnitude = negative ? -total : total;
  const excess = Math.max(0, magnitude.toString(2).length - 100);
  let kept = magnitude >> BigInt(excess);
  // Sticky bit: what is cut off may decide a tie.
  if (kept << BigInt(excess) !== magnitude) kept |= 1n;
  // In two factors, since 2^-1074 times a large power of two would leave the range in between.
  const power = excess - SMALLEST_POWER;
  const rounded = Number(kept) * 2 ** Math.max(power, -1000) * 2 ** Math.min(power + 1000, 0);
  return (negative ? -rounded : rounded) + 0;
}

/** A double in units of 2^-1074. */
function toUnits(value: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(value));
  const bits = view.getBigUint64(0);
  const exponent = bits >> 52n;
  const fraction = bits & 0xfffffffffffffn;
  const units = exponent === 0n ? fraction : (fraction | (1n << 52n)) << (exponent - 1n);
  return value < 0 ? -units : units;
}
