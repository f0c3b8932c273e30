/** Where a line is interrupted. Pure; the tests run it in Node. */

/** Steps in a row that may be missing before a line shows a gap. */
const TOLERANCE = 3;

/**
 * The longest distance between two points that still belong together: a device that reads once a minute has no gaps
 * of a minute, however narrow the buckets are.
 *
 * @param timesMs - ascending.
 * @param bucketMs - width of the buckets that the points come from.
 */
export function longestStep(timesMs: readonly number[], bucketMs: number): number {
  const steps = timesMs.slice(1).map((time, i) => time - timesMs[i]!);
  steps.sort((a, b) => a - b);
  // The lower median: with two steps, one of which is a gap, it is the other one.
  const usual = steps[Math.floor((steps.length - 1) / 2)] ?? 0;
  return TOLERANCE * Math.max(usual, bucketMs);
}

/** Runs of points without a gap between them, as [first, end) of their indices. */
export function runsOf(
  timesMs: readonly number[],
  bucketMs: number,
): readonly (readonly [number, number])[] {
  const longest = longestStep(timesMs, bucketMs);
  const runs: [number, number][] = [];
  for (let start = 0; start < timesMs.length; ) {
    let end = start + 1;
    while (end < timesMs.length && timesMs[end]! - timesMs[end - 1]! <= longest) end++;
    runs.push([start, end]);
    start = end;
  }
  return runs;
}
