/**
 * Everything that a store holds, read past the store's own code: InfluxDB over its query endpoint, DuckDB from its
 * file. A point that is there twice is given twice.
 */
import { access } from 'node:fs/promises';
import { DuckDBInstance } from '@duckdb/node-api';
import { AnalyticsError } from '../errors.ts';
import { CATALOG, dataTable, duckdbError, quoteName, rowsOf } from '../store/duckdb-sql.ts';
import { quoteIdentifier } from '../store/influxql.ts';
import type { FieldValue } from '../store/time-series-store.ts';

/** Points of one series, as they come. */
export interface StoredRows {
  readonly measurement: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Field keys, in the order of the values. */
  readonly fields: readonly string[];
  readonly rows: readonly StoredRow[];
}

export interface StoredRow {
  /** Unix µs; a fraction where the store keeps finer times. */
  readonly timeUs: number;
  readonly values: readonly (FieldValue | null)[];
}

/**
 * All points of a DuckDB file, which no process may have open for writing.
 *
 * @throws {AnalyticsError} ERR_AUDIT_INPUT, ERR_STORE_LOCKED, ERR_STORE_CORRUPT.
 */
export async function* readDuckdbFile(path: string): AsyncGenerator<StoredRows> {
  await access(path).catch((cause: Error) => {
    const message = `${path}: expected a DuckDB file, got ${cause.message}`;
    throw new AnalyticsError('ERR_AUDIT_INPUT', message, { cause });
  });
  const instance = await DuckDBInstance.create(path, { access_mode: 'READ_ONLY' }).catch(
    (error: unknown) => {
      throw duckdbError(error);
    },
  );
  const connection = await instance.connect();
  try {
    const tables = await rowsOf(
      connection,
      `SELECT measurement, table_name FROM ${CATALOG}.measurements ORDER BY 1`,
    );
    const series = await rowsOf(connection, `SELECT id, tags FROM ${CATALOG}.series`);
    const tags = new Map(
      (series as [number, string][]).map(([id, text]) => [
        id,
        JSON.parse(text) as Record<string, string>,
      ]),
    );
    for (const [measurement, table] of tables as [string, string][]) {
      const fields = (await rowsOf(
        connection,
        `SELECT measurement, field, column_name FROM ${CATALOG}.fields ORDER BY position`,
      )) as [string, string, string][];
      const mine = fields.filter(([name]) => name === measurement);
      const columns = mine.map(([, , column]) => quoteName(column));
      const result = await connection.stream(
        `SELECT series, epoch_ns(time), ${columns} FROM ${dataTable(table)} ORDER BY series, time`,
      );
      for await (const chunk of result.yieldRows()) {
        yield* bySeries(chunk as [number, bigint, ...(FieldValue | null)[]][], (id, rows) => ({
          measurement,
          tags: tags.get(id) ?? {},
          fields: mine.map(([, key]) => key),
          rows,
        }));
      }
    }
  } finally {
    connection.disconnectSync();
    instance.closeSync();
  }
}

export interface InfluxSource {
  /** `http://[user:password@]host:port`. */
  readonly url: string;
  readonly database: string;
}

/**
 * All points of a database of InfluxDB 1.x, in chunks.
 *
 * @throws {AnalyticsError} ERR_STORE_UNAVAILABLE, ERR_STORE_AUTH, ERR_STORE_QUERY.
 */
export async function* readInfluxDatabase(source: InfluxSource): AsyncGenerator<StoredRows> {
  const names: string[] = [];
  for await (const { values } of query(source, 'SHOW MEASUREMENTS')) {
    for (const [name] of values) names.push(String(name));
  }
  for (const name of names) {
    const statement = `SELECT *::field FROM ${quoteIdentifier(name)} GROUP BY *`;
    for await (const { columns, values, tags = {} } of query(source, statement)) {
      yield {
        measurement: name,
        tags,
        fields: columns.slice(1),
        rows: values.map(([time, ...fields]) => ({ timeUs: Number(time), values: fields })),
      };
    }
  }
}

interface InfluxSeries {
  readonly columns: readonly string[];
  readonly tags?: Readonly<Record<string, string>>;
  readonly values: readonly (readonly (FieldValue | null)[])[];
}

async function* query(source: InfluxSource, statement: string): AsyncGenerator<InfluxSeries> {
  const url = new URL(source.url);
  const headers: Record<string, string> = {};
  if (url.username !== '') {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`;
  }
  const base = `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}`;
  const parameters = { db: source.database, q: statement, epoch: 'u', chunked: 'true' };
  let response: Response;
  try {
    response = await fetch(`${base}/query?${new URLSearchParams(parameters)}`, { headers });
  } catch (error) {
    const { cause, message } = error as { cause?: { code?: string }; message?: string };
    const what = `InfluxDB: expected an answer, got ${cause?.code ?? message}`;
    throw new AnalyticsError('ERR_STORE_UNAVAILABLE', what);
  }
  if (response.status === 401 || response.status === 403) {
    throw new AnalyticsError('ERR_STORE_AUTH', `InfluxDB: HTTP ${response.status}`);
  }
  let line = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    const lines = `${line}${decoder.decode(chunk as Uint8Array, { stream: true })}`.split('\n');
    line = lines.pop()!;
    for (const one of lines) yield* seriesIn(one);
  }
  yield* seriesIn(line);
}

function* seriesIn(line: string): Generator<InfluxSeries> {
  if (line.trim() === '') return;
  const { results = [], error } = JSON.parse(line) as {
    results?: { series?: InfluxSeries[]; error?: string }[];
    error?: string;
  };
  const failed = error ?? results.find((result) => result.error !== undefined)?.error;
  if (failed !== undefined) throw new AnalyticsError('ERR_STORE_QUERY', `InfluxDB: ${failed}`);
  for (const { series = [] } of results) yield* series;
}

function* bySeries(
  rows: readonly [number, bigint, ...(FieldValue | null)[]][],
  make: (id: number, rows: StoredRow[]) => StoredRows,
): Generator<StoredRows> {
  let id: number | undefined;
  let group: StoredRow[] = [];
  for (const [series, ns, ...values] of rows) {
    if (series !== id && id !== undefined) {
      yield make(id, group);
      group = [];
    }
    id = series;
    const timeUs = ns % 1000n === 0n ? Number(ns / 1000n) : Number(ns) / 1000;
    group.push({ timeUs, values });
  }
  if (id !== undefined) yield make(id, group);
}
