/**
 * The time-series store on InfluxDB 1.x (and whatever speaks its `/write` and `/query`).
 *
 * Writes are our own line protocol over `fetch`, one POST per body; retrying is the caller's. Queries
 * are InfluxQL SELECT and SHOW through the `influx` client with bound parameters. Retention policies
 * and continuous queries are left to the operator. InfluxDB pins a field's type per shard (a week), so
 * a metric that changes its type over months is accepted by the server and answered as it is.
 */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { FieldType } from '@fieldproof/compute/readings';
import { InfluxDB } from 'influx';
import { AnalyticsError } from '../errors.ts';
import type { Precision } from '../line-protocol.ts';
import { readPoint } from '../line-protocol-decode.ts';
import { LineReader } from '../line-reader.ts';
import { fieldKeyOfMetric, metricOfFieldKey } from './field-keys.ts';
import { conflictOf, queryError, writeError } from './influx-errors.ts';
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

export interface InfluxStoreOptions {
  /** `http://user:password@host:8086`; user, password and a path prefix may be absent. Never logged. */
  readonly url: string;
  /** Created when missing. Default `fieldproof`. */
  readonly database?: string;
  /** Series this store may create; more give ERR_STORE_SERIES_BUDGET. Default 100,000. */
  readonly maxSeries?: number;
  /** Compress bodies; pays off over a network, costs CPU on loopback. Default false. */
  readonly gzip?: boolean;
  /** For one request. Default 30 s. */
  readonly timeoutMs?: number;
}

interface Answer {
  readonly name?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly columns: readonly string[];
  readonly values: readonly (readonly (FieldValue | null)[])[];
}

interface Field {
  readonly measurement: string;
  readonly key: string;
  readonly type: FieldType;
}

export class InfluxStore implements TimeSeriesStore {
  readonly #database: string;
  readonly #base: string;
  readonly #authorization: string | undefined;
  readonly #client: InfluxDB;
  readonly #maxSeries: number;
  readonly #gzip: boolean;
  readonly #timeoutMs: number;
  readonly #types = new Map<string, FieldType>();
  #budget: SeriesBudget | undefined;

  constructor(options: InfluxStoreOptions) {
    const url = parseUrl(options.url);
    const path = url.pathname.replace(/\/+$/, '');
    const [username, password] = [
      decodeURIComponent(url.username),
      decodeURIComponent(url.password),
    ];
    this.#database = options.database ?? 'fieldproof';
    this.#base = `${url.protocol}//${url.host}${path}`;
    this.#authorization =
      username === ''
        ? undefined
        : `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    this.#maxSeries = options.maxSeries ?? 100_000;
    this.#gzip = options.gzip ?? false;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#client = new InfluxDB({
      host: url.hostname,
      port: Number(url.port || (url.protocol === 'https:' ? 443 : 80)),
      path,
      protocol: url.protocol === 'https:' ? 'https' : 'http',
      username,
      password,
      database: this.#database,
      // The client would shut out the only host for a while after one failure; retrying is ours.
      pool: { maxRetries: 0, requestTimeout: this.#timeoutMs, backoff: NO_BACKOFF },
    });
  }

  async open(): Promise<void> {
    await this.#createDatabase();
    const [series = []] = await this.#query(['SHOW SERIES']);
    const keys = series.flatMap(({ values }) => values.map(([key]) => String(key)));
    this.#budget = new SeriesBudget(this.#maxSeries, keys);
  }

  async close(): Promise<void> {
    this.#budget = undefined;
  }

  async ping(): Promise<{ ok: boolean; version: string }> {
    try {
      const response = await this.#fetch('/ping', {});
      await response.arrayBuffer();
      return { ok: response.ok, version: response.headers.get('x-influxdb-version') ?? '' };
    } catch {
      return { ok: false, version: '' };
    }
  }

  async writeLines(body: Uint8Array, options: { readonly precision: Precision }): Promise<void> {
    const budget = this.#opened();
    if (body.length > MAX_BODY_BYTES) {
      const message = `write: expected at most ${MAX_BODY_BYTES} bytes, got ${body.length}`;
      throw new AnalyticsError('ERR_STORE_BODY_TOO_LARGE', message);
    }
    const admitted = budget.admit(body);
    if (admitted.body.length > 0) await this.#write(admitted.body, options.precision);
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
    const answers = await this.#query(statements);
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
    const answers = await this.#query(
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
    const [answer = []] = await this.#query([rangeStatement(range)], bound);
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

  async #write(body: Uint8Array, precision: Precision): Promise<void> {
    const query = new URLSearchParams({
      db: this.#database,
      precision: precision === 'ns' ? 'n' : precision,
    });
    const headers: Record<string, string> = { 'content-type': 'text/plain; charset=utf-8' };
    let sent = body;
    if (this.#gzip) {
      headers['content-encoding'] = 'gzip';
      sent = await promisify(gzip)(body, { level: 1 });
    }
    const request = { method: 'POST', headers, body: sent };
    let response = await this.#fetch(`/write?${query}`, request);
    if (response.status === 404) {
      // The database was dropped under us: an index may be built anew.
      await response.arrayBuffer();
      await this.#createDatabase();
      response = await this.#fetch(`/write?${query}`, request);
    }
    const text = await response.text();
    if (response.status === 204) return;
    const error = writeError(response.status, text);
    if (error.code !== 'ERR_STORE_FIELD_TYPE') throw error;
    throw new AnalyticsError(
      error.code,
      `${error.message}${seriesInConflict(body, error.message)}`,
    );
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const headers = {
      ...init.headers,
      ...(this.#authorization === undefined ? {} : { authorization: this.#authorization }),
    };
    const signal = AbortSignal.timeout(this.#timeoutMs);
    try {
      return await fetch(`${this.#base}${path}`, { ...init, headers, signal });
    } catch (error) {
      throw unavailable(error);
    }
  }

