/**
 * Tumbling event-time windows per series (device, profile, metric, source): count, sum, mean, minimum, maximum, first
 * and last of the numbers of each window.
 *
 * What a window yields depends on the readings in it and not on their order: sums are exact before they are rounded,
 * equal times are ordered by value. A window is closed `graceMs` after its end; readings that come later open it
 * again, and it is emitted again with a higher version. `horizonMs` after its end it is forgotten, and what
 * still comes for it is counted as too late.
 *
 * A reading that is applied twice counts twice: whoever feeds tables keeps each log entry from being applied again. Two
 * readings of a series at one instant, from two batches, are two readings. Strings and booleans have no windows.
 *
 * Windows can be kept apart by where their readings are from, in a state for each origin, so that one can be forgotten
 * and made again without the others: `closeParts` emits them as if they were one.
 */

import type { FloatColumn, ReadingSource, ReadingTable } from './readings.ts';
import { addToSum, type ExactSum, emptySum, mergeSum, roundSum } from './window-sum.ts';

export interface WindowOptions {
  /** Length of a window, a whole number of ms; windows start at its multiples in Unix time. */
  readonly windowMs: number;
  /** How long after its end a window waits for late readings before it is emitted. */
  readonly graceMs: number;
  /** How long after its end a window can still be opened again; at least `graceMs`. */
  readonly horizonMs: number;
}

/** Whose readings a window holds. */
export interface Series {
  readonly device: string;
  readonly profile: string;
  readonly metric: string;
  readonly source: ReadingSource;
}

/** One window of one series, as emitted. */
export interface WindowRow extends Series {
  readonly unit: string;
  readonly cell: string;
  readonly group: string;
  /** Unix time in ms; the window is [startMs, endMs). */
  readonly startMs: number;
  readonly endMs: number;
  readonly count: number;
  /** Rounded once; ±Infinity where the sum is beyond the doubles. */
  readonly sum: number;
  /** sum / count. */
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  readonly first: number;
  readonly firstMs: number;
  readonly last: number;
  readonly lastMs: number;
  /**
   * Counts the emissions of the line that this window belongs to, i.e. of all metrics of its device, profile, source and
   * start, from 1. A store that keeps the highest version of a line is right.
   */
  readonly version: number;
}

/** A window being filled. Unit, cell and group are those of the first reading that came. */
export interface OpenWindow {
  readonly series: Series;
  readonly unit: string;
  readonly cell: string;
  readonly group: string;
  readonly sum: ExactSum;
  count: number;
  min: number;
  max: number;
  first: number;
  firstMs: number;
  last: number;
  lastMs: number;
  /** Whether it has readings that were not emitted. */
  isDirty: boolean;
}

/** The windows with one start. */
export interface WindowBucket {
  readonly windows: Map<string, OpenWindow>;
  readonly dirty: Set<OpenWindow>;
  /** Emissions of each line so far. */
  readonly versions: Map<string, number>;
}

export interface WindowState {
  readonly options: WindowOptions;
  /** By window start. */
  readonly buckets: Map<number, WindowBucket>;
  /** Windows that end at or before this are forgotten, in Unix ms. */
  forgottenMs: number;
  /** Readings that came for forgotten windows, by series. */
  readonly tooLate: Map<string, TooLate>;
  /** What is new since the last `takeChanges`: windows with their start, and entries of `tooLate`. */
  readonly touched: Map<OpenWindow, number>;
  readonly touchedLate: Set<TooLate>;
}

/** Readings of one series that came after their windows were forgotten. */
export interface TooLate {
  readonly series: Series;
  count: number;
}

/**
 * A state without windows.
 *
 * @throws {RangeError} for options out of range.
 */
export function createWindowState(options: WindowOptions): WindowState {
  const { windowMs, graceMs, horizonMs } = options;
  if (!(Number.isSafeInteger(windowMs) && windowMs > 0)) {
    throw new RangeError(`windowMs: expected a positive integer, got ${windowMs}`);
  }
  if (!(graceMs >= 0)) throw new RangeError(`graceMs: expected 0 or more, got ${graceMs}`);
  if (!(horizonMs >= graceMs)) {
    throw new RangeError(`horizonMs: expected at least graceMs (${graceMs}), got ${horizonMs}`);
  }
  return {
    options: { windowMs, graceMs, horizonMs },
    buckets: new Map(),
    forgottenMs: Number.NEGATIVE_INFINITY,
    tooLate: new Map(),
    touched: new Map(),
    touchedLate: new Set(),
  };
}

/**
 * Puts the numbers of a table into their windows. Changes `state`.
 *
 * @returns how many readings were applied and how many came too late; the latter are also in `state.tooLate`.
 */
export function applyTable(
  state: WindowState,
  table: ReadingTable,
): { readonly applied: number; readonly tooLate: number } {
  let applied = 0;
  let tooLate = 0;
  for (const column of table.columns) {
    if (column.type !== 'float') continue;
    const result = applyColumn(state, table, column);
    applied += result.applied;
    tooLate += result.tooLate;
  }
  return { applied, tooLate };
}

