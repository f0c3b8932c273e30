/**
 * The time-series store on InfluxDB 1.x (and whatever speaks its `/write` and `/query`).
 *
 * Writes are our own line protocol over `fetch`, one POST per body; retrying is the caller's. Queries
 * are InfluxQL SELECT and SHOW through the `influx` client with bound parameters. Retention policies
 * and continuous queries are left to the operator. InfluxDB pins a field's type per shard (a week), so
 * a metric that changes its type over months is accepted by the server and answered as it is.
 */
import type { FieldType } from '@fieldproof/compute/readings';
import { AnalyticsError } from '../errors.ts';
import type { Precision } from '../line-protocol.ts';
import { fieldKeyOfMetric, metricOfFieldKey } from './field-keys.ts';
import { InfluxConnection, type InfluxConnectionOptions } from './influx-connection.ts';
import { DEVICE_CONDITION, fieldReference, quoteIdentifier, timeCondition } from './influxql.ts';
import { keepNewest, sortLatest } from './latest-values.ts';
import {
  type CheckedRange,
  canExist,
  checkAggregate,
  checkLimit,
  checkRange,
  compare,
  type Row,
  seriesOf,
} from './range-query.ts';
import { SeriesBudget } from './series-budget.ts';
import {
  type DeviceSummary,
  type FieldValue,
  type LatestFilter,
  type LatestValue,
  MAX_BODY_BYTES,
  type RangeQuery,
  type Series,
  type TimeSeriesStore,
} from './time-series-store.ts';

export interface InfluxStoreOptions extends InfluxConnectionOptions {
  /** Series this store may create; more give ERR_STORE_SERIES_BUDGET. Default 100,000. */
  readonly maxSeries?: number;
}

interface Field {
  readonly measurement: string;
  readonly key: string;
  readonly type: FieldType;
}

export class InfluxStore implements TimeSeriesStore {
  readonly #connection: InfluxConnection;
  readonly #maxSeries: number;
  readonly #types = new Map<string, FieldType>();
  #budget: SeriesBudget | undefined;

  constructor(options: InfluxStoreOptions) {
    this.#connection = new InfluxConnection(options);
    this.#maxSeries = options.maxSeries ?? 100_000;
  }

  async open(): Promise<void> {
    await this.#connection.createDatabase();
    const [series = []] = await this.#connection.query(['SHOW SERIES']);
    const keys = series.flatMap(({ values }) => values.map(([key]) => String(key)));
    this.#budget = new SeriesBudget(this.#maxSeries, keys);
  }

  async close(): Promise<void> {
    this.#budget = undefined;
  }

  ping(): Promise<{ ok: boolean; version: string }> {
    return this.#connection.ping();
  }

  async writeLines(body: Uint8Array, options: { readonly precision: Precision }): Promise<void> {
    const budget = this.#opened();
    if (body.length > MAX_BODY_BYTES) {
      const message = `write: expected at most ${MAX_BODY_BYTES} bytes, got ${body.length}`;
      throw new AnalyticsError('ERR_STORE_BODY_TOO_LARGE', message);
    }
    const admitted = budget.admit(body);
    if (admitted.body.length > 0) await this.#connection.write(admitted.body, options.precision);
    if (admitted.refused === 0) return;
    throw new AnalyticsError(
      'ERR_STORE_SERIES_BUDGET',
      `series: expected at most ${this.#maxSeries}, got ${admitted.firstRefused} (${admitted.refused} lines not stored)`,
    );
  }

  async devices(): Promise<readonly DeviceSummary[]> {
    this.#opened();
    const fields = await this.#fields();
    const statements = fields.flatMap(({ measurement, key }) =>
      ['count', 'first', 'last'].map(
        (name) =>
          `SELECT ${name}(${fieldReference(key)}) FROM ${quoteIdentifier(measurement)} GROUP BY "device"`,
      ),
    );
    const answers = await this.#connection.query(statements);
    const devices = new Map<string, DeviceSummary & { metrics: DeviceSummary['metrics'] }>();
    for (const [i, { measurement, key, type }] of fields.entries()) {
      const [counts = [], firsts = [], lasts = []] = answers.slice(3 * i, 3 * i + 3);
      for (const [j, one] of counts.entries()) {
        const device = one.tags?.device ?? '';
        if (device === '') continue;
        const before = devices.get(device);
        const metric = { profile: measurement, metric: metricOfFieldKey(key), type };
        const firstMs = timeOf(firsts[j]!.values[0]!);
        const lastMs = timeOf(lasts[j]!.values[0]!);
        devices.set(device, {
          device,
          profiles: [...new Set([...(before?.profiles ?? []), measurement])].sort(compare),
          metrics: [...(before?.metrics ?? []), metric].sort(
            (a, b) => compare(a.profile, b.profile) || compare(a.metric, b.metric),
          ),
          firstMs: Math.min(before?.firstMs ?? firstMs, firstMs),
          lastMs: Math.max(before?.lastMs ?? lastMs, lastMs),
          count: (before?.count ?? 0) + Number(one.values[0]![1]),
        });
      }
    }
    return [...devices.values()].sort((a, b) => compare(a.device, b.device));
  }

