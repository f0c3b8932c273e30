/**
 * The aggregate of the numbers of a pane, from which all figures of a window are made; aggregates merge in time order.
 * Parts that no figure asks for are left out.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { readArray, readInteger, readNumber, saveNumber, stateError } from './edge-state.ts';
import {
  addToMoments,
  emptyMoments,
  type Moments,
  mergeMoments,
  sampleDeviation,
} from './moments.ts';
import {
  addToSketch,
  emptySketch,
  mergeSketch,
  type QuantileSketch,
  readSketch,
  saveSketch,
  sketchQuantile,
} from './quantile-sketch.ts';
import { addToSum, type ExactSum, emptySum, mergeSum, roundSum, sumParts } from './window-sum.ts';

export interface Aggregate {
  count: number;
  min: number;
  max: number;
  first: number;
  last: number;
  readonly sum: ExactSum;
  readonly moments: Moments;
  readonly sketch: QuantileSketch;
}

/** The costly parts that are kept. */
export interface AggregateParts {
  readonly sum: boolean;
  readonly moments: boolean;
  readonly sketch: boolean;
}

/** Figures that are no quantiles. */
export const PLAIN_FIELDS = ['count', 'sum', 'mean', 'min', 'max', 'first', 'last', 'stddev'];
const QUANTILE = /^p(?:(0)|([1-9]\d?))(?:\.([1-9]))?$/;
/** Partials do not even touch, and sums of numbers within ±1e100 have bits from 2^389 to 2^-1074. */
const MAX_PARTIALS = 732;
/** Squared distances within ±2e100, times as many as may be counted. */
const MAX_SQUARES = 1e220;
const MAX_SUM = 1e117;

/** Whether `word` names a figure: `count` to `stddev`, or `p0.1` to `p99.9`. */
export function isAggregateField(word: string): boolean {
  return PLAIN_FIELDS.includes(word) || (permilleOf(word) ?? 0) > 0;
}

export function partsOf(fields: readonly string[]): AggregateParts {
  return {
    sum: fields.includes('sum') || fields.includes('mean'),
    moments: fields.includes('stddev'),
    sketch: fields.some((field) => permilleOf(field) !== undefined),
  };
}

export function emptyAggregate(): Aggregate {
  return {
    ...{ count: 0, min: 0, max: 0, first: 0, last: 0 },
    ...{ sum: emptySum(), moments: emptyMoments(), sketch: emptySketch() },
  };
}

/** Adds a number that comes after all others. */
export function addToAggregate(aggregate: Aggregate, value: number, parts: AggregateParts): void {
  if (aggregate.count === 0) {
    aggregate.first = value;
    aggregate.min = value;
    aggregate.max = value;
  }
  aggregate.count += 1;
  aggregate.min = Math.min(aggregate.min, value);
  aggregate.max = Math.max(aggregate.max, value);
  aggregate.last = value;
  if (parts.sum) addToSum(aggregate.sum, value);
  if (parts.moments) addToMoments(aggregate.moments, value);
  if (parts.sketch) addToSketch(aggregate.sketch, value);
}

/** Adds the aggregate of later numbers, one at least. */
export function mergeAggregate(
  aggregate: Aggregate,
  later: Aggregate,
  parts: AggregateParts,
): void {
  if (aggregate.count === 0) {
    aggregate.first = later.first;
    aggregate.min = later.min;
    aggregate.max = later.max;
  }
  aggregate.count += later.count;
  aggregate.min = Math.min(aggregate.min, later.min);
  aggregate.max = Math.max(aggregate.max, later.max);
  aggregate.last = later.last;
  if (parts.sum) mergeSum(aggregate.sum, later.sum);
  if (parts.moments) mergeMoments(aggregate.moments, later.moments);
  if (parts.sketch) mergeSketch(aggregate.sketch, later.sketch);
}

/** A figure of an aggregate with one number at least; undefined where it takes more. */
export function aggregateField(aggregate: Aggregate, field: string): number | undefined {
  switch (field) {
    case 'count':
    case 'min':
    case 'max':
    case 'first':
    case 'last':
      return aggregate[field];
    case 'sum':
      return roundSum(aggregate.sum);
    case 'mean':
      // The two roundings may leave the range by a bit: three times 0.1.
      return within(aggregate, roundSum(aggregate.sum) / aggregate.count);
    case 'stddev':
      return sampleDeviation(aggregate.moments);
    default: {
      const quantile = sketchQuantile(aggregate.sketch, permilleOf(field)!);
      return quantile === undefined ? undefined : within(aggregate, quantile);
    }
  }
}

/** `[count, min, max, first, last, sum, [mean, m2], sketch]`, null for parts that are not kept. */
export function saveAggregate(aggregate: Aggregate, parts: AggregateParts): CborValue {
  const { count, min, max, first, last, sum, moments, sketch } = aggregate;
  return [
    count,
    ...[min, max, first, last].map(saveNumber),
    parts.sum ? sumParts(sum).map(saveNumber) : null,
    parts.moments ? [moments.mean, moments.m2].map(saveNumber) : null,
    parts.sketch ? saveSketch(sketch) : null,
  ];
}

/** @throws {ComputeError} ERR_EDGE_STATE */
export function readAggregate(value: CborValue, parts: AggregateParts): Aggregate {
  const [counted, low, high, start, end, partials, spread, quantiles] = readArray(value, 8);
  const count = readInteger(counted, 1, Number.MAX_SAFE_INTEGER);
  const [min, max, first, last] = [low, high, start, end].map((each) => readNumber(each)) as [
    number,
    number,
    number,
    number,
  ];
  if (Math.min(first, last) < min || Math.max(first, last) > max) {
    throw stateError('first and last between minimum and maximum', value);
  }
  const sum = emptySum();
  if (parts.sum) {
    for (const each of readArray(partials, { max: MAX_PARTIALS })) {
      addToSum(sum, readNumber(each, MAX_SUM));
    }
  } else expectNull(partials);
  const moments = emptyMoments();
  if (parts.moments) {
    const [mean, m2] = readArray(spread, 2);
    const spreadOut = readNumber(m2, MAX_SQUARES);
    if (spreadOut < 0) throw stateError('squares of 0 or more', spreadOut);
    Object.assign(moments, { count, mean: readNumber(mean), m2: spreadOut });
  } else expectNull(spread);
  let sketch = emptySketch();
  if (parts.sketch) {
    sketch = readSketch(quantiles);
    if (sketch.count !== count) throw stateError(`a sketch of ${count}`, sketch.count);
  } else expectNull(quantiles);
  return { count, min, max, first, last, sum, moments, sketch };
}

/** 999 for `p99.9`; undefined for what is no quantile. */
function permilleOf(field: string): number | undefined {
  const match = QUANTILE.exec(field);
  if (match === null) return undefined;
  return 10 * Number(match[2] ?? 0) + Number(match[3] ?? 0);
}

function within({ min, max }: Aggregate, value: number): number {
  return Math.min(max, Math.max(min, value));
}

function expectNull(value: CborValue): void {
  if (value !== null) throw stateError('null for a part that is not kept', value);
}
