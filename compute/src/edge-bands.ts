/**
 * `bands`: the power of blocks of instants in bands of frequency (docs/spec/edge-functions.md 4.6): mean taken off, Hann
 * window, Fourier transform. The powers of all bins add up to the (windowed) variance.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { type EdgeFunction, type Emit, edgeFunctionType } from './edge-function.ts';
import { positional, powerOfTwo, words } from './edge-param.ts';
import {
  readArray,
  readInteger,
  readNumber,
  readTime,
  saveNumber,
  stateError,
} from './edge-state.ts';
import { cosine, fft, MAX_POINTS } from './fft.ts';
import { addToSum, emptySum, roundSum } from './window-sum.ts';

const BAND = /^(\d{1,6}(?:\.\d{0,5}[1-9])?)-(\d{1,6}(?:\.\d{0,5}[1-9])?)$/;
/** 25 days. Beyond it the product with the points of a block is no exact integer. */
const MAX_SPAN_US = 2_199_023_255_552; // 2^41

export const bands = edgeFunctionType({
  id: 'bands-1',
  word: 'bands',
  params: {
    points: positional(powerOfTwo(8, MAX_POINTS)),
    bands: positional(
      words('bands in Hz such as 0.5-4', { max: 16, isWord: (word) => edgesOf(word) !== null }),
    ),
  },
  fields: ({ bands }) => bands.map((band) => `${band}Hz`),
  units: ({ bands }) => bands.map(() => ''),
  holds: ({ points }) => points,
  create: (params, state) => new Bands(params, state),
});

interface BandsParams {
  readonly points: number;
  readonly bands: readonly string[];
}

class Bands implements EdgeFunction {
  readonly #points: number;
  readonly #edges: readonly (readonly [number, number])[];
  #times: number[] = [];
  #values: number[] = [];
  /** Instants of blocks that were not evenly spaced. */
  discarded = 0;

  constructor({ points, bands: names }: BandsParams, state?: CborValue) {
    this.#points = points;
    this.#edges = names.map((name) => edgesOf(name)!);
    if (state !== undefined) this.#load(state);
  }

  push(timeUs: number, value: number, emit: Emit): void {
    this.#times.push(timeUs);
    this.#values.push(value);
    if (this.#times.length < this.#points) return;
    const uneven = lastUneven(this.#times);
    if (uneven > 0) {
      this.#times.splice(0, uneven);
      this.#values.splice(0, uneven);
      this.discarded += uneven;
      return;
    }
    const [startUs, times] = [this.#times[0]!, this.#times];
    const powers = powerSpectrum(this.#values);
    this.#times = [];
    this.#values = [];
    for (const [i, edges] of this.#edges.entries()) {
      const power = bandPower(powers, {
        edges,
        points: this.#points,
        spanUs: times.at(-1)! - startUs,
      });
      if (power !== undefined) emit(i, startUs, power);
    }
  }

  advance(timeUs: number): number {
    return this.#times[0] ?? timeUs;
  }

  save(): CborValue {
    return [this.discarded, [...this.#times], this.#values.map(saveNumber)];
  }

  #load(state: CborValue): void {
    const [discarded, times, values] = readArray(state, 3);
    this.discarded = readInteger(discarded, 0, Number.MAX_SAFE_INTEGER);
    this.#times = readArray(times, { max: this.#points - 1 }).map(readTime);
    this.#values = readArray(values, this.#times.length).map((value) => readNumber(value));
    for (let i = 1; i < this.#times.length; i++) {
      if (this.#times[i]! <= this.#times[i - 1]!) throw stateError('ascending times', times);
    }
  }
}

/**
 * The power of each bin from 0 to N/2: one-sided, so that all of them add up to Σ(w·x)² / Σw², where x is the block
 * without its mean and w the Hann window.
 */
export function powerSpectrum(values: readonly number[]): Float64Array {
  const points = values.length;
  const sum = emptySum();
  for (const value of values) addToSum(sum, value);
  const mean = roundSum(sum) / points;
  const re = new Float64Array(points);
  const im = new Float64Array(points);
  for (let n = 0; n < points; n++) {
    re[n] = (values[n]! - mean) * ((1 - cosine((n * MAX_POINTS) / points)) / 2);
  }
  fft(re, im);
  const powers = new Float64Array(points / 2 + 1);
  // Σw² of a Hann window is 3N/8.
  const norm = (3 * points * points) / 8;
  for (let k = 0; k < powers.length; k++) {
    const sides = k === 0 || k === points / 2 ? 1 : 2;
    powers[k] = (sides * (re[k]! * re[k]! + im[k]! * im[k]!)) / norm;
  }
  return powers;
}

/** Sum of the bins in [low, high) Hz, undefined where there is none. */
function bandPower(
  powers: Float64Array,
  block: {
    readonly edges: readonly [number, number];
    readonly points: number;
    readonly spanUs: number;
  },
): number | undefined {
  const { edges, points, spanUs } = block;
  let power: number | undefined;
  for (let k = 0; k < powers.length; k++) {
    const hertz = (k * 1e6 * (points - 1)) / (points * spanUs);
    if (hertz >= edges[0] && hertz < edges[1]) power = (power ?? 0) + powers[k]!;
  }
  return power;
}

/**
 * The index after the last interval that is more than a quarter off the (lower) median of all of them; 0 where all
 * are even. A block that takes too long is uneven as a whole but for its last instant.
 */
function lastUneven(times: readonly number[]): number {
  if (times.at(-1)! - times[0]! > MAX_SPAN_US) return times.length - 1;
  const intervals = times.slice(1).map((time, i) => time - times[i]!);
  const sorted = Float64Array.from(intervals).sort();
  const median = sorted[(sorted.length - 1) >> 1]!;
  for (let i = intervals.length - 1; i >= 0; i--) {
    if (4 * Math.abs(intervals[i]! - median) > median) return i + 1;
  }
  return 0;
}

function edgesOf(band: string): readonly [number, number] | null {
  const [, low, high] = BAND.exec(band) ?? [];
  if (low === undefined || high === undefined) return null;
  const edges = [Number(low), Number(high)] as const;
  const isCanonical = `${edges[0]}-${edges[1]}` === band;
  return isCanonical && edges[0] < edges[1] ? edges : null;
}
