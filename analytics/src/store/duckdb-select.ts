/**
 * The store's questions as DuckDB SQL.
 */
import type { DuckDBConnection } from '@duckdb/node-api';
import type { Catalog, FieldEntry, Measurement, SeriesEntry } from './duckdb-catalog.ts';
import {
  CATALOG,
  dataTable,
  quoteName,
  quoteText,
  rowsOf,
  timestamp,
  unixMs,
} from './duckdb-sql.ts';
import { fieldKeyOfMetric, metricOfFieldKey } from './field-keys.ts';
import { keepNewest, sortLatest } from './latest-values.ts';
import {
  type CheckedRange,
  checkAggregate,
  checkLimit,
  compare,
  type Row,
  seriesOf,
} from './range-query.ts';
import type {
  Aggregate,
  DeviceSummary,
  FieldValue,
  LatestFilter,
  LatestValue,
  MetricSummary,
  Series,
} from './time-series-store.ts';

/** Every device with what it sent. */
export async function selectDevices(
  connection: DuckDBConnection,
  catalog: Catalog,
): Promise<DeviceSummary[]> {
  const devices = new Map<
    string,
    { metrics: MetricSummary[]; first: number; last: number; count: number }
  >();
  for (const measurement of savedMeasurements(catalog)) {
    const fields = savedFields(measurement);
    const counts = fields.map(({ column }) => `count(p.${quoteName(column)})`);
    const rows = await rowsOf(
      connection,
      `SELECT s.device, ${unixMs('min(p.time)')}, ${unixMs('max(p.time)')}, ${counts}
       FROM ${dataTable(measurement.table)} p JOIN ${CATALOG}.series s ON s.id = p.series
       WHERE s.device <> '' GROUP BY s.device`,
    );
    for (const [device, first, last, ...values] of rows as [
      string,
      number,
      number,
      ...bigint[],
    ][]) {
      const before = devices.get(device) ?? { metrics: [], first, last, count: 0 };
      for (const [i, { key, type }] of fields.entries()) {
        if (values[i]! === 0n) continue;
        before.metrics.push({ profile: measurement.name, metric: metricOfFieldKey(key), type });
        before.count += Number(values[i]);
      }
      before.first = Math.min(before.first, first);
      before.last = Math.max(before.last, last);
      devices.set(device, before);
    }
  }
  return [...devices.entries()]
    .map(([device, { metrics, first, last, count }]) => ({
      device,
      profiles: [...new Set(metrics.map(({ profile }) => profile))].sort(compare),
      metrics: metrics.sort((a, b) => compare(a.profile, b.profile) || compare(a.metric, b.metric)),
      firstMs: first,
      lastMs: last,
      count,
    }))
    .sort((a, b) => compare(a.device, b.device));
}

/** Newest value of each device, profile and metric: one scan per measurement. */
export async function selectLatest(
  connection: DuckDBConnection,
  catalog: Catalog,
  filter: LatestFilter,
): Promise<LatestValue[]> {
  const wanted = filter.metric === undefined ? undefined : fieldKeyOfMetric(filter.metric);
  const newest = new Map<string, LatestValue>();
  for (const measurement of savedMeasurements(catalog)) {
    const profile = measurement.name;
    if (filter.profile !== undefined && filter.profile !== profile) continue;
    const fields = savedFields(measurement).filter(({ key }) => (wanted ?? key) === key);
    if (fields.length === 0) continue;
    const series = new Map<number, SeriesEntry>();
    for (const entry of catalog.series.values()) {
      if (entry.measurement !== measurement) continue;
      if ((filter.device ?? entry.tags.device ?? '') !== (entry.tags.device ?? '')) continue;
      series.set(entry.id, entry);
    }
    if (series.size === 0) continue;
    // A series has one point per instant, so nothing is left to chance here.
    const values = fields.flatMap(({ column }) => {
      const name = quoteName(column);
      const time = unixMs(`max(time) FILTER (WHERE ${name} IS NOT NULL)`);
      return [time, `arg_max(${name}, time)`];
    });
    const rows = await rowsOf(
      connection,
      `SELECT series, ${values} FROM ${dataTable(measurement.table)}
       ${filter.device === undefined ? '' : `WHERE series IN (${[...series.keys()]})`}
       GROUP BY series`,
    );
    for (const [id, ...cells] of rows as [number, ...(number | FieldValue | null)[]][]) {
      const entry = series.get(id);
      if (entry === undefined) continue;
      for (const [i, { key }] of fields.entries()) {
        const [timeMs, value] = [cells[2 * i], cells[2 * i + 1]];
        if (typeof timeMs !== 'number' || value === null || value === undefined) continue;
        const { tags } = entry;
        const device = tags.device ?? '';
        const one = { device, profile, metric: metricOfFieldKey(key), timeMs, value, tags };
        keepNewest(newest, one);
      }
    }
  }
  return sortLatest(newest);
}

