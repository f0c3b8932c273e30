/** A small line of the last quarter of an hour, without axes; for shape, not for reading off values. */
import type { ApiSeries } from './api.ts';
import { svg } from './dom.ts';

const WIDTH = 240;
const HEIGHT = 48;
const PAD = 3;

export interface SparkRange {
  readonly fromMs: number;
  readonly toMs: number;
  readonly bucketMs: number;
}

/** An empty sparkline; `drawSparkline` fills it. */
export function sparkline(): SVGSVGElement {
  const root = svg('svg', {
    ...{ class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none' },
    'aria-hidden': 'true',
  });
  root.append(svg('path', { class: 'spark-area' }), svg('path', { class: 'spark-line' }));
  return root;
}

/** Draws `series` into `root`; missing buckets interrupt the line. */
export function drawSparkline(root: SVGSVGElement, series: ApiSeries | null, range: SparkRange) {
  const { line, area } = sparkPaths(series, range);
  root.querySelector('.spark-line')?.setAttribute('d', line);
  root.querySelector('.spark-area')?.setAttribute('d', area);
}

/** The two paths of a sparkline in a box of 240 × 48. */
export function sparkPaths(series: ApiSeries | null, { fromMs, toMs, bucketMs }: SparkRange) {
  if (series === null || series.timesMs.length === 0) return { line: '', area: '' };
  const { timesMs, values } = series;
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const span = high - low;
  const x = (timeMs: number) => (((timeMs - fromMs) / (toMs - fromMs)) * WIDTH).toFixed(1);
  // A constant runs through the middle instead of along an edge.
  const y = (value: number) =>
    (span === 0 ? HEIGHT / 2 : HEIGHT - PAD - ((value - low) / span) * (HEIGHT - 2 * PAD)).toFixed(
      1,
    );
  let line = '';
  let area = '';
  for (let start = 0; start < timesMs.length; ) {
    let end = start + 1;
    while (end < timesMs.length && timesMs[end]! - timesMs[end - 1]! <= 4 * bucketMs) end++;
    const run = timesMs.slice(start, end).map((t, i) => `${x(t)} ${y(values[start + i]!)}`);
    const path = `M${run.join('L')}${run.length === 1 ? 'h0.1' : ''}`;
    line += path;
    area += `${path}L${x(timesMs[end - 1]!)} ${HEIGHT}L${x(timesMs[start]!)} ${HEIGHT}Z`;
    start = end;
  }
  return { line, area };
}
