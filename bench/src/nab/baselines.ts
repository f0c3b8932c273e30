/**
 * The detectors that ours is compared with, from their published descriptions. Each maps the values of a file to a score
 * of each row, reading forwards only.
 *
 * Windowed Gaussian and relative entropy have the parameters of the Numenta Anomaly Benchmark. Relative entropy: Wang et
 * al., "Statistical techniques for online anomaly detection in data centers" (2011).
 */

/**
 * A detector of the benchmark and a fixed threshold. That of relative entropy is its own; rolling z takes four deviations,
 * and so does windowed Gaussian, for which the benchmark publishes only optimised ones.
 */
export interface Baseline {
  readonly name: string;
  readonly threshold: number;
  readonly score: (values: Float64Array) => Float64Array;
}

const GAUSSIAN_WINDOW = 6400;
const GAUSSIAN_STEP = 100;
const ROLLING_ROWS = 288;
const ENTROPY_BINS = 5;
const ENTROPY_WINDOW = 52;
/** The 99th percentile of χ² with ENTROPY_BINS − 1 = 4 degrees of freedom. */
const ENTROPY_CHI_SQUARED = 13.276704135987622;

export const BASELINES: readonly Baseline[] = [
  { name: 'windowed Gaussian', threshold: 0.99997, score: windowedGaussian },
  { name: 'rolling z', threshold: 4, score: rollingZ },
  { name: 'relative entropy', threshold: 1, score: relativeEntropy },
];

/** 1 − Q(|z|) by mean and deviation of the last 6,400 rows, taken anew every 100 rows and, until it is full, each row. */
export function windowedGaussian(values: Float64Array): Float64Array {
  const scores = new Float64Array(values.length);
  let from = 0;
  let to = 0;
  let moments = { mean: 0, deviation: 1 };
  for (const [i, value] of values.entries()) {
    if (i > 0) {
      const z = Math.abs(value - moments.mean) / (moments.deviation || 1e-6);
      scores[i] = 1 - gaussianTail(z);
    }
    if (i < GAUSSIAN_WINDOW) {
      to = i + 1;
    } else if (i + 1 - to === GAUSSIAN_STEP) {
      from += GAUSSIAN_STEP;
      to += GAUSSIAN_STEP;
    } else continue;
    moments = momentsOf(values, from, to);
  }
  return scores;
}

/** |z| of a row by mean and deviation of the 288 rows before it; 0 until there are so many. */
export function rollingZ(values: Float64Array): Float64Array {
  return values.map((value, i) => {
    if (i < ROLLING_ROWS) return 0;
    const { mean, deviation } = momentsOf(values, i - ROLLING_ROWS, i);
    if (deviation > 0) return Math.abs(value - mean) / deviation;
    return value === mean ? 0 : Number.MAX_VALUE;
  });
}

/**
 * 1 where the histogram of the last 52 rows agrees with none of those before by a χ² test on the relative entropy, else 0.
 * The bins divide the range of the whole file, as in the benchmark, which knows it beforehand.
 */
export function relativeEntropy(values: Float64Array): Float64Array {
  const scores = new Float64Array(values.length);
  const min = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const max = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  if (!(max > min)) return scores;
  const bins = values.map((value) =>
    Math.min(ENTROPY_BINS - 1, Math.floor(((value - min) / (max - min)) * ENTROPY_BINS)),
  );
  const hypotheses: number[][] = [];
  for (let end = ENTROPY_WINDOW; end <= values.length; end++) {
    const shares = new Array<number>(ENTROPY_BINS).fill(0);
    for (let i = end - ENTROPY_WINDOW; i < end; i++) shares[bins[i]!]! += 1 / ENTROPY_WINDOW;
    const agrees = hypotheses.some(
      (known) => 2 * ENTROPY_WINDOW * divergence(shares, known) < ENTROPY_CHI_SQUARED,
    );
    if (agrees) continue;
    // The first histogram has nothing to disagree with.
    if (hypotheses.length > 0) scores[end - 1] = 1;
    hypotheses.push(shares);
  }
  return scores;
}

/** Q(z), the upper tail of the standard normal distribution: erfc by its continued fraction, or its series near 0. */
export function gaussianTail(z: number): number {
  const density = Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);
  if (z < 3) {
    let term = z;
    let sum = z;
    for (let n = 3; Math.abs(term) > 1e-17 * sum; n += 2) {
      term *= (z * z) / n;
      sum += term;
    }
    return 0.5 - density * sum;
  }
  let fraction = z;
  for (let k = 60; k > 0; k--) fraction = z + k / fraction;
  return density / fraction;
}

function momentsOf(
  values: Float64Array,
  from: number,
  to: number,
): { readonly mean: number; readonly deviation: number } {
  let sum = 0;
  for (let i = from; i < to; i++) sum += values[i]!;
  const mean = sum / (to - from);
  let squares = 0;
  for (let i = from; i < to; i++) squares += (values[i]! - mean) ** 2;
  return { mean, deviation: Math.sqrt(squares / (to - from)) };
}

/** Kullback–Leibler, in nats; Infinity where `known` has nothing of what `shares` has. */
function divergence(shares: readonly number[], known: readonly number[]): number {
  let sum = 0;
  for (const [i, p] of shares.entries()) {
    if (p > 0) sum += p * Math.log(p / known[i]!);
  }
  return sum;
}
