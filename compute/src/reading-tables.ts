/**
 * From the decoded readings of one envelope to tables of columns, one for each profile.
 *
 * Numbers, strings and booleans become columns; `data` and `sum` readings are valid telemetry that stores do not
 * keep (docs/spec/telemetry.md 2.2). No reading is dropped in silence: where a metric comes twice at one instant, or
 * changes unit or type within an envelope, the later readings go into a second table of the profile.
 */

import { isAbsolute } from '@fieldproof/protocol/readings-decode';
import type { DecodedReadings, ReadingRun } from '@fieldproof/protocol/readings-sink';
import type { FieldType, ReadingColumn, ReadingSource, ReadingTable } from './readings.ts';

/** What every table of an envelope shares. */
export interface TableContext {
  readonly device: string;
  readonly cell: string;
  readonly group: string;
  readonly source: ReadingSource;
  /** Unix time in ms of the instant that relative times count from; not read where all are absolute. */
  readonly offsetMs: number;
}

interface Builder {
  readonly profile: string;
  readonly timesMs: number[];
  /** Row of each instant, made when a run does not have the instants of the first. */
  rows: Map<number, number> | undefined;
  readonly columns: Map<string, BuiltColumn>;
}

interface BuiltColumn {
  readonly unit: string;
  readonly type: FieldType;
  /** Sparse: absent where the metric has no reading. */
  readonly values: (number | string | boolean | undefined)[];
}

const FIELD_TYPES = { number: 'float', string: 'string', boolean: 'boolean' } as const;

/**
 * The tables of decoded readings. Profiles and metrics come in the payload's order.
 *
 * @throws {RangeError} when there are relative times and `offsetMs` is not finite.
 */
export function readingTables(decoded: DecodedReadings, context: TableContext): ReadingTable[] {
  const builders: Builder[] = [];
  for (const run of decoded.runs) {
    if (run.type === 'data' || run.type === 'sum') continue;
    addRun(builders, run, { decoded, context });
  }
  const { device, cell, group, source } = context;
  return builders.map(({ profile, timesMs, columns }) => ({
    profile,
    device,
    cell,
    group,
    source,
    timesMs: Float64Array.from(timesMs),
    columns: [...columns].map(([metric, column]) => toColumn(metric, column, timesMs.length)),
  }));
}

function addRun(
  builders: Builder[],
  run: ReadingRun,
  { decoded, context }: { decoded: DecodedReadings; context: TableContext },
): void {
  const { profile, metric, unit, start, end } = run;
  const type = FIELD_TYPES[run.type as keyof typeof FIELD_TYPES];
  const times = new Array<number>(end - start);
  for (let i = start; i < end; i++)
    times[i - start] = timeMs(decoded.timesUs[i]!, context.offsetMs);

  const first = builders.find((builder) => builder.profile === profile);
  if (first === undefined && isAscending(times)) {
    const values = times.map((_, i) => valueAt(decoded, run, start + i));
    const columns = new Map([[metric, { unit, type, values }]]);
    builders.push({ profile, timesMs: times, rows: undefined, columns });
    return;
  }
  if (first !== undefined && !first.columns.has(metric) && isSame(times, first.timesMs)) {
    const values = times.map((_, i) => valueAt(decoded, run, start + i));
    first.columns.set(metric, { unit, type, values });
    return;
  }
  for (const [i, time] of times.entries()) {
    addReading(builders, {
      profile,
      metric,
      unit,
      type,
      time,
      value: valueAt(decoded, run, start + i),
    });
  }
}

/** The general way, one reading at a time: into the first table of the profile that has room for it. */
function addReading(
  builders: Builder[],
  reading: {
    readonly profile: string;
    readonly metric: string;
    readonly unit: string;
    readonly type: FieldType;
    readonly time: number;
    readonly value: number | string | boolean;
  },
): void {
  const { profile, metric, unit, type, time, value } = reading;
  for (let i = 0; ; i++) {
    let builder = builders[i];
    if (builder === undefined) {
      builder = { profile, timesMs: [], rows: new Map(), columns: new Map() };
      builders.push(builder);
    }
    if (builder.profile !== profile) continue;
    builder.rows ??= new Map(builder.timesMs.map((t, row) => [t, row]));
    const row = builder.rows.get(time) ?? builder.timesMs.length;
    const column = builder.columns.get(metric) ?? { unit, type, values: [] };
    if (column.unit !== unit || column.type !== type || column.values[row] !== undefined) continue;
    if (row === builder.timesMs.length) {
      builder.timesMs.push(time);
      builder.rows.set(time, row);
    }
    builder.columns.set(metric, column);
    column.values[row] = value;
    return;
  }
}

function valueAt({ values, objects }: DecodedReadings, run: ReadingRun, i: number) {
  if (run.type === 'number') return values[i]!;
  return run.type === 'boolean' ? values[i] === 1 : (objects[values[i]!] as string);
}

function timeMs(timeUs: number, offsetMs: number): number {
  if (isAbsolute(timeUs)) return timeUs / 1000;
  if (!Number.isFinite(offsetMs)) {
    throw new RangeError(`offsetMs: expected a number for relative times, got ${offsetMs}`);
  }
  return (timeUs + Math.round(offsetMs * 1000)) / 1000;
}

function isAscending(times: readonly number[]): boolean {
  for (let i = 1; i < times.length; i++) if (times[i]! <= times[i - 1]!) return false;
  return true;
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((time, i) => time === b[i]);
}

function toColumn(metric: string, column: BuiltColumn, rows: number): ReadingColumn {
  const { unit, type } = column;
  const values = Array.from({ length: rows }, (_, i) => column.values[i]);
  if (type === 'float') {
    const numbers = Float64Array.from(values, (v) =>
      v === undefined ? Number.NaN : (v as number),
    );
    return { metric, unit, type, values: numbers };
  }
  return { metric, unit, type, values: values as never };
}
