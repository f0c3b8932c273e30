/**
 * The anomaly score of compute by the scoring of the Numenta Anomaly Benchmark, beside three published detectors on the same
 * files (docs/reports/nab.md). Each detector has one set of parameters for all files.
 *
 * The files are those of `VECTORS_DIR`, else of ../shared/vectors beside the repository, in `nab`.
 */

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  ANOMALY_QUIET_READINGS,
  ANOMALY_THRESHOLD,
  createAnomalyState,
  scoreAnomaly,
} from '@fieldproof/compute/anomaly-score';
import type { Benchmark } from './main.ts';
import { BASELINES } from './nab/baselines.ts';
import { loadCorpus, type NabFile } from './nab/corpus.ts';
import { bestWithQuiet } from './nab/quiet.ts';
import {
  bestThreshold,
  type NabOutcome,
  type NabProfile,
  type NabScored,
  normalise,
  scoreAt,
  scoreFile,
} from './nab/scoring.ts';
import { type BenchCase, benchCase } from './result.ts';

interface Detector {
  readonly name: string;
  readonly threshold: number;
  readonly score: (file: NabFile) => ArrayLike<number>;
}

interface Run extends Detector {
  readonly scored: readonly NabScored[];
}

const OURS = 'anomaly score';

const DETECTORS: readonly Detector[] = [
  { name: OURS, threshold: ANOMALY_THRESHOLD, score: ourScores },
  ...BASELINES.map(({ name, threshold, score }) => ({
    name,
    threshold,
    score: ({ values }: NabFile) => score(values),
  })),
];

/** The short form leaves out what the baselines reach with our quiet period. */
export const nab: Benchmark = async ({ short, progress }) => {
  const folder = join(
    process.env.VECTORS_DIR ?? resolve(import.meta.dirname, '../../../shared/vectors'),
    'nab',
  );
  if (!existsSync(folder)) {
    throw new Error(`nab: expected the files of the benchmark in ${folder} (VECTORS_DIR/nab)`);
  }
  const { files, profiles } = loadCorpus(folder);
  const runs = DETECTORS.map((detector): Run => {
    progress(`${detector.name}: ${files.length} files`);
    const scored = files.map((file) => ({ shape: file, scores: detector.score(file) }));
    return { ...detector, scored };
  });
  const standard = profiles.standard;
  if (standard === undefined) throw new Error('profiles.json: expected a profile standard');
  const quiet = files.map(({ windows }) => windows.length === 0);
  const falseAlarms = (run: Run): number =>
    perFile(run, run.threshold, standard)
      .filter((_, i) => quiet[i])
      .reduce((sum, { falsePositives }) => sum + falsePositives, 0);
  return {
    cases: [
      ...Object.entries(profiles).flatMap(([name, profile]) => profileCases(name, profile, runs)),
      benchCase({
        case: 'detections in files without anomalies, own threshold',
        unit: 'rows',
        values: [falseAlarms(runs[0]!)],
        peers: Object.fromEntries(runs.slice(1).map((run) => [run.name, falseAlarms(run)])),
        goal: { on: 'value', max: 0 },
      }),
    ],
    notes: [
      `${files.length} files, ${files.reduce((sum, { rows }) => sum + rows, 0)} rows, ${files.flatMap(({ windows }) => windows).length} windows; 100 is a perfect detector, 0 one that never speaks.`,
      'Best threshold: for each detector and profile one for all files, that with the highest score. Ours keeps its quiet period, which its own threshold starts.',
      ...runs.map((run) => `${run.name} at ${run.threshold}: ${foundText(run, files, standard)}.`),
      ...(short ? [] : [quietNote(runs.slice(1), standard)]),
    ],
    details: Object.fromEntries(
      runs.map((run) => [run.name, detailsOf(run, { files, profiles, standard })]),
    ),
  };
};

/** Ours and the baselines by one profile: each at its best threshold, and each at its own. */
function profileCases(name: string, profile: NabProfile, runs: readonly Run[]): BenchCase[] {
  const best = runs.map(({ scored }) => normalise(bestThreshold(scored, profile).outcome, profile));
  const own = runs.map(({ scored, threshold }) =>
    normalise(scoreAt(scored, threshold, profile), profile),
  );
  return ([best, own] as const).map((values, i) => {
    const peers = Object.fromEntries(runs.slice(1).map((run, k) => [run.name, values[k + 1]!]));
    const [peer] = Object.entries(peers).sort((a, b) => b[1] - a[1])[0]!;
    return benchCase({
      case: `${name}, ${i === 0 ? 'best threshold' : 'own threshold'}`,
      unit: 'of 100',
      values: [values[0]!],
      peers,
      goal: { on: 'ratio', min: 1, peer },
    });
  });
}

function ourScores({ timesMs, values }: NabFile): Float64Array {
  const state = createAnomalyState();
  return values.map((value, i) => scoreAnomaly(state, { timeMs: timesMs[i]!, value }));
}

function perFile({ scored }: Run, threshold: number, profile: NabProfile): NabOutcome[] {
  return scored.map(({ shape, scores }) =>
    scoreFile(shape, (row) => scores[row]! >= threshold, profile),
  );
}

function foundText(run: Run, files: readonly NabFile[], profile: NabProfile): string {
  return perFile(run, run.threshold, profile)
    .map((outcome, i) => {
      const { windows, windowsFound, falsePositives } = outcome;
      return `${files[i]!.name} ${windowsFound}/${windows}, ${falsePositives} false`;
    })
    .join('; ');
}

/** What a baseline reaches when it keeps silent behind a detection as ours does. */
function quietNote(runs: readonly Run[], profile: NabProfile): string {
  const scores = runs.map(({ name, scored }) => {
    const { outcome } = bestWithQuiet(scored, profile, ANOMALY_QUIET_READINGS);
    return `${name} ${normalise(outcome, profile).toFixed(1)}`;
  });
  return `Baselines with our quiet period of ${ANOMALY_QUIET_READINGS} rows, standard profile, best of about 60 thresholds: ${scores.join(', ')}.`;
}

function detailsOf(
  run: Run,
  context: {
    readonly files: readonly NabFile[];
    readonly profiles: Readonly<Record<string, NabProfile>>;
    readonly standard: NabProfile;
  },
): unknown {
  const { files, profiles, standard } = context;
  const byFile = (threshold: number) =>
    Object.fromEntries(perFile(run, threshold, standard).map((o, i) => [files[i]!.name, o]));
  const best = Object.entries(profiles).map(([name, profile]) => {
    const { threshold, outcome } = bestThreshold(run.scored, profile);
    return [name, { threshold, score: normalise(outcome, profile), files: byFile(threshold) }];
  });
  return {
    own: { threshold: run.threshold, files: byFile(run.threshold) },
    best: Object.fromEntries(best),
  };
}