  async latest(filter: LatestFilter): Promise<readonly LatestValue[]> {
    this.#opened();
    if (filter.profile === '' || ![filter.device, filter.profile, filter.metric].every(canExist)) {
      return [];
    }
    const wanted = filter.metric === undefined ? undefined : fieldKeyOfMetric(filter.metric);
    const fields = (await this.#fields(filter.profile)).filter(
      ({ key }) => wanted === undefined || key === wanted,
    );
    const where = filter.device === undefined ? '' : ` WHERE ${DEVICE_CONDITION}`;
    const answers = await this.#connection.query(
      fields.map(
        ({ measurement, key }) =>
          `SELECT last(${fieldReference(key)}) FROM ${quoteIdentifier(measurement)}${where} GROUP BY *`,
      ),
      filter.device === undefined ? {} : { device: filter.device },
    );
    const newest = new Map<string, LatestValue>();
    for (const [i, { measurement, key }] of fields.entries()) {
      for (const { tags = {}, values } of answers[i] ?? []) {
        const [time, value] = values[0]!;
        keepNewest(newest, {
          device: tags.device ?? '',
          profile: measurement,
          metric: metricOfFieldKey(key),
          timeMs: Number(time) / 1000,
          value: value!,
          tags: Object.fromEntries(Object.entries(tags).filter(([, tag]) => tag !== '')),
        });
      }
    }
    return sortLatest(newest);
  }

  async range(query: RangeQuery): Promise<readonly Series[]> {
    this.#opened();
    const range = checkRange(query);
    if (![range.profile, range.device, range.metric].every(canExist)) return [];
    const type = await this.#typeOf(range);
    if (type === undefined) return [];
    checkAggregate(range, type);
    const bound = range.device === undefined ? {} : { device: range.device };
    const [answer = []] = await this.#connection.query([rangeStatement(range)], bound);
    const rows: Row[] = [];
    for (const { tags, values } of answer) {
      for (const row of values) {
        const [, value, device] = row;
        if (value === null || value === undefined) continue;
        rows.push({ device: tags?.device ?? String(device ?? ''), timeMs: timeOf(row), value });
      }
      checkLimit(range, rows.length);
    }
    return seriesOf(range, rows);
  }

  /** Every field of one measurement, or of all. */
  async #fields(measurement?: string): Promise<Field[]> {
    const from = measurement === undefined ? '' : ` FROM ${quoteIdentifier(measurement)}`;
    const [answer = []] = await this.#connection.query([`SHOW FIELD KEYS${from}`]);
    const fields = new Map<string, Field>();
    for (const { name = '', values } of answer) {
      for (const [key, type] of values) {
        // A field that changed its type between shards is listed once per type.
        const id = JSON.stringify([name, key]);
        if (!fields.has(id)) {
          fields.set(id, { measurement: name, key: String(key), type: fieldTypeOf(String(type)) });
        }
      }
    }
    return [...fields.values()];
  }

  async #typeOf(range: CheckedRange): Promise<FieldType | undefined> {
    if (range.profile === '' || range.metric === '') return undefined;
    const id = JSON.stringify([range.profile, range.fieldKey]);
    if (!this.#types.has(id)) {
      for (const { measurement, key, type } of await this.#fields(range.profile)) {
        this.#types.set(JSON.stringify([measurement, key]), type);
      }
    }
    return this.#types.get(id);
  }

  #opened(): SeriesBudget {
    if (this.#budget !== undefined) return this.#budget;
    throw new AnalyticsError('ERR_STORE_CLOSED', 'InfluxDB store: expected open, got closed');
  }
}

function rangeStatement(range: CheckedRange): string {
  const field = fieldReference(range.fieldKey);
  const device = range.device === undefined ? '' : ` AND ${DEVICE_CONDITION}`;
  const from = `FROM ${quoteIdentifier(range.profile)} WHERE ${timeCondition(range.fromNs, range.toNs)}${device}`;
  if (range.bucketMs === undefined) {
    return `SELECT ${field}, "device"::tag ${from} LIMIT ${range.limit + 1}`;
  }
  const by = range.groupByDevice ? ', "device"' : '';
  return `SELECT ${range.aggregate}(${field}) ${from} GROUP BY time(${range.bucketMs}ms)${by} fill(none) LIMIT ${range.limit + 1}`;
}

function timeOf(row: readonly (FieldValue | null)[]): number {
  return Number(row[0]) / 1000;
}

function fieldTypeOf(type: string): FieldType {
  return type === 'string' || type === 'boolean' ? type : 'float';
}
