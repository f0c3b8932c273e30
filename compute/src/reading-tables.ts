/**
 * From the decoded readings of one envelope to tables of columns, one for each profile.
 *
 * Numbers, strings and booleans become columns; `data` and `sum` readings are valid telemetry that stores do not
 * keep (docs/spec/telemetry.md 2.2). No reading is dropped in silence: where a metric comes twice at one instant, or
 * changes unit or type within an envelope, the later readings go into a second table of the profile.
 */

import { isAbsolute } from '@fieldproof/protocol/readings-decode';
import type { DecodedReadings, ReadingRun } from '@fieldproof/protocol/readings-sink';
import type {
  FieldType,
  FloatColumn,
  ReadingColumn,
  ReadingSource,
  ReadingTable,
} from './readings.ts';

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
  timesMs: number[] | Float64Array;
  /** Row of each instant, made when a run does not have the instants of the first. */
  rows: Map<number, number> | undefined;
  readonly columns: Map<string, BuiltColumn>;
}

type Value = number | string | boolean;

interface BuiltColumn {
  readonly unit: string;
  readonly type: FieldType;
  /** Complete, or sparse: absent where the metric has no reading. */
  values: Float64Array | (Value | undefined)[];
}

/** Of a profile; with more the general way is taken. */
const MAX_REGULAR_COLUMNS = 32;
/** Numbers that are allocated at once: an ArrayBuffer for each column costs more than what is in it. */
const POOL_FLOATS = 4096;
let pool = new Float64Array(POOL_FLOATS);
let poolUsed = 0;

const FIELD_TYPES = { number: 'float', string: 'string', boolean: 'boolean' } as const;

/**
 * The tables of decoded readings. Profiles and metrics come in the payload's order.
 *
 * @throws {RangeError} when there are relative times and `offsetMs` is not finite.
 */
export function readingTables(decoded: DecodedReadings, context: TableContext): ReadingTable[] {
  return regularTables(decoded, context) ?? generalTables(decoded, context);
}

/**
 * The usual payload, straight to its tables: numbers only, the metrics of a profile one after the other, each at the
 * same instants. Undefined for any other.
 */
function regularTables(
  decoded: DecodedReadings,
  context: TableContext,
): ReadingTable[] | undefined {
  const { runs, timesUs, values } = decoded;
  const { device, cell, group, source, offsetMs } = context;
  const tables: ReadingTable[] = [];
  for (let from = 0; from < runs.length; ) {
    const { profile, start, end } = runs[from]!;
    const rows = end - start;
    for (const table of tables) if (table.profile === profile) return undefined;
    const timesMs = floats(rows);
    for (let i = 0; i < rows; i++) timesMs[i] = timeMs(timesUs[start + i]!, offsetMs);
    if (!isAscending(timesMs)) return undefined;
    const columns: FloatColumn[] = [];
    for (; from < runs.length; from++) {
      const run = runs[from]!;
      if (run.profile !== profile) break;
      if (run.type !== 'number' || run.end - run.start !== rows) return undefined;
      // So few that a search through all of them is the fastest.
      if (columns.length === MAX_REGULAR_COLUMNS) return undefined;
      for (const { metric } of columns) if (metric === run.metric) return undefined;
      for (let i = 0; i < rows; i++) {
        if (timesUs[run.start + i] !== timesUs[start + i]) return undefined;
      }
      const column = floats(rows);
      for (let i = 0; i < rows; i++) column[i] = values[run.start + i]!;
      columns.push({ metric: run.metric, unit: run.unit, type: 'float', values: column });
    }
    tables.push({ profile, device, cell, group, source, timesMs, columns });
  }
  return tables;
}

function generalTables(decoded: DecodedReadings, context: TableContext): ReadingTable[] {
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
  const times = new Float64Array(end - start);
  for (let i = start; i < end; i++)
    times[i - start] = timeMs(decoded.timesUs[i]!, context.offsetMs);

  const first = builders.find((builder) => builder.profile === profile);
  if (first === undefined ? isAscending(times) : isSame(times, first.timesMs)) {
    const columns = first?.columns ?? new Map<string, BuiltColumn>();
    if (!columns.has(metric)) {
      columns.set(metric, { unit, type, values: valuesOf(decoded, run) });
      if (first === undefined) builders.push({ profile, timesMs: times, rows: undefined, columns });
      return;
    }
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
    readonly value: Value;
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
    if (builder.timesMs instanceof Float64Array) builder.timesMs = [...builder.timesMs];
    const { timesMs, columns } = builder;
    builder.rows ??= new Map(timesMs.map((t, row) => [t, row]));
    const row = builder.rows.get(time) ?? timesMs.length;
    const column: BuiltColumn = columns.get(metric) ?? { unit, type, values: [] };
    if (column.unit !== unit || column.type !== type || column.values[row] !== undefined) continue;
    if (row === timesMs.length) {
      timesMs.push(time);
      builder.rows.set(time, row);
    }
    columns.set(metric, column);
    if (column.values instanceof Float64Array) column.values = [...column.values];
    column.values[row] = value;
    return;
  }
}

function valuesOf(decoded: DecodedReadings, run: ReadingRun): BuiltColumn['values'] {
  const { start, end } = run;
  if (run.type === 'number') return decoded.values.slice(start, end);
  return Array.from({ length: end - start }, (_, i) => valueAt(decoded, run, start + i));
}

function valueAt({ values, objects }: DecodedReadings, run: ReadingRun, i: number) {
  if (run.type === 'number') return values[i]!;
  return run.type === 'boolean' ? values[i] === 1 : (objects[values[i]!] as string);
}

/** Room for so many numbers. */
function floats(length: number): Float64Array {
  if (length > POOL_FLOATS / 8) return new Float64Array(length);
  if (poolUsed + length > POOL_FLOATS) {
    pool = new Float64Array(POOL_FLOATS);
    poolUsed = 0;
  }
  const part = new Float64Array(pool.buffer, poolUsed * 8, length);
  poolUsed += length;
  return part;
}

function timeMs(timeUs: number, offsetMs: number): number {
  if (isAbsolute(timeUs)) return timeUs / 1000;
  if (!Number.isFinite(offsetMs)) {
    throw new RangeError(`offsetMs: expected a number for relative times, got ${offsetMs}`);
  }
  return (timeUs + Math.round(offsetMs * 1000)) / 1000;
}

function isAscending(times: Float64Array): boolean {
  for (let i = 1; i < times.length; i++) if (times[i]! <= times[i - 1]!) return false;
  return true;
}

function isSame(a: Float64Array, b: number[] | Float64Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function toColumn(
  metric: string,
  { unit, type, values }: BuiltColumn,
  rows: number,
): ReadingColumn {
  if (type !== 'float') {
    const padded = Array.from({ length: rows }, (_, i) => values[i]);
    return { metric, unit, type, values: padded as never };
  }
  if (values instanceof Float64Array && values.length === rows)
    return { metric, unit, type, values };
  const numbers = new Float64Array(rows).fill(Number.NaN);
  for (let i = 0; i < rows; i++) {
    const value = values[i];
    if (value !== undefined) numbers[i] = value as number;
  }
  return { metric, unit, type, values: numbers };
}
