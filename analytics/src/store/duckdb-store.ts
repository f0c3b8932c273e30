/**
 * The time-series store embedded in this process, on DuckDB.
 *
 * One table per measurement with a column per field (an analyst's SQL reads two columns of it, not all
 * rows of a long list), series numbered in a table of their own. One process opens a folder at a time.
 * Integers (`21i`) are stored as floats. Files: `readings.duckdb` and its log.
 */
import { mkdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { AnalyticsError } from '../errors.ts';
import type { Precision } from '../line-protocol.ts';
import { readBatch } from './duckdb-batch.ts';
import { Catalog } from './duckdb-catalog.ts';
import { selectDevices, selectLatest, selectRange } from './duckdb-select.ts';
import { duckdbError, isFatal, rowsOf } from './duckdb-sql.ts';
import { writeBatch } from './duckdb-write.ts';
import { canExist, checkRange } from './range-query.ts';
import {
  type DeviceSummary,
  type LatestFilter,
  type LatestValue,
  MAX_BODY_BYTES,
  type RangeQuery,
  type Series,
  type StorePing,
  type TimeSeriesStore,
} from './time-series-store.ts';

export interface DuckdbStoreOptions {
  /** Folder of the files; created when missing. */
  readonly dataDir: string;
  /** What DuckDB may hold in memory. Default 512 MiB. */
  readonly memoryLimitMiB?: number;
  /** Default 2. */
  readonly threads?: number;
  /** Default 100,000. */
  readonly maxSeries?: number;
  /** Fields of one measurement. Default 1,024. */
  readonly maxFields?: number;
  /** Default 1,024. */
  readonly maxMeasurements?: number;
  /** Unix ms, for lines without a time. Default Date.now. */
  readonly now?: () => number;
}

interface Opened {
  readonly file: string;
  readonly instance: DuckDBInstance;
  readonly writer: DuckDBConnection;
}

export class DuckdbStore implements TimeSeriesStore {
  readonly #options: DuckdbStoreOptions;
  readonly #catalog: Catalog;
  readonly #now: () => number;
  #opened: Opened | undefined;
  /** Writes run one after the other; the last one's end. */
  #queue: Promise<void> = Promise.resolve();
  /** After a failed write, memory may say more than the files. */
  #stale = false;
  /** DuckDB has given up on the instance; the next call opens the file again. */
  #broken = false;
  #problem: { readonly problem?: AnalyticsError } = {};

  constructor(options: DuckdbStoreOptions) {
    const { maxSeries = 100_000, maxFields = 1_024, maxMeasurements = 1_024 } = options;
    this.#options = options;
    this.#catalog = new Catalog({ maxSeries, maxFields, maxMeasurements });
    this.#now = options.now ?? Date.now;
  }

  async open(): Promise<void> {
    if (this.#opened === undefined) await this.#start();
  }

  async close(): Promise<void> {
    await this.#queue;
    this.#broken = false;
    this.#release();
  }

  async ping(): Promise<StorePing> {
    try {
      const rows = await this.#read((connection) => rowsOf(connection, 'SELECT version()'));
      return { ok: true, version: String(rows[0]![0]), ...this.#problem };
    } catch {
      return { ok: false, version: '', ...this.#problem };
    }
  }

  writeLines(body: Uint8Array, options: { readonly precision: Precision }): Promise<void> {
    return this.#enqueue(async () => {
      try {
        await this.#write(body, options.precision);
        this.#problem = {};
      } catch (error) {
        // Lines that are refused for good are stored as far as they can be.
        const isStores = error instanceof AnalyticsError && error.transient;
        this.#problem = isStores ? { problem: error } : {};
        throw error;
      }
    });
  }

  devices(): Promise<readonly DeviceSummary[]> {
    return this.#read((connection) => selectDevices(connection, this.#catalog));
  }

  async latest(filter: LatestFilter): Promise<readonly LatestValue[]> {
    if (![filter.device, filter.profile, filter.metric].every(canExist)) return [];
    return this.#read((connection) => selectLatest(connection, this.#catalog, filter));
  }

  async range(query: RangeQuery): Promise<readonly Series[]> {
    const range = checkRange(query);
    if (![range.profile, range.device, range.metric].every(canExist)) return [];
    return this.#read((connection) => selectRange(connection, this.#catalog, range));
  }

  /**
   * Runs `use` on a connection of its own, for SQL and Parquet export: each measurement is a view of
   * its name with `time, device, cell, group, source` and its fields. Must not write.
   */
  readSql<Result>(use: (connection: DuckDBConnection) => Promise<Result>): Promise<Result> {
    return this.#read(use);
  }

  async #write(body: Uint8Array, precision: Precision): Promise<void> {
    if (this.#broken) await this.#restart();
    const { writer } = this.#require();
    if (body.length > MAX_BODY_BYTES) {
      const message = `write: expected at most ${MAX_BODY_BYTES} bytes, got ${body.length}`;
      throw new AnalyticsError('ERR_STORE_BODY_TOO_LARGE', message);
    }
    if (this.#stale) await this.#guard(this.#catalog.load(writer));
    this.#stale = true;
    const nowNs = BigInt(Math.round(this.#now() * 1000)) * 1000n;
    const batch = readBatch(body, this.#catalog, { precision, nowNs });
    await this.#guard(this.#catalog.save(writer));
    if (batch.parts.length > 0) await this.#guard(writeBatch(writer, batch));
    this.#stale = false;
    if (batch.refusal !== undefined) throw batch.refusal;
  }

  async #read<Result>(use: (connection: DuckDBConnection) => Promise<Result>): Promise<Result> {
    if (this.#broken) await this.#enqueue(() => this.#restart());
    const { instance } = this.#require();
    const connection = await instance.connect();
    try {
      return await this.#guard(use(connection));
    } finally {
      connection.disconnectSync();
    }
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }

  /** Remembers when DuckDB has given up. */
  async #guard<Result>(work: Promise<Result>): Promise<Result> {
    try {
      return await work;
    } catch (error) {
      const known = duckdbError(error);
      if (isFatal(known)) this.#broken = true;
      throw known;
    }
  }

  async #restart(): Promise<void> {
    if (!this.#broken) return;
    this.#release();
    await this.#start();
    this.#broken = false;
  }

  async #start(): Promise<void> {
    const { dataDir, memoryLimitMiB = 512, threads = 2 } = this.#options;
    await mkdir(dataDir, { recursive: true });
    const file = join(await realpath(dataDir), 'readings.duckdb');
    // File locks are per process, so two stores in one process would not see each other's.
    if (OPEN_FILES.has(file)) {
      throw new AnalyticsError('ERR_STORE_LOCKED', `DuckDB: ${file} is open in this process`);
    }
    OPEN_FILES.add(file);
    try {
      const instance = await DuckDBInstance.create(file, {
        memory_limit: `${memoryLimitMiB}MiB`,
        threads: String(threads),
      });
      const writer = await instance.connect();
      this.#opened = { file, instance, writer };
      await this.#catalog.load(writer);
      this.#stale = false;
    } catch (error) {
      this.#release();
      OPEN_FILES.delete(file);
      throw duckdbError(error);
    }
  }

  #require(): Opened {
    if (this.#opened !== undefined) return this.#opened;
    throw new AnalyticsError('ERR_STORE_CLOSED', 'DuckDB store: expected open, got closed');
  }

  #release(): void {
    if (this.#opened === undefined) return;
    const { file, instance, writer } = this.#opened;
    this.#opened = undefined;
    writer.disconnectSync();
    instance.closeSync();
    OPEN_FILES.delete(file);
  }
}

const OPEN_FILES = new Set<string>();
