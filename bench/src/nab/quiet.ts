/** Detectors that keep silent for some rows behind each detection, so that one event is one detection. */

import {
  type NabOutcome,
  type NabProfile,
  type NabScored,
  scoreFile,
  sumOutcomes,
} from './scoring.ts';

/** Ranks of tried thresholds grow by this factor. */
const RANK_GROWTH = 1.15;

/** The rows that are left of those at or above the threshold: none within `quietRows` behind another. */
export function quietDetections(
  scores: ArrayLike<number>,
  threshold: number,
  quietRows: number,
): ReadonlySet<number> {
  const rows = new Set<number>();
  let next = 0;
  for (let row = 0; row < scores.length; row++) {
    if (row < next || !(scores[row]! >= threshold)) continue;
    rows.add(row);
    next = row + quietRows + 1;
  }
  return rows;
}

/** The best of thresholds at growing ranks of the scores; the quiet rows depend on the threshold, so all cannot be tried. */
export function bestWithQuiet(
  files: readonly NabScored[],
  profile: NabProfile,
  quietRows: number,
): { readonly threshold: number; readonly outcome: NabOutcome } {
  const scores = [...new Set(files.flatMap((file) => Array.from(file.scores)))];
  scores.sort((a, b) => b - a);
  let best: { threshold: number; outcome: NabOutcome } | undefined;
  for (let rank = 0; rank < scores.length; rank = Math.floor((rank + 1) * RANK_GROWTH)) {
    const threshold = scores[rank]!;
    const outcomes = files.map((file) => {
      const rows = quietDetections(file.scores, threshold, quietRows);
      return scoreFile(file.shape, (row) => rows.has(row), profile);
    });
    const outcome = sumOutcomes(outcomes);
    if (best === undefined || outcome.raw > best.outcome.raw) best = { threshold, outcome };
  }
  if (best === undefined) throw new RangeError('files: expected at least one row, got none');
  return best;
}
