/** The lines of a sparkline: how much time it shows, where it breaks. Pure; the tests run it in Node. */
import type { ApiSeries } from './api.ts';
import { runsOf } from './gaps.ts';

export const WIDTH = 240;
export const HEIGHT = 48;
const PAD = 3;
/** The narrowest and the widest stretch of time that a sparkline shows. */
const MIN_SPAN_MS = 60_000;
export const MAX_SPAN_MS = 15 * 60_000;

export interface SparkRange {
  readonly fromMs: number;
  readonly toMs: number;
  readonly bucketMs: number;
}

/** How much of the last quarter of an hour data that begins at `firstMs` fills; at least a minute. */
export function sparkSpan(firstMs: number, nowMs: number): number {
  return Math.min(MAX_SPAN_MS, Math.max(MIN_SPAN_MS, nowMs - firstMs));
}

/** The two paths of a sparkline in a box of 240 × 48; young data fills it as old data does. */
export function sparkPaths(series: ApiSeries | null, { fromMs, toMs, bucketMs }: SparkRange) {
  if (series === null || series.timesMs.length === 0) return { line: '', area: '' };
  const { timesMs, values } = series;
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const span = high - low;
  const left = Math.max(fromMs, toMs - sparkSpan(timesMs[0]!, toMs));
  const x = (timeMs: number) => ((Math.max(0, timeMs - left) / (toMs - left)) * WIDTH).toFixed(1);
  // A constant runs through the middle instead of along an edge.
  const y = (value: number) =>
    (span === 0 ? HEIGHT / 2 : HEIGHT - PAD - ((value - low) / span) * (HEIGHT - 2 * PAD)).toFixed(
      1,
    );
  let line = '';
  let area = '';
  for (const [start, end] of runsOf(timesMs, bucketMs)) {
    const run = timesMs.slice(start, end).map((t, i) => `${x(t)} ${y(values[start + i]!)}`);
    const path = `M${run.join('L')}${run.length === 1 ? 'h0.1' : ''}`;
    line += path;
    area += `${path}L${x(timesMs[end - 1]!)} ${HEIGHT}L${x(timesMs[start]!)} ${HEIGHT}Z`;
  }
  return { line, area };
}
