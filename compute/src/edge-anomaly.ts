/**
 * `anomaly`: the streaming anomaly score of each instant (docs/spec/edge-functions.md 4.7, anomaly-score.md), here
 * with its state as CBOR.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { DAY_BINS } from './anomaly-profile.ts';
import { type AnomalyState, createAnomalyState, scoreAnomaly } from './anomaly-score.ts';
import type { Tail } from './anomaly-tail.ts';
import { type EdgeFunction, type Emit, edgeFunctionType, MAX_TIME_US } from './edge-function.ts';
import { optional, type ParamKind, parseNumber } from './edge-param.ts';
import { readArray, readInteger, readNullable, readNumber, saveNumber } from './edge-state.ts';

const MAX_DAYS = 8;
/** Numbers of a state, the profile of the day above all. */
const HOLDS = 256;
const MAX_COUNT = Number.MAX_SAFE_INTEGER;
/** Differences of any two numbers within ±1e100, and means of their squares. */
const MAX_DIFFERENCE = 1e101;
const MAX_SQUARE = 1e203;

const score: ParamKind<number> = {
  expects: 'a score above 0 and below 1, such as 0.5',
  parse: parseNumber,
  format: String,
  isValid: (value): value is number => typeof value === 'number' && value > 0 && value < 1,
};

export const anomaly = edgeFunctionType({
  id: 'anomaly-1',
  word: 'anomaly',
  params: { threshold: optional('at', score) },
  fields: () => ['anomaly'],
  units: () => [''],
  holds: () => HOLDS,
  create: ({ threshold }, state) => new Anomaly(threshold, state),
});

class Anomaly implements EdgeFunction {
  readonly #threshold: number | undefined;
  readonly #state: AnomalyState;

  constructor(threshold: number | undefined, state?: CborValue) {
    this.#threshold = threshold;
    this.#state = state === undefined ? createAnomalyState() : readState(state);
  }

  push(timeUs: number, value: number, emit: Emit): void {
    emit(0, timeUs, scoreAnomaly(this.#state, { timeMs: timeUs / 1000, value }, this.#threshold));
  }

  advance(timeUs: number): number {
    return timeUs;
  }

  save(): CborValue {
    const { levelSpread, movement, profile, learnsUntilMs, tails } = this.#state;
    const { readings, lastValue, quantum, means, learntWeight, quietReadings } = this.#state;
    const { level, days, bin, binMean, binReadings, known, mean } = profile;
    const { restSquare, valueSquare, weight } = profile;
    return [
      readings,
      ...[saveNumber(lastValue), saveNumber(quantum)],
      means.map(saveNumber),
      [levelSpread.readings, saveNumber(levelSpread.square)],
      [movement.short, movement.long].map(saveNumber),
      [
        ...[level.map(saveNumber), [...days]],
        ...[bin, saveNumber(binMean), binReadings, profile.readings, saveNumber(mean), known],
        ...[restSquare, valueSquare, weight].map(saveNumber),
      ],
      saveNumber(learntWeight),
      learnsUntilMs === null ? null : saveNumber(learnsUntilMs),
      quietReadings,
      tails.map((tail) => [tail.readings, saveNumber(tail.record), saveNumber(tail.square)]),
    ];
  }
}

/** @throws {ComputeError} ERR_EDGE_STATE */
function readState(saved: CborValue): AnomalyState {
  const state = createAnomalyState();
  const items = readArray(saved, 11);
  const [readings, lastValue, quantum, means, spread, movement] = items;
  const [profile, learntWeight, learnsUntilMs, quietReadings, tails] = items.slice(6);
  state.readings = readCount(readings);
  state.lastValue = readNumber(lastValue);
  state.quantum = readNumber(quantum, MAX_DIFFERENCE);
  put(state.means, means, readMean);
  const [spreadReadings, spreadSquare] = readArray(spread, 2);
  state.levelSpread.readings = readCount(spreadReadings);
  state.levelSpread.square = readSquare(spreadSquare);
  const [short, long] = readArray(movement, 2);
  state.movement.short = readMean(short);
  state.movement.long = readMean(long);
  readProfile(state, profile);
  state.learntWeight = readNumber(learntWeight, 1);
  state.learnsUntilMs = readNullable(learnsUntilMs, (each) => readNumber(each, MAX_TIME_US));
  state.quietReadings = readInteger(quietReadings, 0, 24);
  for (const [i, item] of readArray(tails, state.tails.length).entries()) {
    const [count, record, square] = readArray(item, 3);
    const tail: Tail = state.tails[i]!;
    tail.readings = readCount(count);
    tail.record = readMean(record);
    tail.square = readSquare(square);
  }
  return state;
}

function readProfile({ profile }: AnomalyState, saved: CborValue): void {
  const [level, days, bin, binMean, binReadings, readings, ...rest] = readArray(saved, 11);
  const [mean, known, restSquare, valueSquare, weight] = rest;
  put(profile.level, level, readMean);
  put(profile.days, days, (each) => readInteger(each, 0, MAX_DAYS));
  profile.bin = readInteger(bin, -1, DAY_BINS - 1);
  profile.binMean = readMean(binMean);
  profile.binReadings = readCount(binReadings);
  profile.readings = readCount(readings);
  profile.mean = readMean(mean);
  profile.known = readCount(known);
  profile.restSquare = readSquare(restSquare);
  profile.valueSquare = readSquare(valueSquare);
  profile.weight = readNumber(weight, 1);
}

function put(target: number[], saved: CborValue, reader: (value: CborValue) => number): void {
  for (const [i, item] of readArray(saved, target.length).entries()) target[i] = reader(item);
}

function readCount(value: CborValue): number {
  return readInteger(value, 0, MAX_COUNT);
}

function readMean(value: CborValue): number {
  return readNumber(value, MAX_DIFFERENCE);
}

function readSquare(value: CborValue): number {
  return readNumber(value, MAX_SQUARE);
}
