/**
 * SQL text from names, and running it: every name is quoted, every number is one.
 */
import type { DuckDBConnection } from '@duckdb/node-api';
import { AnalyticsError } from '../errors.ts';

/** Bookkeeping tables live in a schema of their own, so that no profile can collide with them. */
export const CATALOG = 'fieldproof';
/** Points, one table per measurement: `series`, `time` and a column per field. */
export const DATA = 'points';

/** A quoted identifier. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text literal. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** The table that holds the points of a measurement. */
export function dataTable(table: string): string {
  return `${DATA}.${quoteName(table)}`;
}

/** A TIMESTAMP_NS literal. */
export function timestamp(ns: bigint): string {
  return `make_timestamp_ns(${ns})`;
}

/** Unix ms as a double of a TIMESTAMP_NS column, whole µs, towards zero as InfluxDB cuts. */
export function unixMs(column: string): string {
  return `CAST(epoch_ns(${column}) // 1000 AS DOUBLE) / 1000`;
}

/**
 * All rows of a statement.
 *
 * @throws {AnalyticsError} as {@link duckdbError}.
 */
export async function rowsOf(connection: DuckDBConnection, sql: string): Promise<unknown[][]> {
  try {
    return (await connection.runAndReadAll(sql)).getRows() as unknown[][];
  } catch (error) {
    throw duckdbError(error);
  }
}

/**
 * Whether DuckDB has given up on this instance, as after a checkpoint that found the disk full. What
 * was committed is in its log; only opening the file again helps.
 */
export function isFatal(error: AnalyticsError): boolean {
  return error.message.includes('FATAL Error');
}

/** What DuckDB's message means: locked, broken, or try again. */
export function duckdbError(error: unknown): AnalyticsError {
  if (error instanceof AnalyticsError) return error;
  const message = String((error as { message?: unknown }).message ?? error);
  if (/set lock on file|Conflicting lock/i.test(message)) {
    return new AnalyticsError('ERR_STORE_LOCKED', `DuckDB: ${message}`, { cause: error });
  }
  if (/not a valid DuckDB database|Corrupt|Serialization Error|newer version/i.test(message)) {
    return new AnalyticsError('ERR_STORE_CORRUPT', `DuckDB: ${message}`, { cause: error });
  }
  // The last two: a quota, and a limit on the size of files.
  if (/No space left on device|Disk quota exceeded|File too large/i.test(message)) {
    return new AnalyticsError('ERR_STORE_FULL', `DuckDB: ${message}`, { cause: error });
  }
  return new AnalyticsError('ERR_STORE_UNAVAILABLE', `DuckDB: ${message}`, { cause: error });
}
