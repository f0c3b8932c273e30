/**
 * Readings as plain objects, the shape that function nodes work with, and the way back to tables.
 *
 * One reading: `{device, profile, metric, value, time, unit?, cell?, group?, source?}`, time in Unix ms. One batch of
 * a device: `{device, profile, times, metrics: {name: {unit, values}}, …}`. What comes in is checked: a function node
 * is the operator's code.
 */
import type { ReadingColumn, ReadingSource, ReadingTable } from '@fieldproof/compute/readings';
import { isMetric, isProfile } from '@fieldproof/protocol/readings-sink';
import { FlowsError } from './errors.ts';

/** Most readings in one message; protects the process from a runaway function node. */
const MAX_READINGS = 100_000;

export interface PlainReading {
  device: string;
  profile: string;
  metric: string;
  value: number | string | boolean;
  /** Unix ms. */
  time: number;
  unit: string;
  cell: string;
  group: string;
  source: ReadingSource;
}

export interface PlainBatch {
  device: string;
  profile: string;
  cell: string;
  group: string;
  source: ReadingSource;
  /** Unix ms. */
  times: number[];
  /** A value for each time, null where there is none. */
  metrics: Record<string, { unit: string; values: (number | string | boolean | null)[] }>;
}

/** A table as one plain object. */
export function plainBatch(table: ReadingTable): PlainBatch {
  const { device, profile, cell, group, source, timesMs, columns } = table;
  const metrics: PlainBatch['metrics'] = {};
  for (const { metric, unit, values } of columns) {
    metrics[metric] = { unit, values: Array.from(values, present) };
  }
  return { device, profile, cell, group, source, times: [...timesMs], metrics };
}

/** The readings of a table one by one, instant after instant. */
export function* plainReadings(table: ReadingTable): Generator<PlainReading> {
  const { device, profile, cell, group, source, timesMs, columns } = table;
  for (let i = 0; i < timesMs.length; i++) {
    for (const { metric, unit, values } of columns) {
      const value = present(values[i]);
      if (value === null) continue;
      yield { device, profile, metric, value, time: timesMs[i]!, unit, cell, group, source };
    }
  }
}

/**
 * Tables of a payload: a reading, a batch, or an array of these.
 *
 * @throws {FlowsError} ERR_READING_SHAPE naming the first thing that is wrong.
 */
export function tablesOf(payload: unknown): ReadingTable[] {
  const items = Array.isArray(payload) ? (payload as unknown[]) : [payload];
  if (items.length > MAX_READINGS) {
    throw shape(`expected at most ${MAX_READINGS} readings, got ${items.length}`);
  }
  return items.map((item, i) => {
    const where = Array.isArray(payload) ? `payload[${i}]` : 'payload';
    if (typeof item !== 'object' || item === null) {
      throw shape(`${where}: expected a reading, got ${item === null ? 'null' : typeof item}`);
    }
    const fields = item as Record<string, unknown>;
    return 'metrics' in fields ? tableOfBatch(fields, where) : tableOfReading(fields, where);
  });
}

function tableOfReading(fields: Record<string, unknown>, where: string): ReadingTable {
  const column = columnOf(fields.metric, {
    unit: fields.unit,
    values: [fields.value],
    where: `${where}.value`,
  });
  return {
    ...labelsOf(fields, where),
    timesMs: Float64Array.of(timeOf(fields.time, `${where}.time`)),
    columns: [column],
  };
}

function tableOfBatch(fields: Record<string, unknown>, where: string): ReadingTable {
  const { times, metrics } = fields;
  if (!Array.isArray(times)) throw shape(`${where}.times: expected an array`);
  if (typeof metrics !== 'object' || metrics === null) {
    throw shape(`${where}.metrics: expected an object`);
  }
  const columns = Object.entries(metrics).map(([metric, column]) => {
    const { unit, values } = (column ?? {}) as { unit?: unknown; values?: unknown };
    if (!Array.isArray(values) || values.length !== times.length) {
      throw shape(`${where}.metrics.${metric}: expected ${times.length} values`);
    }
    return columnOf(metric, { unit, values, where: `${where}.metrics.${metric}` });
  });
  const timesMs = Float64Array.from(times, (time, i) => timeOf(time, `${where}.times[${i}]`));
  return { ...labelsOf(fields, where), timesMs, columns };
}

function labelsOf(fields: Record<string, unknown>, where: string) {
  const { device, profile = 'readings', cell = '', group = '', source = 'sensor' } = fields;
  if (typeof device !== 'string' || device === '') throw shape(`${where}.device: expected a text`);
  if (typeof profile !== 'string' || !isProfile(profile)) {
    throw shape(`${where}.profile: expected a profile name, got ${JSON.stringify(profile)}`);
  }
  if (typeof cell !== 'string' || typeof group !== 'string') {
    throw shape(`${where}: expected cell and group to be texts`);
  }
  if (source !== 'sensor' && source !== 'replay' && source !== 'simulated') {
    throw shape(`${where}.source: expected sensor, replay or simulated`);
  }
  return { device, profile, cell, group, source } as const;
}

function columnOf(
  metric: unknown,
  from: { readonly unit: unknown; readonly values: readonly unknown[]; readonly where: string },
): ReadingColumn {
  const { unit = '', values, where } = from;
  if (typeof metric !== 'string' || !isMetric(metric)) {
    throw shape(`${where}: expected a metric name, got ${JSON.stringify(metric)}`);
  }
  if (typeof unit !== 'string') throw shape(`${where}: expected the unit to be a text`);
  const type = typeof values.find((value) => value !== null && value !== undefined);
  if (type !== 'number' && type !== 'string' && type !== 'boolean') {
    throw shape(`${where}: expected a number, text or truth value, got ${type}`);
  }
  for (const value of values) {
    if (value === null || value === undefined) continue;
    if (typeof value !== type || (type === 'number' && !Number.isFinite(value))) {
      throw shape(`${where}: expected each value to be a finite ${type}, got ${String(value)}`);
    }
  }
  if (type === 'number') {
    const numbers = Float64Array.from(values, (v) => (v ?? Number.NaN) as number);
    return { metric, unit, type: 'float', values: numbers };
  }
  return { metric, unit, type, values: values.map((v) => v ?? undefined) as never };
}

function timeOf(time: unknown, where: string): number {
  const ms = time instanceof Date ? time.getTime() : time;
  if (typeof ms === 'number' && Number.isFinite(ms) && Math.abs(ms) < 8.64e15) return ms;
  throw shape(`${where}: expected Unix ms, got ${String(time)}`);
}

function present(value: number | string | boolean | undefined): number | string | boolean | null {
  return value === undefined || Number.isNaN(value) ? null : value;
}

function shape(message: string): FlowsError {
  return new FlowsError('ERR_READING_SHAPE', message);
}
