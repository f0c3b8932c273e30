/**
 * A streaming anomaly score: one reading in, a number in [0, 1) out, with bounded memory and one set of parameters for
 * every stream (docs/spec/anomaly-score.md).
 *
 * The profile of the day, as far as the stream has one, is taken off. What remains is watched by seven experts (the step
 * against the last readings, up and down; the level of this reading, of the last dozen and of the last six dozens, up
 * and down; and stillness), each of which knows what is usual and what its record is (anomaly-tail.ts). The most surprised
 * expert speaks. Only + − × ÷ and √: every machine computes the same bits.
 *
 * It leaves out: yearly and weekly patterns, several metrics at once, and an adaptation of its time constants, which are
 * counted in readings. Streams of more than one reading in some minutes are to be windowed first.
 */

import { createDayProfile, type DayProfile, expectOfDay, learnDay } from './anomaly-profile.ts';
import { createTail, restartTail, seeTail, type Tail } from './anomaly-tail.ts';

/** At or above it a reading is an anomaly: a surprise of four and a half deviations. */
export const ANOMALY_THRESHOLD = 0.5;
/** Readings beyond ±this are ignored: their squares have no room in a double. */
export const ANOMALY_MAX_VALUE = 1e100;
/** So long an event is one event. */
export const ANOMALY_QUIET_READINGS = 24;

const SURPRISE_AT_HALF = 4.5;
/** The largest score; beyond the ratio the formula would round to 1. */
const TOP_SCORE = 0.999999999999;
const RATIO_AT_TOP = 1e6;
/** Readings of a fast mean, a dozen, six dozens, and of the slow level that those are compared with. */
const MEAN_READINGS = [6, 12, 72, 2000] as const;
const LEVEL_MEMORY = 8000;
const LEVEL_WARM_UP = 150;
const LEVEL_CAP = 3;
/** Differences of level below this share of the usual deviation are nothing. */
const LEVEL_UNIT_SHARE = 0.1;
const STILL_READINGS = 24;
/** Total stillness is as many times below the usual movement. */
const STILL_CEILING = 50;
const STILL_UNIT = 0.1;
/** How long experts learn anew after the profile of the day came in or went. */
const RELEARN_MS = 86_400_000;
const RELEARN_WEIGHT = 0.4;

/** All that is kept of a stream: plain numbers, so that JSON carries it from one start to the next. About 4 kB. */
export interface AnomalyState {
  readonly version: 1;
  readings: number;
  lastValue: number;
  /** The smallest step seen, 0 before the first: below it nothing can be told apart. */
  quantum: number;
  /** Of values less the profile of the day, by MEAN_READINGS. */
  readonly means: number[];
  readonly levelSpread: { readings: number; square: number };
  readonly movement: { short: number; long: number };
  readonly profile: DayProfile;
  /** The weight of the profile that the experts have learnt with. */
  learntWeight: number;
  /** Until then experts learn and do not speak; null when they may. */
  learnsUntilMs: number | null;
  /** Readings for which an event still lasts. */
  quietReadings: number;
  /** Step, reading, dozen, six dozens, each up and down; stillness. */
  readonly tails: Tail[];
}

/** The state before the first reading. */
export function createAnomalyState(): AnomalyState {
  return {
    version: 1,
    readings: 0,
    lastValue: 0,
    quantum: 0,
    means: MEAN_READINGS.map(() => 0),
    levelSpread: { readings: 0, square: 0 },
    movement: { short: 0, long: 0 },
    profile: createDayProfile(),
    learntWeight: 0,
    learnsUntilMs: null,
    quietReadings: 0,
    tails: Array.from({ length: 9 }, createTail),
  };
}

/**
 * The score of the next reading of a stream, and the state moved on by it.
 *
 * @param state - of this stream alone; changed in place.
 * @param reading - `timeMs` is Unix time, or any time of which days are a multiple; `value` is in whatever unit.
 * @param threshold - at or above which the caller counts an event: for 24 readings after it the score is 0, so that one
 * event is one detection.
 * @returns in [0, 1); 0 while it learns, and for what is not finite or beyond ANOMALY_MAX_VALUE, which changes nothing.
 */
