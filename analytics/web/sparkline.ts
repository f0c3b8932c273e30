/**
 * A small line of the last quarter of an hour, or of what there is of it, without axes; for shape, not for reading off
 * values.
 */
import type { ApiSeries } from './api.ts';
import { svg } from './dom.ts';
import { HEIGHT, type SparkRange, sparkPaths, WIDTH } from './spark-paths.ts';

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