/** The windows of one origin, and how far time has come for them. */
export interface WindowPart {
  readonly state: WindowState;
  /** Unix time in ms; should not go back. */
  readonly nowMs: number;
  /**
   * How far the readings have come, where that is behind `nowMs`: nothing is forgotten before its readings had their
   * `horizonMs` to come.
   */
  readonly seenMs?: number;
}

/**
 * Emits every window with new readings that ended `graceMs` ago, and forgets those that ended `horizonMs` ago. Changes
 * `state`.
 *
 * @param nowMs - see {@link WindowPart}, as for `seenMs`.
 * @returns rows by start, device, profile, metric and source.
 */
export function closeWindows(state: WindowState, nowMs: number, seenMs = nowMs): WindowRow[] {
  return closeParts([{ state, nowMs, seenMs }]);
}

/**
 * As `closeWindows` for windows of several origins: a row holds what all of them have of its series. Each origin has a
 * time of its own. Unit, cell and group are those of the first part that has the window.
 *
 * @param parts - of windows of one length.
 */
export function closeParts(parts: readonly WindowPart[]): WindowRow[] {
  const starts = new Set<number>();
  for (const { state, nowMs } of parts) {
    for (const [startMs, { dirty }] of state.buckets) {
      if (dirty.size > 0 && isDue(state, startMs, nowMs)) starts.add(startMs);
    }
  }
  const rows: WindowRow[] = [];
  for (const startMs of [...starts].sort((a, b) => a - b)) {
    for (const row of emitStart(parts, startMs)) rows.push(row);
  }
  for (const { state, nowMs, seenMs = nowMs } of parts) {
    const { windowMs, horizonMs } = state.options;
    const forgetMs = Math.min(nowMs, seenMs) - horizonMs;
    for (const startMs of state.buckets.keys()) {
      if (startMs + windowMs <= forgetMs) forgetBucket(state, startMs);
    }
    state.forgottenMs = Math.max(state.forgottenMs, forgetMs);
  }
  return rows;
}

/** Has those windows emitted again that were emitted together with windows of `gone`. Changes `state`. */
export function reopenShared(state: WindowState, gone: WindowState): void {
  for (const [startMs, { windows }] of gone.buckets) {
    const bucket = state.buckets.get(startMs);
    if (bucket === undefined) continue;
    for (const key of windows.keys()) {
      const window = bucket.windows.get(key);
      if (window === undefined) continue;
      state.touched.set(window, startMs);
      markDirty(bucket, window);
    }
  }
}

/** Forgets the windows with one start. */
export function forgetBucket(state: WindowState, startMs: number): void {
  const windows = state.buckets.get(startMs)?.windows.values() ?? [];
  for (const window of windows) state.touched.delete(window);
  state.buckets.delete(startMs);
}

function applyColumn(state: WindowState, table: ReadingTable, column: FloatColumn) {
  const { windowMs } = state.options;
  const { values } = column;
  const { device, profile, source, timesMs } = table;
  const series = { device, profile, metric: column.metric, source };
  const key = seriesKey(series);
  let applied = 0;
  let tooLate = 0;
  let window: OpenWindow | undefined;
  let windowStart = Number.NaN;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value)) continue;
    const timeMs = timesMs[i]!;
    const startMs = Math.floor(timeMs / windowMs) * windowMs;
    if (startMs !== windowStart) {
      window =
        startMs + windowMs <= state.forgottenMs
          ? undefined
          : windowOf(state, startMs, { series, key, table, column });
      windowStart = startMs;
    }
    if (window === undefined) {
      tooLate++;
    } else {
      addReading(window, timeMs, value + 0);
      applied++;
    }
  }
  if (tooLate > 0) {
    const entry: TooLate = state.tooLate.get(key) ?? { series, count: 0 };
    entry.count += tooLate;
    state.tooLate.set(key, entry);
    state.touchedLate.add(entry);
  }
  return { applied, tooLate };
}

function windowOf(
  state: WindowState,
  startMs: number,
  from: { series: Series; key: string; table: ReadingTable; column: FloatColumn },
): OpenWindow {
  let bucket = state.buckets.get(startMs);
  if (bucket === undefined) {
    bucket = { windows: new Map(), dirty: new Set(), versions: new Map() };
    state.buckets.set(startMs, bucket);
  }
  let window = bucket.windows.get(from.key);
  if (window === undefined) {
    window = {
      series: from.series,
      unit: from.column.unit,
      cell: from.table.cell,
      group: from.table.group,
      sum: emptySum(),
      count: 0,
      min: Number.POSITIVE_INFINITY,
      max: Number.NEGATIVE_INFINITY,
      first: 0,
      firstMs: Number.POSITIVE_INFINITY,
      last: 0,
      lastMs: Number.NEGATIVE_INFINITY,
      isDirty: false,
    };
    bucket.windows.set(from.key, window);
  }
  state.touched.set(window, startMs);
  markDirty(bucket, window);
  return window;
}

