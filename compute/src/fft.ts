/**
 * The discrete Fourier transform of 2 to 4,096 points by radix 2 (Cooley and Tukey, 1965), from a constant table.
 *
 * The order of operations is part of the specification (docs/spec/edge-functions.md 4.6), so that every machine gets the
 * same bits.
 */

import { QUARTER_COSINE } from './cosine-table.ts';

/** Points of the longest transform. */
export const MAX_POINTS = 4096;
const QUARTER = MAX_POINTS / 4;

/** cos(2π · k / 4096) for a whole number k of 0 or more, rounded to the nearest double. */
export function cosine(k: number): number {
  const step = k % MAX_POINTS;
  if (step <= QUARTER) return QUARTER_COSINE[step]!;
  if (step <= 2 * QUARTER) return -QUARTER_COSINE[2 * QUARTER - step]!;
  if (step <= 3 * QUARTER) return -QUARTER_COSINE[step - 2 * QUARTER]!;
  return QUARTER_COSINE[MAX_POINTS - step]!;
}

/**
 * Replaces x by X with X[k] = Σ x[n] · e^(−2πikn/N), in place.
 *
 * @param re - real parts, N of them, a power of two up to 4,096.
 * @param im - imaginary parts, as many.
 */
export function fft(re: Float64Array, im: Float64Array): void {
  const points = re.length;
  reverseBits(re, im);
  for (let size = 2; size <= points; size *= 2) {
    const half = size / 2;
    const step = MAX_POINTS / size;
    for (let j = 0; j < half; j++) {
      const wr = cosine(j * step);
      // −sin(a) = cos(a + π/2)
      const wi = cosine(j * step + QUARTER);
      for (let a = j; a < points; a += size) {
        const b = a + half;
        const tr = re[b]! * wr - im[b]! * wi;
        const ti = re[b]! * wi + im[b]! * wr;
        re[b] = re[a]! - tr;
        im[b] = im[a]! - ti;
        re[a] = re[a]! + tr;
        im[a] = im[a]! + ti;
      }
    }
  }
}

function reverseBits(re: Float64Array, im: Float64Array): void {
  const points = re.length;
  for (let i = 1, j = 0; i < points; i++) {
    let bit = points >> 1;
    for (; (j & bit) !== 0; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    [re[i], re[j]] = [re[j]!, re[i]!];
    [im[i], im[j]] = [im[j]!, im[i]!];
  }
}
