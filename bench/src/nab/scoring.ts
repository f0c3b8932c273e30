/**
 * The scoring of the Numenta Anomaly Benchmark: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms – the
 * Numenta Anomaly Benchmark" (2015), and the NAB wiki.
 *
 * A row is a detection when its score is at or above the threshold. Of the detections in a window only the earliest
 * counts, by a sigmoid of its place: 1 at the first row, falling towards 0 at the last. A missed window costs the weight of a
 * false negative. A detection outside of windows costs the weight of a false positive, times the sigmoid of its distance
 * behind the window before it: next to nothing directly behind, all of it from three widths on or before any window.
 * Rows of the probation are not scored. One threshold serves all files. True negatives have a weight in the published
 * profiles and no part in the score.
 */

/** The share of a file that is not scored, and its most rows: 15 % of 5,000. */
export const PROBATION_SHARE = 0.15;
export const PROBATION_MAX_ROWS = 750;

/** Beyond so many widths behind a window a false positive costs its whole weight. */
const FAR_WIDTHS = 3;

/** One application profile: what each kind of outcome weighs. */
export interface NabProfile {
  readonly tpWeight: number;
  readonly fpWeight: number;
  readonly fnWeight: number;
}

/** The rows of a labelled window, both included. */
export interface NabWindow {
  readonly first: number;
  readonly last: number;
}

/** What the scoring has to know of a file; windows ascend and do not overlap. */
export interface NabShape {
  readonly rows: number;
  readonly windows: readonly NabWindow[];
}

/** What a detector did at one threshold. `raw` is in weights, not normalised. */
export interface NabOutcome {
  readonly raw: number;
  readonly windows: number;
  readonly windowsFound: number;
  readonly falsePositives: number;
}

/** A file and a detector's score of each of its rows. */
export interface NabScored {
  readonly shape: NabShape;
  readonly scores: ArrayLike<number>;
}

/** How many rows at the start of a file are not scored. */
export function probationRows(rows: number): number {
  return Math.min(Math.floor(rows * PROBATION_SHARE), PROBATION_MAX_ROWS);
}

/** σ(y) = 2 / (1 + e^(5y)) − 1, and −1 beyond three widths. `position` is −1 at a window's first row, 0 behind its last. */
export function scaledSigmoid(position: number): number {
  return position > FAR_WIDTHS ? -1 : 2 / (1 + Math.exp(5 * position)) - 1;
}

/** The detections of one file against its windows. `isDetected` is asked for each row after probation. */
export function scoreFile(
  shape: NabShape,
  isDetected: (row: number) => boolean,
  profile: NabProfile,
): NabOutcome {
  const tally = new Tally([shape], profile);
  for (let row = probationRows(shape.rows); row < shape.rows; row++) {
    if (isDetected(row)) tally.detect(0, row);
  }
  return tally.outcome();
}

/** The outcome over all files at one threshold. */
export function scoreAt(
  files: readonly NabScored[],
  threshold: number,
  profile: NabProfile,
): NabOutcome {
  const outcomes = files.map(({ shape, scores }) =>
    scoreFile(shape, (row) => scores[row]! >= threshold, profile),
  );
  return sumOutcomes(outcomes);
}

/** Outcomes of files, added. */
export function sumOutcomes(outcomes: readonly NabOutcome[]): NabOutcome {
  const total = (of: (outcome: NabOutcome) => number): number =>
    outcomes.reduce((sum, outcome) => sum + of(outcome), 0);
  return {
    raw: total(({ raw }) => raw),
    windows: total(({ windows }) => windows),
    windowsFound: total(({ windowsFound }) => windowsFound),
    falsePositives: total(({ falsePositives }) => falsePositives),
  };
}

/** 100 · (score − null) / (perfect − null): 0 for a detector that never speaks, 100 for a perfect one. NaN without windows. */
export function normalise({ raw, windows }: NabOutcome, profile: NabProfile): number {
  const nothing = -profile.fnWeight * windows;
  const perfect = profile.tpWeight * windows;
  return (100 * (raw - nothing)) / (perfect - nothing);
}

/**
 * The threshold with the highest score over all files together, found exactly: every distinct score is tried, and
 * +Infinity, at which nothing is detected. The published runner climbs a hill to the same end. Of equals the
 * highest is taken.
 */
export function bestThreshold(
  files: readonly NabScored[],
  profile: NabProfile,
): { readonly threshold: number; readonly outcome: NabOutcome } {
  const points = files.flatMap(({ shape, scores }, file) =>
    Array.from({ length: shape.rows }, (_, row) => ({ file, row, score: scores[row]! })).slice(
      probationRows(shape.rows),
    ),
  );
  points.sort((a, b) => b.score - a.score);
  const tally = new Tally(
    files.map(({ shape }) => shape),
    profile,
  );
  let best = { threshold: Number.POSITIVE_INFINITY, outcome: tally.outcome() };
  for (const [i, { file, row, score }] of points.entries()) {
    tally.detect(file, row);
    if (points[i + 1]?.score === score) continue;
    if (tally.raw > best.outcome.raw) best = { threshold: score, outcome: tally.outcome() };
  }
  return best;
}

/** Adds up detections in whatever order they come: the threshold is lowered row by row. */
class Tally {
  raw: number;
  #falsePositives = 0;
  readonly #shapes: readonly NabShape[];
  readonly #profile: NabProfile;
  /** For each window of each file what its best detection earned, null while it is missed. */
  readonly #earned: (number | null)[][];

  constructor(shapes: readonly NabShape[], profile: NabProfile) {
    this.#shapes = shapes;
    this.#profile = profile;
    this.#earned = shapes.map(({ windows }) => windows.map(() => null));
    this.raw = 0 - profile.fnWeight * this.#earned.flat().length;
  }

  detect(file: number, row: number): void {
    const { windows } = this.#shapes[file]!;
    const { tpWeight, fnWeight, fpWeight } = this.#profile;
    const index = windows.findLastIndex(({ first }) => first <= row);
    const window = windows[index];
    if (window === undefined || row > window.last) {
      this.#falsePositives++;
      this.raw += fpWeight * (window === undefined ? -1 : scaledSigmoid(behind(window, row)));
      return;
    }
    const earned = this.#earned[file]!;
    const before = earned[index]!;
    const now = (tpWeight * scaledSigmoid(inside(window, row))) / scaledSigmoid(-1);
    if (before !== null && before >= now) return;
    earned[index] = now;
    this.raw += now - (before ?? -fnWeight);
  }

  outcome(): NabOutcome {
    const all = this.#earned.flat();
    return {
      raw: this.raw,
      windows: all.length,
      windowsFound: all.filter((earned) => earned !== null).length,
      falsePositives: this.#falsePositives,
    };
  }
}

/** −1 at the first row, one row short of 0 at the last. */
function inside({ first, last }: NabWindow, row: number): number {
  return -(last - row + 1) / (last - first + 1);
}

/** In widths behind the last row. A window of one row is as wide as one row. */
function behind({ first, last }: NabWindow, row: number): number {
  return (row - last) / Math.max(1, last - first);
}
