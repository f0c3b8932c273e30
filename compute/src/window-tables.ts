/**
 * Emitted windows as tables that a store takes like any others: profile `air` becomes `air_1m`, metric `temp` becomes
 * `temp_mean`, `temp_min`, … at the start of the window, and `version` says how often the line was emitted.
 */

import type { FloatColumn, ReadingTable } from './readings.ts';
import { lineKey, type WindowRow } from './window.ts';

const FIELDS = ['mean', 'min', 'max', 'count', 'first', 'last', 'sum'] as const;

/**
 * The tables of rows, one for each device, profile, source, cell and group, a row for each window start.
 *
 * @param options.suffix - what is added to the profile, e.g. `_1m`.
 */
export function windowTables(
  rows: readonly WindowRow[],
  options: { readonly suffix: string },
): ReadingTable[] {
  const groups = new Map<string, WindowRow[]>();
  for (const row of rows) {
    const key = `${lineKey(row)}\n${row.cell}\n${row.group}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return [...groups.values()].map((group) => toTable(group, options.suffix));
}

/** How a window length is named in profiles: 60,000 ms is `1m`, 10,000 `10s`, 3,600,000 `1h`, 500 `0_5s`. */
export function durationName(ms: number): string {
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  return ms % 60_000 === 0 ? `${ms / 60_000}m` : `${ms / 1000}s`.replace('.', '_');
}

function toTable(rows: readonly WindowRow[], suffix: string): ReadingTable {
  const starts = [...new Set(rows.map(({ startMs }) => startMs))].sort((a, b) => a - b);
  const rowOf = new Map(starts.map((startMs, i) => [startMs, i]));
  const columns = new Map<string, FloatColumn>();
  const put = (metric: string, unit: string, ...[at, value]: [number, number]) => {
    let column = columns.get(metric);
    if (column === undefined) {
      const values = new Float64Array(starts.length).fill(Number.NaN);
      column = { metric, unit, type: 'float', values };
      columns.set(metric, column);
    }
    // A sum beyond the doubles, and its mean, are absent rather than infinite.
    if (Number.isFinite(value)) column.values[at] = value;
  };
  for (const row of rows) {
    const at = rowOf.get(row.startMs)!;
    for (const field of FIELDS) {
      put(`${row.metric}_${field}`, field === 'count' ? '' : row.unit, at, row[field]);
    }
    put('version', '', at, row.version);
  }
  const { device, cell, group, source, profile } = rows[0]!;
  return {
    profile: `${profile}${suffix}`,
    device,
    cell,
    group,
    source,
    timesMs: Float64Array.from(starts),
    columns: [...columns.values()],
  };
}