  async #createDatabase(): Promise<void> {
    const q = `CREATE DATABASE ${quoteIdentifier(this.#database)}`;
    const response = await this.#fetch('/query', {
      method: 'POST',
      body: new URLSearchParams({ q }),
    });
    const text = await response.text();
    // A user without the right to create may still write to a database that exists.
    if (response.status === 403) return;
    if (!response.ok) throw writeError(response.status, text);
  }

  /** Every field of one measurement, or of all. */
  async #fields(measurement?: string): Promise<Field[]> {
    const from = measurement === undefined ? '' : ` FROM ${quoteIdentifier(measurement)}`;
    const [answer = []] = await this.#query([`SHOW FIELD KEYS${from}`]);
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

  /** Runs read-only statements in as few requests as reasonable; one answer per statement. */
  async #query(
    statements: readonly string[],
    placeholders: Record<string, string> = {},
  ): Promise<Answer[][]> {
    const answers: Answer[][] = [];
    for (let i = 0; i < statements.length; i += STATEMENTS_PER_REQUEST) {
      const some = statements.slice(i, i + STATEMENTS_PER_REQUEST);
      const signal = AbortSignal.timeout(this.#timeoutMs);
      const raw: unknown = await new Promise((resolve, reject) => {
        // The client waits for ever when a response is cut off; the signal does not.
        signal.addEventListener('abort', () => reject(new Error('timed out')));
        this.#client
          .queryRaw([...some], { placeholders, precision: 'u', signal } as object)
          .then(resolve, reject);
      }).catch((error: unknown) => {
        throw clientError(error);
      });
      const { results = [] } = raw as { results?: { series?: Answer[]; error?: string }[] };
      for (const result of results) {
        if (result.error !== undefined) throw queryError(result.error);
        answers.push(result.series ?? []);
      }
    }
    return answers;
  }

  #opened(): SeriesBudget {
    if (this.#budget !== undefined) return this.#budget;
    throw new AnalyticsError('ERR_STORE_CLOSED', 'InfluxDB store: expected open, got closed');
  }
}

/** Keeps request lines far below what servers accept. */
const STATEMENTS_PER_REQUEST = 30;
const NO_BACKOFF = { getDelay: () => 0, next: () => NO_BACKOFF, reset: () => NO_BACKOFF };

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

/** `; first series …` of a conflict, found in the body that was sent. */
function seriesInConflict(body: Uint8Array, message: string): string {
  const conflict = conflictOf(message);
  if (conflict === undefined) return '';
  const reader = new LineReader(body);
  while (reader.next()) {
    if (reader.error !== undefined) continue;
    const point = readPoint(reader);
    if (point.measurement !== conflict.measurement) continue;
    const field = point.fields.find(({ key }) => key === conflict.field);
    if (field === undefined || INFLUX_TYPES[field.value.type] !== conflict.type) continue;
    const key = Buffer.from(body.subarray(reader.seriesStart, reader.seriesEnd)).toString();
    return `; first series ${key}`;
  }
  return '';
}

const INFLUX_TYPES = {
  float: 'float',
  int: 'integer',
  uint: 'unsigned',
  string: 'string',
  boolean: 'boolean',
} as const;

function parseUrl(text: string): URL {
  try {
    const url = new URL(text);
    if (url.protocol === 'http:' || url.protocol === 'https:') return url;
  } catch {}
  // Not quoted: it may hold a password.
  throw new AnalyticsError(
    'ERR_STORE_QUERY',
    'InfluxDB url: expected http(s)://[user:password@]host:port',
  );
}

function unavailable(error: unknown): AnalyticsError {
  const { cause, message } = error as { cause?: { code?: string }; message?: string };
  return new AnalyticsError(
    'ERR_STORE_UNAVAILABLE',
    `InfluxDB: expected an answer, got ${cause?.code ?? message}`,
  );
}

/** The client's errors carry the request with its password, so only their text goes on. */
function clientError(error: unknown): AnalyticsError {
  const {
    message = '',
    code,
    res,
  } = error as {
    message?: string;
    code?: string;
    res?: { statusCode?: number };
  };
  const status = res?.statusCode;
  if (status === 401 || status === 403) {
    return new AnalyticsError('ERR_STORE_AUTH', `InfluxDB query: HTTP ${status}`);
  }
  if (status !== undefined && status < 500) return queryError(message);
  return new AnalyticsError('ERR_STORE_UNAVAILABLE', `InfluxDB query: ${code ?? message}`);
}