function markDirty(bucket: WindowBucket, window: OpenWindow): void {
  if (window.isDirty) return;
  window.isDirty = true;
  bucket.dirty.add(window);
}

/** Of several readings at one instant, `first` takes the least and `last` the greatest. */
function addReading(window: OpenWindow, timeMs: number, value: number): void {
  window.count++;
  addToSum(window.sum, value);
  if (value < window.min) window.min = value;
  if (value > window.max) window.max = value;
  takeFirst(window, timeMs, value);
  takeLast(window, timeMs, value);
}

function takeFirst(window: OpenWindow, timeMs: number, value: number): void {
  if (timeMs > window.firstMs || (timeMs === window.firstMs && value >= window.first)) return;
  window.first = value;
  window.firstMs = timeMs;
}

function takeLast(window: OpenWindow, timeMs: number, value: number): void {
  if (timeMs < window.lastMs || (timeMs === window.lastMs && value <= window.last)) return;
  window.last = value;
  window.lastMs = timeMs;
}

function isDue({ options }: WindowState, startMs: number, nowMs: number): boolean {
  return startMs + options.windowMs + options.graceMs <= nowMs;
}

/** The rows of the windows with one start that are due, in whichever part; each with what the other parts have. */
function emitStart(parts: readonly WindowPart[], startMs: number): WindowRow[] {
  const found: { readonly state: WindowState; readonly bucket: WindowBucket }[] = [];
  const due: OpenWindow[] = [];
  for (const { state, nowMs } of parts) {
    const bucket = state.buckets.get(startMs);
    if (bucket === undefined) continue;
    found.push({ state, bucket });
    if (isDue(state, startMs, nowMs)) for (const window of bucket.dirty) due.push(window);
  }
  due.sort((a, b) => compareSeries(a.series, b.series));
  const raised = new Map<string, number>();
  const rows: WindowRow[] = [];
  for (const one of due) {
    // It was emitted with that of another part.
    if (!one.isDirty) continue;
    const { series } = one;
    const line = lineKey(series);
    const version = raised.get(line) ?? nextVersion(found, line);
    raised.set(line, version);
    const key = found.length === 1 ? '' : seriesKey(series);
    let merged: OpenWindow | undefined;
    for (const { state, bucket } of found) {
      const window = found.length === 1 ? one : bucket.windows.get(key);
      if (window === undefined) continue;
      state.touched.set(window, startMs);
      window.isDirty = false;
      bucket.dirty.delete(window);
      bucket.versions.set(line, version);
      merged = merged === undefined ? window : mergeWindows(merged, window);
    }
    rows.push(
      toRow(merged!, { startMs, endMs: startMs + found[0]!.state.options.windowMs, version }),
    );
  }
  return rows;
}

function nextVersion(found: readonly { readonly bucket: WindowBucket }[], line: string): number {
  return 1 + Math.max(...found.map(({ bucket }) => bucket.versions.get(line) ?? 0));
}

/** A window with the readings of both; neither is changed. */
function mergeWindows(a: OpenWindow, b: OpenWindow): OpenWindow {
  const merged = { ...a, sum: { small: [...a.sum.small], large: [...a.sum.large] } };
  mergeSum(merged.sum, b.sum);
  merged.count += b.count;
  merged.min = Math.min(a.min, b.min);
  merged.max = Math.max(a.max, b.max);
  takeFirst(merged, b.firstMs, b.first);
  takeLast(merged, b.lastMs, b.last);
  return merged;
}

function toRow(
  window: OpenWindow,
  at: Pick<WindowRow, 'startMs' | 'endMs' | 'version'>,
): WindowRow {
  const { series, unit, cell, group, count, min, max, first, firstMs, last, lastMs } = window;
  const { device, profile, metric, source } = series;
  const { startMs, endMs, version } = at;
  const sum = roundSum(window.sum);
  const mean = sum / count;
  // biome-ignore format: one object in one go, a row for each window
  return {
    device, profile, metric, source, unit, cell, group, startMs, endMs,
    count, sum, mean, min, max, first, firstMs, last, lastMs, version,
  };
}

/** One string per series. Names and ids hold no control characters. */
export function seriesKey({ device, profile, metric, source }: Series): string {
  return `${device}\n${profile}\n${metric}\n${source}`;
}

/** One string per line of a store: the metrics of a series' device, profile and source share it. */
export function lineKey({ device, profile, source }: Omit<Series, 'metric'>): string {
  return `${device}\n${profile}\n${source}`;
}

function compareSeries(a: Series, b: Series): number {
  return (
    compareText(a.device, b.device) ||
    compareText(a.profile, b.profile) ||
    compareText(a.metric, b.metric) ||
    compareText(a.source, b.source)
  );
}

/** By UTF-16 units: the same everywhere, unlike a locale's order. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