/** Values or buckets of one metric. */
export async function selectRange(
  connection: DuckDBConnection,
  catalog: Catalog,
  range: CheckedRange,
): Promise<Series[]> {
  const measurement = catalog.measurements.get(range.profile);
  const field = measurement?.fields.get(range.fieldKey);
  if (measurement === undefined || field === undefined || !field.saved) return [];
  checkAggregate(range, field.type);
  const sql = rangeStatement(range, measurement, field);
  const rows = (await rowsOf(connection, sql)) as [number, FieldValue | bigint, string][];
  checkLimit(range, rows.length);
  return seriesOf(
    range,
    rows.map(([timeMs, value, device]): Row => {
      return { timeMs, value: typeof value === 'bigint' ? Number(value) : value, device };
    }),
  );
}

function rangeStatement(range: CheckedRange, measurement: Measurement, field: FieldEntry): string {
  const value = `p.${quoteName(field.column)}`;
  // Tags are needed only to tell devices apart.
  const named = range.groupByDevice || range.device !== undefined;
  const device = named ? 's.device' : `''`;
  const from = `FROM ${dataTable(measurement.table)} p
    ${named ? `JOIN ${CATALOG}.series s ON s.id = p.series` : ''}
    WHERE p.time >= ${timestamp(range.fromNs)} AND p.time < ${timestamp(range.toNs)}
    AND ${value} IS NOT NULL
    ${range.device === undefined ? '' : `AND s.device = ${quoteText(range.device)}`}`;
  if (range.bucketMs === undefined) {
    return `SELECT ${unixMs('p.time')}, ${value}, ${device} ${from}
      ORDER BY p.time LIMIT ${range.limit + 1}`;
  }
  const width = `${BigInt(range.bucketMs) * 1_000_000n}`;
  // The remainder of a negative time is negative; adding the width once more rounds down.
  const bucket = `epoch_ns(p.time) - ((epoch_ns(p.time) % ${width}) + ${width}) % ${width}`;
  return `SELECT CAST(start // 1000000 AS DOUBLE), value, device FROM (
      SELECT ${bucket} AS start, ${AGGREGATES[range.aggregate](value)} AS value, ${device} AS device
      ${from} GROUP BY 1, 3)
    ORDER BY start LIMIT ${range.limit + 1}`;
}

/** At equal times the greater value is first and last, as in InfluxDB. */
const AGGREGATES: Record<Aggregate, (value: string) => string> = {
  mean: (value) => `avg(${value})`,
  min: (value) => `min(${value})`,
  max: (value) => `max(${value})`,
  sum: (value) => `sum(${value})`,
  count: (value) => `count(${value})`,
  first: (value) => `first(${value} ORDER BY p.time, ${value} DESC)`,
  last: (value) => `last(${value} ORDER BY p.time, ${value})`,
};

/** What the files have: a write under way may have added more in memory. */
function savedMeasurements(catalog: Catalog): Measurement[] {
  return [...catalog.measurements.values()].filter(({ saved }) => saved);
}

function savedFields(measurement: Measurement): FieldEntry[] {
  return [...measurement.fields.values()].filter(({ saved }) => saved);
}
