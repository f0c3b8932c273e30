/** The control API as the command line uses it: where it is, with which token, and its failures. */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AnalyticsError } from '../errors.ts';
import { ApiProblem } from './error-line.ts';

const DEFAULT_URL = 'http://127.0.0.1:7881';
const TIMEOUT_MS = 60_000;

/** What the command line is run with; tests pass their own. */
export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Folder that `./data` is looked for in. */
  readonly cwd: string;
  readonly fetch: typeof globalThis.fetch;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Whether `err` writes to a terminal. */
  readonly isTty?: boolean;
  /** Aborts on Ctrl-C or SIGTERM; a command that asks for it ends by itself then. */
  readonly interrupted?: () => AbortSignal;
}

/** Options that every command takes. */
export interface ConnectionOptions {
  readonly url?: string;
  readonly tokenFile?: string;
  readonly data?: string;
}

export interface ApiClient {
  readonly url: string;
  /** The bearer token. */
  readonly token: string;
  /** The JSON answer, or null for 204. @throws {ApiProblem} what the API answered with. */
  json<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** The answer as text, of this media type. */
  text(path: string, accept: string): Promise<string>;
}

/**
 * A client for the API that the options, the environment or `./data/control` name, in this order.
 *
 * @throws {AnalyticsError} ERR_TOKEN_MISSING, ERR_USAGE (an address that is none).
 */
export async function apiClient(io: CliIo, options: ConnectionOptions): Promise<ApiClient> {
  const folder = resolve(io.cwd, options.data ?? 'data', 'control');
  const url = options.url ?? (io.env.FIELDPROOF_URL || (await writtenUrl(folder)) || DEFAULT_URL);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new AnalyticsError('ERR_USAGE', `url: expected http://… or https://…, got ${url}`);
  }
  const token = await tokenOf(io, options, folder);

  const request = async (path: string, init: RequestInit): Promise<Response> => {
    let response: Response;
    try {
      response = await io.fetch(new URL(path, url), {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${token}` },
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      const { cause, name } = error as { cause?: { code?: string }; name: string };
      const why = cause?.code ?? name;
      throw new AnalyticsError('ERR_API_UNREACHABLE', `${url}: no answer (${why})`);
    }
    if (!response.ok) throw await problemOf(response, url);
    return response;
  };
  const notOurs = (): never => {
    throw new AnalyticsError('ERR_API_ANSWER', `${url}: the answer is not JSON`);
  };
  return {
    url,
    token,
    json: async <T>(method: string, path: string, body?: unknown): Promise<T> => {
      const response = await request(path, {
        method,
        headers: {
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      if (response.status === 204) return null as T;
      return (await response.json().catch(notOurs)) as T;
    },
    text: async (path, accept) => (await request(path, { headers: { accept } })).text(),
  };
}

async function tokenOf(io: CliIo, options: ConnectionOptions, folder: string): Promise<string> {
  if (options.tokenFile === undefined && io.env.FIELDPROOF_TOKEN) {
    return checked(io.env.FIELDPROOF_TOKEN, 'FIELDPROOF_TOKEN');
  }
  const named = options.tokenFile ?? (io.env.FIELDPROOF_TOKEN_FILE || undefined);
  const path = named === undefined ? join(folder, 'admin-token') : resolve(io.cwd, named);
  try {
    return checked(await readFile(path, 'utf8'), path);
  } catch (error) {
    if (error instanceof AnalyticsError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new AnalyticsError('ERR_TOKEN_MISSING', `${path}: cannot be read (${code})`);
  }
}

/** A header must not be split by what a file holds. */
function checked(token: string, where: string): string {
  const trimmed = token.trim();
  if (/^[\x21-\x7e]+$/.test(trimmed)) return trimmed;
  throw new AnalyticsError('ERR_TOKEN_MISSING', `${where}: holds no token`);
}

async function writtenUrl(folder: string): Promise<string | null> {
  try {
    const { url } = JSON.parse(await readFile(join(folder, 'address.json'), 'utf8')) as {
      url?: unknown;
    };
    return typeof url === 'string' ? url : null;
  } catch {
    return null;
  }
}

async function problemOf(response: Response, url: string): Promise<Error> {
  const problem = (await response.json().catch(() => null)) as Record<string, unknown> | null;
  const { code, detail, remedy } = problem ?? {};
  if (typeof code !== 'string' || typeof detail !== 'string') {
    const what = `${url}: answered ${response.status} without a problem document`;
    return new AnalyticsError('ERR_API_ANSWER', what);
  }
  return new ApiProblem(code, detail, { status: response.status, remedy: String(remedy ?? '') });
}
