/** What a run was: tables for people. */

import type { Hit, Recovery } from './fault-run.ts';

export interface FaultCount {
  readonly name: string;
  readonly hit: number;
  readonly missed: number;
}

/** Faults by name. */
export function countFaults(hits: readonly Hit[]): readonly FaultCount[] {
  const counts = new Map<string, { hit: number; missed: number }>();
  for (const { name, missed } of hits) {
    const count = counts.get(name) ?? { hit: 0, missed: 0 };
    if (missed === null) count.hit++;
    else count.missed++;
    counts.set(name, count);
  }
  return [...counts].map(([name, count]) => ({ name, ...count })).sort(byName);
}

/** Faults that hit something while devices were signing. */
export function hitsUnderLoad(hits: readonly Hit[]): readonly Hit[] {
  return hits.filter(({ missed, sealedLately }) => missed === null && sealedLately > 0);
}

/** Of the hits on one kind of process, those before which the log had grown since the one before. */
export function hitsAfterProgress(hits: readonly Hit[], prefix: string): number {
  let evidenceBytes = 0;
  return hits.filter((hit) => {
    if (hit.missed !== null || !hit.name.startsWith(prefix)) return false;
    const grew = hit.evidenceBytes > evidenceBytes;
    evidenceBytes = Math.max(evidenceBytes, hit.evidenceBytes);
    return grew;
  }).length;
}

/** Lines of a table: what was broken how often, and how long the way back took. */
export function reportLines(hits: readonly Hit[], recoveries: readonly Recovery[]): string[] {
  const counts = countFaults(hits);
  const width = Math.max(...counts.map(({ name }) => name.length), 10);
  const lines = counts.map(
    ({ name, hit, missed }) =>
      `${name.padEnd(width)} ${String(hit).padStart(5)}${missed > 0 ? `   (${missed} met nothing)` : ''}`,
  );
  const total = counts.reduce((sum, { hit }) => sum + hit, 0);
  lines.push(`${'all'.padEnd(width)} ${String(total).padStart(5)}`, '');
  for (const name of new Set(recoveries.map((recovery) => recovery.name))) {
    const times = recoveries
      .filter((recovery) => recovery.name === name)
      .map(({ ms }) => ms)
      .sort((a, b) => a - b);
    const median = seconds(times[times.length >> 1]!);
    lines.push(
      `${`back: ${name}`.padEnd(width)} median ${median}, max ${seconds(times.at(-1)!)}, ${times.length} times`,
    );
  }
  return lines;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function byName(a: FaultCount, b: FaultCount): number {
  return a.name < b.name ? -1 : 1;
}
