/**
 * The connection to an InfluxDB 1.x server: `/write` by fetch, `/query` by the `influx` client.
 *
 * User and password are taken out of the address at once and appear in no message and no cause.
 */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { InfluxDB } from 'influx';
import { AnalyticsError } from '../errors.ts';
import type { Precision } from '../line-protocol.ts';
import { readPoint } from '../line-protocol-decode.ts';
import { LineReader } from '../line-reader.ts';
import { conflictOf, queryError, writeError } from './influx-errors.ts';
import { quoteIdentifier } from './influxql.ts';
import type { FieldValue } from './time-series-store.ts';

export interface InfluxConnectionOptions {
  /** `http://user:password@host:8086`; user, password and a path prefix may be absent. Never logged. */
  readonly url: string;
  /** Created when missing. Default `fieldproof`. */
  readonly database?: string;
  /** Compress bodies; pays off over a network, costs CPU on loopback. Default false. */
  readonly gzip?: boolean;
  /** For one request. Default 30 s. */
  readonly timeoutMs?: number;
}

/** One series of a statement's answer. */
export interface Answer {
  readonly name?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly columns: readonly string[];
  readonly values: readonly (readonly (FieldValue | null)[])[];
}

export class InfluxConnection {
  readonly #database: string;
  readonly #base: string;
  readonly #authorization: string | undefined;
  readonly #client: InfluxDB;
  readonly #gzip: boolean;
  readonly #timeoutMs: number;

  constructor(options: InfluxConnectionOptions) {
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

  async ping(): Promise<{ ok: boolean; version: string }> {
    try {
      const response = await this.#fetch('/ping', {});
      await response.arrayBuffer();
      return { ok: response.ok, version: response.headers.get('x-influxdb-version') ?? '' };
    } catch {
      return { ok: false, version: '' };
    }
  }

  /** @throws {AnalyticsError} ERR_STORE_UNAVAILABLE or ERR_STORE_AUTH. */
  async createDatabase(): Promise<void> {
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

  /**
   * POSTs one body; a missing database is made.
   *
   * @throws {AnalyticsError} as `writeError`; a field type conflict names its first series.
   */
  async write(body: Uint8Array, precision: Precision): Promise<void> {
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
      await this.createDatabase();
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

  /**
   * Runs read-only statements in as few requests as reasonable; one answer per statement. Names in
   * them are quoted by the caller, values are placeholders.
   *
   * @throws {AnalyticsError} ERR_STORE_UNAVAILABLE, ERR_STORE_AUTH or ERR_STORE_QUERY.
   */
  async query(
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
}

/** Keeps request lines far below what servers accept. */
const STATEMENTS_PER_REQUEST = 30;
const NO_BACKOFF = { getDelay: () => 0, next: () => NO_BACKOFF, reset: () => NO_BACKOFF };

/** `; first series …` of a conflict, found in the body that was sent. */
function seriesInConflict(body: Uint8Array, message: string): string {
  const conflict = conflictOf(message);
  if (conflict === undefined) return '';
  const reader = new LineReader(body);
  while (reader.next()) {
    if (reader.error !== undefined) continue;
    const key = Buffer.from(body.subarray(reader.seriesStart, reader.seriesEnd)).toString();
    try {
      const { measurement, fields } = readPoint(reader);
      const field = fields.find((one) => one.key === conflict.field);
      if (measurement !== conflict.measurement || field === undefined) continue;
      if (INFLUX_TYPES[field.value.type] === conflict.type) return `; first series ${key}`;
    } catch {
      // A repeated tag key: the server refused that line for itself.
    }
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
