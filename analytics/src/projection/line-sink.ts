/**
 * Line protocol over HTTP, `POST /write` as InfluxDB 1.x has it: the same request goes to InfluxDB and to the control
 * process. One attempt; what an answer means for the next one is in the error.
 */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { AnalyticsError, type AnalyticsErrorCode } from '../errors.ts';
import { writeErrorCode } from '../store/influx-errors.ts';
import { TABLE_PRECISION } from '../table-lines.ts';

export interface LineSinkOptions {
  /** `http://[user:password@]host:port[/prefix]`. */
  readonly url: string;
  /** Created when the server says that it is missing. Default `fieldproof`. */
  readonly database?: string;
  /** Further parameters of each write. */
  readonly params?: Readonly<Record<string, string>>;
  /** Bearer token, asked for before each request. */
  readonly token?: () => Promise<string>;
  /** Pays off over a network. Default false. */
  readonly gzip?: boolean;
  /** For one request. Default 60 s. */
  readonly timeoutMs?: number;
}

/**
 * Sends one body of lines in µs; resolves when the store has them.
 *
 * @throws {AnalyticsError} ERR_STORE_UNAVAILABLE and ERR_STORE_AUTH: nothing is known to be stored, send it again.
 * Others: some lines are refused for good.
 */
export type LineSink = (body: Uint8Array, signal: AbortSignal) => Promise<void>;

const compress = promisify(gzip);

/** A sink for one server. */
export function httpLineSink(options: LineSinkOptions): LineSink {
  const { database = 'fieldproof', params = {}, timeoutMs = 60_000 } = options;
  const { base, authorization: basic } = splitUrl(options.url);
  const query = new URLSearchParams({ db: database, precision: TABLE_PRECISION, ...params });
  const write = `${base}/write?${query}`;

  const post = async (url: string, body: Uint8Array | string, signal: AbortSignal) => {
    const headers: Record<string, string> = { 'content-type': 'text/plain; charset=utf-8' };
    const token = options.token === undefined ? undefined : await readToken(options.token);
    const authorization = token === undefined ? basic : `Bearer ${token}`;
    if (authorization !== undefined) headers.authorization = authorization;
    let content: Uint8Array | string = body;
    if (options.gzip && typeof body !== 'string') {
      headers['content-encoding'] = 'gzip';
      content = await compress(body, { level: 1 });
    }
    if (typeof body === 'string') headers['content-type'] = 'application/x-www-form-urlencoded';
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers,
        body: content as NonNullable<RequestInit['body']>,
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      });
      return { status: response.status, text: await response.text() };
    } catch (error) {
      const { cause, message } = error as { cause?: { code?: string }; message?: string };
      const what = `store: expected an answer, got ${cause?.code ?? message}`;
      throw new AnalyticsError('ERR_STORE_UNAVAILABLE', what, { cause: error });
    }
  };

  return async (body, signal) => {
    let answer = await post(write, body, signal);
    if (answer.status === 404 && /database not found/i.test(answer.text)) {
      const name = database.replace(/["\\]/g, '\\$&');
      await post(
        `${base}/query`,
        new URLSearchParams({ q: `CREATE DATABASE "${name}"` }).toString(),
        signal,
      );
      answer = await post(write, body, signal);
    }
    if (answer.status < 200 || answer.status > 299) throw writeError(answer.status, answer.text);
  };
}

/** What an answer other than 2xx means. Reads problem details (RFC 9457) and InfluxDB's `error`. */
export function writeError(status: number, text: string): AnalyticsError {
  const { code, message } = parseAnswer(text);
  return new AnalyticsError(
    code ?? writeErrorCode(status, message),
    `store: ${message === '' ? `HTTP ${status}` : message}`,
  );
}

/** Whether the same body may be stored later: everything but a refusal of the lines themselves. */
export function isWorthRetrying(error: unknown): boolean {
  if (!(error instanceof AnalyticsError)) return true;
  return error.transient || error.code === 'ERR_STORE_AUTH';
}

/** What the control process names by its code. */
const NAMED: readonly AnalyticsErrorCode[] = [
  'ERR_STORE_FULL',
  'ERR_STORE_FIELD_TYPE',
  'ERR_STORE_SERIES_BUDGET',
  'ERR_STORE_LINES_REFUSED',
  'ERR_STORE_BODY_TOO_LARGE',
  'ERR_LINE_SYNTAX',
  'ERR_REBUILD_NONE',
];

function parseAnswer(text: string): { code?: AnalyticsErrorCode; message: string } {
  let message = text.trim();
  let code: AnalyticsErrorCode | undefined;
  try {
    const parsed = JSON.parse(text) as { error?: unknown; detail?: unknown; code?: unknown } | null;
    message = String(parsed?.error ?? parsed?.detail ?? message);
    code = NAMED.find((known) => known === parsed?.code);
  } catch {
    // Not JSON: the text itself is the message.
  }
  if (message.length > 500) message = `${message.slice(0, 500)}…`;
  return code === undefined ? { message } : { code, message };
}

function splitUrl(text: string): { base: string; authorization: string | undefined } {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    // Not quoted: it may hold a password.
    throw new AnalyticsError('ERR_STORE_UNAVAILABLE', 'store: expected http(s)://host:port');
  }
  const base = `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}`;
  if (url.username === '') return { base, authorization: undefined };
  const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return { base, authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

async function readToken(token: () => Promise<string>): Promise<string> {
  try {
    return (await token()).trim();
  } catch (cause) {
    throw new AnalyticsError('ERR_STORE_AUTH', `token: ${(cause as Error).message}`, { cause });
  }
}
