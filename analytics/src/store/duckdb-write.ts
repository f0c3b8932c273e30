/**
 * Writing a batch into DuckDB in one transaction: fresh points by data chunks, others by a merge.
 */
import {
  BOOLEAN,
  DOUBLE,
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBTimestampNanosecondsValue,
  type DuckDBValue,
  INTEGER,
  TIMESTAMP_NS,
  VARCHAR,
} from '@duckdb/node-api';
import type { Batch, Rows } from './duckdb-batch.ts';
import type { Measurement } from './duckdb-catalog.ts';
import { DATA, dataTable, duckdbError, quoteName, rowsOf, timestamp } from './duckdb-sql.ts';

/**
 * Stores every point of a batch, or none. When it resolves, the points are in DuckDB's log and a
 * killed process loses nothing.
 *
 * @throws {AnalyticsError} ERR_STORE_UNAVAILABLE; the catalog must be loaded again then.
 */
export async function writeBatch(connection: DuckDBConnection, batch: Batch): Promise<void> {
  await rowsOf(connection, 'BEGIN');
  try {
    for (const { measurement, fresh, merged } of batch.parts) {
      if (fresh.series.length > 0) {
        await append(connection, { schema: DATA, table: measurement.table }, measurement, fresh);
      }
      if (merged.series.length > 0) await merge(connection, measurement, merged);
    }
    await rowsOf(connection, 'COMMIT');
  } catch (error) {
    await rowsOf(connection, 'ROLLBACK').catch(() => {});
    throw duckdbError(error);
  }
}

/** Most rows of one chunk: DuckDB's vector size. */
const CHUNK_ROWS = 2048;
const TYPES = { float: DOUBLE, string: VARCHAR, boolean: BOOLEAN } as const;
const STAGING = 'fieldproof_staging';

async function append(
  connection: DuckDBConnection,
  target: { readonly schema: string | null; readonly table: string },
  measurement: Measurement,
  rows: Rows,
): Promise<void> {
  const types = [...measurement.fields.values()].map(({ type }) => TYPES[type]);
  const appender = await connection.createAppender(target.table, target.schema);
  try {
    for (let start = 0; start < rows.series.length; start += CHUNK_ROWS) {
      const end = Math.min(start + CHUNK_ROWS, rows.series.length);
      const chunk = DuckDBDataChunk.create([INTEGER, TIMESTAMP_NS, ...types], end - start);
      chunk.setColumnValues(0, rows.series.slice(start, end));
      const times = rows.times.slice(start, end);
      chunk.setColumnValues(
        1,
        times.map((ns) => new DuckDBTimestampNanosecondsValue(ns)),
      );
      for (let i = 0; i < types.length; i++) {
        const values: DuckDBValue[] = (rows.columns[i] ?? []).slice(start, end);
        while (values.length < end - start) values.push(null);
        chunk.setColumnValues(i + 2, values);
      }
      appender.appendDataChunk(chunk);
    }
  } finally {
    appender.closeSync();
  }
}

async function merge(
  connection: DuckDBConnection,
  measurement: Measurement,
  rows: Rows,
): Promise<void> {
  const table = dataTable(measurement.table);
  await rowsOf(
    connection,
    `CREATE OR REPLACE TEMP TABLE ${STAGING} AS SELECT * FROM ${table} LIMIT 0`,
  );
  await append(connection, { schema: null, table: STAGING }, measurement, rows);
  let [from, to] = [rows.times[0]!, rows.times[0]!];
  for (const ns of rows.times) {
    if (ns < from) from = ns;
    if (ns > to) to = ns;
  }
  // The bounds are constants, so DuckDB skips every row group outside them.
  const same = `t.series = s.series AND t.time = s.time
    AND t.time BETWEEN ${timestamp(from)} AND ${timestamp(to)}`;
  const columns = [...measurement.fields.values()].filter(({ index }) => rows.columns[index]);
  const set = columns.map(({ column }) => {
    const name = quoteName(column);
    return `${name} = coalesce(s.${name}, t.${name})`;
  });
  await rowsOf(connection, `UPDATE ${table} t SET ${set} FROM ${STAGING} s WHERE ${same}`);
  await rowsOf(
    connection,
    `INSERT INTO ${table} SELECT * FROM ${STAGING} s
     WHERE NOT EXISTS (SELECT 1 FROM ${table} t WHERE ${same})`,
  );
  await rowsOf(connection, `DROP TABLE ${STAGING}`);
}
