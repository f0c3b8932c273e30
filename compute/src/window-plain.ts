/**
 * The state of windows as plain values and back, for checkpoints: numbers, strings and arrays only, so that CBOR,
 * JSON or structured clone can carry it. Applying the same tables to a restored state gives the same rows.
 *
 * Either whole, or what has changed since the last time: a fleet has many open windows, of which few change.
 */

import type { ReadingSource } from './readings.ts';
import {
  createWindowState,
  forgetBucket,
  lineKey,
  type OpenWindow,
  seriesKey,
  type TooLate,
  type WindowBucket,
  type WindowOptions,
  type WindowState,
} from './window.ts';

const FORMAT = 2;

/** An open window. */
export type PlainWindow = readonly [
  startMs: number,
  /** Device, profile, metric, source, unit, cell, group. */
  texts: readonly string[],
  /** Count, min, max, first and its ms, last and its ms. */
  numbers: readonly number[],
  isDirty: boolean,
  /** Of the exact sum. */
  small: readonly number[],
  large: readonly number[],
  /** Emissions of its line. */
  version: number,
];

/** Windows that are new or have changed, as they are now. */
export interface WindowChanges {
  /** null for "nothing forgotten yet". */
  readonly forgottenMs: number | null;
  readonly windows: readonly PlainWindow[];
  readonly tooLate: readonly TooLate[];
}

/** A whole state. */
export interface PlainWindowState extends WindowChanges {
  readonly format: number;
  readonly options: WindowOptions;
}

/** A copy of the state that later changes do not touch. */
export function windowStateToPlain(state: WindowState): PlainWindowState {
  const windows: PlainWindow[] = [];
  for (const [startMs, bucket] of state.buckets) {
    for (const window of bucket.windows.values()) windows.push(toPlain(window, startMs, bucket));
  }
  const { options, tooLate } = state;
  return { format: FORMAT, options, ...common(state, windows, tooLate.values()) };
}

/** What has changed since the last call (or the creation of the state). Changes `state`: it begins anew. */
export function takeChanges(state: WindowState): WindowChanges {
  const windows: PlainWindow[] = [];
  for (const [window, startMs] of state.touched) {
    const bucket = state.buckets.get(startMs);
    if (bucket !== undefined) windows.push(toPlain(window, startMs, bucket));
  }
  const changes = common(state, windows, state.touchedLate);
  state.touched.clear();
  state.touchedLate.clear();
  return changes;
}

/** Applies what `takeChanges` gave to a state that was as the other one was then; `changes` is copied. */
export function applyChanges(state: WindowState, changes: WindowChanges): void {
  for (const plain of changes.windows) restoreWindow(state, plain);
  for (const { series, count } of changes.tooLate) {
    state.tooLate.set(seriesKey(series), { series: { ...series }, count });
  }
  state.forgottenMs = changes.forgottenMs ?? Number.NEGATIVE_INFINITY;
  for (const startMs of state.buckets.keys()) {
    if (startMs + state.options.windowMs <= state.forgottenMs) forgetBucket(state, startMs);
  }
}

/**
 * The state that `windowStateToPlain` gave; `plain` is copied.
 *
 * @throws {RangeError} for another format or options out of range.
 */
export function windowStateFromPlain(plain: PlainWindowState): WindowState {
  if (plain.format !== FORMAT) {
    throw new RangeError(`window state: expected format ${FORMAT}, got ${plain.format}`);
  }
  const state = createWindowState(plain.options);
  applyChanges(state, plain);
  return state;
}

function common(
  state: WindowState,
  windows: readonly PlainWindow[],
  tooLate: Iterable<TooLate>,
): WindowChanges {
  const forgottenMs = Number.isFinite(state.forgottenMs) ? state.forgottenMs : null;
  return { forgottenMs, windows, tooLate: Array.from(tooLate, (entry) => ({ ...entry })) };
}

function toPlain(window: OpenWindow, startMs: number, bucket: WindowBucket): PlainWindow {
  const { series, unit, cell, group, count, min, max, first, firstMs, last, lastMs } = window;
  const { device, profile, metric, source } = series;
  const { small, large } = window.sum;
  return [
    startMs,
    [device, profile, metric, source, unit, cell, group],
    [count, min, max, first, firstMs, last, lastMs],
    window.isDirty,
    small.slice(),
    large.slice(),
    bucket.versions.get(lineKey(series)) ?? 0,
  ];
}

function restoreWindow(state: WindowState, plain: PlainWindow): void {
  const [startMs, texts, numbers, isDirty, small, large, version] = plain;
  const [device = '', profile = '', metric = '', source, unit = '', cell = '', group = ''] = texts;
  const [count = 0, min = 0, max = 0, first = 0, firstMs = 0, last = 0, lastMs = 0] = numbers;
  const series = { device, profile, metric, source: source as ReadingSource };
  let bucket = state.buckets.get(startMs);
  if (bucket === undefined) {
    bucket = { windows: new Map(), dirty: new Set(), versions: new Map() };
    state.buckets.set(startMs, bucket);
  }
  const key = seriesKey(series);
  const before = bucket.windows.get(key);
  if (before !== undefined) bucket.dirty.delete(before);
  const window: OpenWindow = {
    ...{ series, unit, cell, group, sum: { small: [...small], large: [...large] } },
    ...{ count, min, max, first, firstMs, last, lastMs, isDirty },
  };
  bucket.windows.set(key, window);
  if (isDirty) bucket.dirty.add(window);
  if (version > 0) bucket.versions.set(lineKey(series), version);
}
