/**
 * What a range query may ask, checked once for every store, and how its answer is put together.
 */
import type { FieldType } from '@fieldproof/compute/readings';
import { AnalyticsError } from '../errors.ts';
import { isLineName } from '../line-protocol.ts';
import { fieldKeyOfMetric } from './field-keys.ts';
import {
  type Aggregate,
  DEFAULT_POINTS,
  type FieldValue,
  MAX_POINTS,
  type RangeQuery,
  type Series,
} from './time-series-store.ts';

/** A range query with its defaults filled in and its times as nanoseconds. */
export interface CheckedRange {
  readonly profile: string;
  readonly metric: string;
  readonly fieldKey: string;
  readonly device: string | undefined;
  readonly fromNs: bigint;
  readonly toNs: bigint;
  readonly bucketMs: number | undefined;
  readonly aggregate: Aggregate;
  readonly groupByDevice: boolean;
  readonly limit: number;
}

/** One point before grouping. */
export interface Row {
  readonly device: string;
  readonly timeMs: number;
  readonly value: FieldValue;
}

/** Every time that InfluxDB can hold (models.MinNanoTime, MaxNanoTime). */
export const MIN_STORED_NS = -9_223_372_036_854_775_806n;
export const MAX_STORED_NS = 9_223_372_036_854_775_806n;

/**
 * Checks a query from outside.
 *
 * @throws {AnalyticsError} ERR_STORE_QUERY naming the argument.
 */
export function checkRange(query: RangeQuery): CheckedRange {
  const { bucketMs, aggregate = 'mean', limit = DEFAULT_POINTS, device } = query;
  for (const name of ['profile', 'metric'] as const) {
    if (typeof query[name] !== 'string') throw outside(name, 'a text', query[name]);
  }
  if (device !== undefined && typeof device !== 'string') throw outside('device', 'a text', device);
  const fromNs = nanoseconds('fromMs', query.fromMs);
  const toNs = nanoseconds('toMs', query.toMs);
  if (fromNs > toNs) throw outside('toMs', 'a time not before fromMs', query.toMs);
  if (bucketMs !== undefined && !(Number.isInteger(bucketMs) && bucketMs > 0 && bucketMs <= 1e12)) {
    throw outside('bucketMs', 'whole ms from 1 to 10^12', bucketMs);
  }
  if (!AGGREGATES.has(aggregate)) {
    throw outside('aggregate', [...AGGREGATES].join(', '), aggregate);
  }
  if (query.aggregate !== undefined && bucketMs === undefined) {
    throw outside('aggregate', 'a bucketMs beside it', aggregate);
  }
  if (!(Number.isInteger(limit) && limit > 0 && limit <= MAX_POINTS)) {
    throw outside('limit', `a whole number from 1 to ${MAX_POINTS}`, limit);
  }
  return {
    profile: query.profile,
    metric: query.metric,
    fieldKey: fieldKeyOfMetric(query.metric),
    device,
    fromNs,
    toNs,
    bucketMs,
    aggregate,
    groupByDevice: query.groupByDevice === true,
    limit,
  };
}

/** Whether anything could be stored under this name; if not, a store need not be asked. */
export function canExist(name: string | undefined): boolean {
  return name === undefined || name === '' || isLineName(name);
}

/**
 * Refuses an aggregate that the metric's type does not have.
 *
 * @throws {AnalyticsError} ERR_STORE_QUERY.
 */
export function checkAggregate(range: CheckedRange, type: FieldType): void {
  if (range.bucketMs === undefined || type === 'float' || ANY_TYPE.has(range.aggregate)) return;
  throw outside('aggregate', `count, first or last for a ${type} metric`, range.aggregate);
}

/**
 * Refuses an answer of more than `limit` points.
 *
 * @throws {AnalyticsError} ERR_STORE_LIMIT.
 */
export function checkLimit(range: CheckedRange, points: number): void {
  if (points <= range.limit) return;
  const message = `range: expected at most ${range.limit} points, got more`;
  throw new AnalyticsError('ERR_STORE_LIMIT', message);
}

/** Rows, ascending in time, as series sorted by device. */
export function seriesOf(range: CheckedRange, rows: readonly Row[]): Series[] {
  const { profile, metric } = range;
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const device = range.groupByDevice ? row.device : (range.device ?? '');
    const group = groups.get(device);
    if (group === undefined) groups.set(device, [row]);
    else group.push(row);
  }
  const named = range.groupByDevice || range.device !== undefined;
  return [...groups.entries()]
    .sort(([a], [b]) => compare(a, b))
    .map(([device, group]) => {
      if (hasTies(group)) group.sort((a, b) => a.timeMs - b.timeMs || compare(a.value, b.value));
      const timesMs = group.map((row) => row.timeMs);
      const values = group.map((row) => row.value);
      return { ...(named ? { device } : {}), profile, metric, timesMs, values };
    });
}

/** Order of names and of values at one instant: by code unit, by size, false before true. */
export function compare<Value extends FieldValue>(a: Value, b: Value): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

const AGGREGATES = new Set<Aggregate>(['mean', 'min', 'max', 'sum', 'count', 'first', 'last']);
const ANY_TYPE = new Set<Aggregate>(['count', 'first', 'last']);

function hasTies(rows: readonly Row[]): boolean {
  return rows.some((row, i) => i > 0 && row.timeMs === rows[i - 1]!.timeMs);
}

/** Unix ms to ns, by whole microseconds, cut to what can be stored. */
function nanoseconds(name: string, timeMs: unknown): bigint {
  if (typeof timeMs !== 'number' || !Number.isFinite(timeMs)) {
    throw outside(name, 'Unix time in ms', timeMs);
  }
  const ns = BigInt(Math.round(timeMs * 1000)) * 1000n;
  return ns < MIN_STORED_NS ? MIN_STORED_NS : ns > MAX_STORED_NS ? MAX_STORED_NS : ns;
}

function outside(name: string, expected: string, got: unknown): AnalyticsError {
  const text = `range ${name}: expected ${expected}, got ${JSON.stringify(got)}`;
  return new AnalyticsError('ERR_STORE_QUERY', text);
}
