/** What a benchmark says: cases with their spread, their peers of the same run, and the goal that they have. */

import { cpus, totalmem } from 'node:os';

/** A goal on the ratio to the peer it names, or on the value itself. */
export interface Goal {
  readonly on: 'ratio' | 'value';
  readonly min?: number;
  readonly max?: number;
  /** The peer that `ratio` is taken to. */
  readonly peer?: string;
}

export interface BenchCase {
  readonly case: string;
  readonly unit: string;
  /** Median of the runs. */
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
  /** Measured in the same run, in the same unit. */
  readonly peers: Readonly<Record<string, number>>;
  /** Ours to the peer or ceiling that the goal names; null without one. */
  readonly ratio: number | null;
  readonly goal: Goal | null;
  /** Null without a goal. */
  readonly reached: boolean | null;
}

export interface BenchReport {
  readonly name: string;
  readonly machine: string;
  readonly cases: readonly BenchCase[];
  /** What limits it, what was noisy, what to know. */
  readonly notes: readonly string[];
  /** Figures behind the cases, in the JSON form only. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface Measured {
  readonly case: string;
  readonly unit: string;
  /** One value for each run. */
  readonly values: readonly number[];
  readonly peers?: Readonly<Record<string, number>>;
  readonly goal?: Goal;
}

/** A case from its runs. */
export function benchCase({ case: name, unit, values, peers = {}, goal }: Measured): BenchCase {
  const value = median(values);
  const peer = goal?.peer === undefined ? undefined : peers[goal.peer];
  const ratio = peer === undefined ? null : value / peer;
  const judged = goal?.on === 'ratio' ? ratio : value;
  return {
    case: name,
    unit,
    value,
    min: Math.min(...values),
    max: Math.max(...values),
    runs: values.length,
    peers,
    ratio,
    goal: goal ?? null,
    reached:
      goal === undefined || judged === null
        ? null
        : judged >= (goal.min ?? -Infinity) && judged <= (goal.max ?? Infinity),
  };
}

/** The middle value, or the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1
    ? sorted[Math.floor(middle)]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function machine(): string {
  const [cpu] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${memory} GiB, Node ${process.version}, ${process.platform} ${process.arch}`;
}

/** The report as a table for a terminal or a Markdown page. */
export function formatReport(report: BenchReport): string {
  const head =
    '| Case | Value | Min – max (runs) | Peers of the same run | Ratio | Goal | Reached |';
  const rows = report.cases.map((row) => {
    const peers = Object.entries(row.peers).map(([name, value]) => `${name} ${round(value)}`);
    const goal = row.goal === null ? '' : goalText(row.goal);
    const reached = row.reached === null ? '' : row.reached ? 'yes' : '**no**';
    const cells = [
      row.case,
      `${round(row.value)} ${row.unit}`,
      `${round(row.min)} – ${round(row.max)} (${row.runs})`,
      peers.join(', '),
      row.ratio === null ? '' : round(row.ratio),
      goal,
      reached,
    ];
    return `| ${cells.join(' | ')} |`;
  });
  const notes = report.notes.map((note) => `- ${note}`);
  return [
    `# Benchmark ${report.name}`,
    '',
    report.machine,
    '',
    head,
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    ...(notes.length > 0 ? ['', ...notes] : []),
    '',
  ].join('\n');
}

function goalText({ on, min, max, peer }: Goal): string {
  const bound = min === undefined ? `≤ ${max}` : `≥ ${min}`;
  return on === 'ratio' ? `${bound} × ${peer}` : bound;
}

function round(value: number): string {
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 10 ? 1 : 3;
  return Number(value.toFixed(digits)).toLocaleString('en');
}
