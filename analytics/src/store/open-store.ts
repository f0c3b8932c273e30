/**
 * Chooses the store: InfluxDB when an address is given, else the embedded one.
 */
import { join } from 'node:path';
import { DuckdbStore } from './duckdb-store.ts';
import { influxAddress } from './influx-address.ts';
import { InfluxStore } from './influx-store.ts';
import type { TimeSeriesStore } from './time-series-store.ts';

export interface OpenStoreOptions {
  /** `http://user:password@host:8086/database`; the embedded store when absent or empty. */
  readonly influxUrl?: string | undefined;
  /** The embedded store lives in `<dataDir>/store`. */
  readonly dataDir: string;
  /** Default 100,000. */
  readonly maxSeries?: number;
}

/**
 * Opens the store; the caller closes it.
 *
 * @throws {AnalyticsError} ERR_STORE_UNAVAILABLE, ERR_STORE_AUTH, ERR_STORE_LOCKED, ERR_STORE_CORRUPT.
 */
export async function openStore(options: OpenStoreOptions): Promise<TimeSeriesStore> {
  const { influxUrl, dataDir, maxSeries = 100_000 } = options;
  const store =
    influxUrl === undefined || influxUrl === ''
      ? new DuckdbStore({ dataDir: join(dataDir, 'store'), maxSeries })
      : new InfluxStore({ ...influxAddress(influxUrl), maxSeries });
  await store.open();
  return store;
}
