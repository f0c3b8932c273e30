/**
 * The one interface to a time-series store, implemented on InfluxDB and on DuckDB.
 *
 * Both pass the same contract suite (`test/analytics/store/contract.ts`). A store takes line protocol
 * (measurement = profile, tags = device, cell, group, source, fields = metrics) and answers by names;
 * it is an index that can be rebuilt from the evidence log, so it decides nothing.
 */

import type { FieldType } from '@fieldproof/compute/readings';
import type { AnalyticsError } from '../errors.ts';
import type { Precision } from '../line-protocol.ts';

export type FieldValue = number | string | boolean;

/** How one bucket becomes one value; on strings and booleans only count, first and last are defined. */
export type Aggregate = 'mean' | 'min' | 'max' | 'sum' | 'count' | 'first' | 'last';

export interface MetricSummary {
  readonly profile: string;
  readonly metric: string;
  readonly type: FieldType;
}

/** What a store knows about one device. */
export interface DeviceSummary {
  readonly device: string;
  /** Sorted by code unit. */
  readonly profiles: readonly string[];
  /** Sorted by profile, then metric. */
  readonly metrics: readonly MetricSummary[];
  /** Unix ms of the oldest and the newest instant, with µs as fraction. */
  readonly firstMs: number;
  readonly lastMs: number;
  /** Values stored, over all metrics. */
  readonly count: number;
}

export interface LatestFilter {
  readonly device?: string;
  readonly profile?: string;
  readonly metric?: string;
}

/** The newest value of one device, profile and metric; the greater of two at the same instant. */
export interface LatestValue {
  readonly device: string;
  readonly profile: string;
  readonly metric: string;
  readonly timeMs: number;
  readonly value: FieldValue;
  /** Every tag of the series that holds the value, device included. */
  readonly tags: Readonly<Record<string, string>>;
}

export interface RangeQuery {
  readonly profile: string;
  readonly metric: string;
  /** One device; all of them when absent. */
  readonly device?: string;
  /** Inclusive, Unix ms. */
  readonly fromMs: number;
  /** Exclusive, Unix ms. */
  readonly toMs: number;
  /** Width of a bucket, whole ms, aligned to the Unix epoch; raw values when absent. */
  readonly bucketMs?: number;
  /** Default mean. Only with bucketMs. */
  readonly aggregate?: Aggregate;
  /** One series per device; by default all devices make one series. */
  readonly groupByDevice?: boolean;
  /** Most points in the whole answer; one more is an error, never a silent cut. At most MAX_POINTS. */
  readonly limit?: number;
}

/**
 * Points of one device (or of all), ascending in time. Of several values at one instant, as when a
 * device changed its group, the greater one counts as first and as last; raw points keep all of them,
 * ascending in value.
 */
export interface Series {
  /** Absent when the query neither named a device nor grouped by it; empty for untagged lines. */
  readonly device?: string;
  readonly profile: string;
  readonly metric: string;
  /** Unix ms: of the value, or of the start of its bucket. */
  readonly timesMs: readonly number[];
  readonly values: readonly FieldValue[];
}

/** Most points one answer may hold; protects both processes' memory. */
export const MAX_POINTS = 1_000_000;
export const DEFAULT_POINTS = 100_000;
/** Largest body of one write; protects the server and the embedded store from a runaway batch. */
export const MAX_BODY_BYTES = 16 << 20;

export interface StorePing {
  readonly ok: boolean;
  readonly version: string;
  /** Why the last write failed, where that was the store's and not the lines' fault. */
  readonly problem?: AnalyticsError;
}

export interface TimeSeriesStore {
  /** Connects or opens the files; creates what is missing. Must be called once, first. */
  open(): Promise<void>;
  /** Waits for the write under way, then lets go of files and sockets. Twice is harmless. */
  close(): Promise<void>;
  /** Whether the store answers, and which version it is; never throws. */
  ping(): Promise<StorePing>;
  /**
   * Stores line protocol; resolves once durable in the store's own terms. Idempotent: the same
   * measurement, tags and time merge their fields, the last value wins.
   *
   * @throws {AnalyticsError} ERR_STORE_UNAVAILABLE (send it again), or a permanent refusal
   * (ERR_STORE_FIELD_TYPE, ERR_STORE_SERIES_BUDGET, ERR_STORE_LINES_REFUSED) after which every other
   * line of the body is stored.
   */
  writeLines(body: Uint8Array, options: { readonly precision: Precision }): Promise<void>;
  /** Every device seen (lines without a device tag are nobody's), sorted by code unit. */
  devices(): Promise<readonly DeviceSummary[]>;
  /** Newest values, sorted by device, profile, metric; names that nothing has give an empty list. */
  latest(filter: LatestFilter): Promise<readonly LatestValue[]>;
  /**
   * Values or buckets in [fromMs, toMs); empty buckets are left out, unknown names give an empty list.
   *
   * @throws {AnalyticsError} ERR_STORE_QUERY for a query outside its domain, ERR_STORE_LIMIT for more
   * points than `limit`.
   */
  range(query: RangeQuery): Promise<readonly Series[]>;
}