export function scoreAnomaly(
  state: AnomalyState,
  reading: { readonly timeMs: number; readonly value: number },
  threshold: number = ANOMALY_THRESHOLD,
): number {
  const { timeMs, value } = reading;
  if (!Number.isFinite(timeMs) || !(Math.abs(value) <= ANOMALY_MAX_VALUE)) return 0;
  const surprise = learn(state, timeMs, value);
  if (state.quietReadings > 0) {
    state.quietReadings--;
    return 0;
  }
  if (state.learnsUntilMs !== null) {
    if (timeMs < state.learnsUntilMs && state.learnsUntilMs - timeMs <= RELEARN_MS) return 0;
    state.learnsUntilMs = null;
  }
  const score = scoreOf(surprise);
  if (score >= threshold) state.quietReadings = ANOMALY_QUIET_READINGS;
  return score;
}

/** The largest surprise of the experts, in deviations, at this reading; all of them learn it. */
function learn(state: AnomalyState, timeMs: number, value: number): number {
  const { means, movement, tails } = state;
  const isFirst = state.readings === 0;
  state.readings++;
  const step = isFirst ? 0 : Math.abs(value - state.lastValue);
  if (step > 0 && (state.quantum === 0 || step < state.quantum)) state.quantum = step;
  state.lastValue = value;

  const rest = value - expectOfDay(state.profile, timeMs, value);
  learnDay(state.profile, timeMs, value);
  const { weight } = state.profile;
  if (Math.abs(weight - state.learntWeight) > RELEARN_WEIGHT) {
    state.learntWeight = weight;
    state.learnsUntilMs = timeMs + RELEARN_MS;
    for (const tail of tails) restartTail(tail);
    state.levelSpread.readings = 0;
    state.levelSpread.square = 0;
  }

  const fast = isFirst ? 0 : rest - means[0]!;
  for (const [i, readings] of MEAN_READINGS.entries()) {
    means[i]! += share(state.readings, readings) * (rest - means[i]!);
  }
  const slow = means[3]!;
  const unit = Math.max(state.quantum, LEVEL_UNIT_SHARE * learnSpread(state, rest - slow));
  movement.short += share(state.readings, STILL_READINGS) * (step - movement.short);
  movement.long += share(state.readings, MEAN_READINGS[3]) * (step - movement.long);

  const deviations = [fast, rest - slow, means[1]! - slow, means[2]! - slow];
  let surprise = 0;
  for (const [i, deviation] of deviations.entries()) {
    // A mean that is not yet full is the slow level itself.
    if (i >= 2 && 2 * state.readings < 3 * MEAN_READINGS[i - 1]!) continue;
    const memory = i >= 2 ? MEAN_READINGS[i - 1]! : 1;
    const up = seeTail(tails[2 * i]!, Math.max(0, deviation), { unit, memory });
    const down = seeTail(tails[2 * i + 1]!, Math.max(0, -deviation), { unit, memory });
    surprise = Math.max(surprise, up, down);
  }
  const still = seeTail(tails[8]!, stillness(movement), {
    unit: STILL_UNIT,
    memory: STILL_READINGS,
  });
  return Math.max(surprise, still);
}

/** The usual deviation from the slow level. */
function learnSpread({ levelSpread }: AnomalyState, deviation: number): number {
  levelSpread.readings++;
  const square = deviation * deviation;
  const isWarm = levelSpread.readings > LEVEL_WARM_UP;
  const capped = isWarm ? Math.min(square, LEVEL_CAP * LEVEL_CAP * levelSpread.square) : square;
  levelSpread.square += share(levelSpread.readings, LEVEL_MEMORY) * (capped - levelSpread.square);
  return Math.sqrt(levelSpread.square);
}

/** How many times less it moves than usual, at most STILL_CEILING. */
function stillness({ short, long }: AnomalyState['movement']): number {
  return long > 0 ? long / (short + long / STILL_CEILING) : 0;
}

/** s² / (s² + 4.5²): one half at four and a half deviations, towards 1 beyond. */
function scoreOf(surprise: number): number {
  const ratio = surprise / SURPRISE_AT_HALF;
  return ratio > RATIO_AT_TOP ? TOP_SCORE : (ratio * ratio) / (ratio * ratio + 1);
}

/** The weight of the newest in a mean of the last `memory` readings, or of all while there are fewer. */
function share(readings: number, memory: number): number {
  return Math.max(1 / readings, 1 / memory);
}
