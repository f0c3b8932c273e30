/** The API as the page uses it: typed answers, and failures that say what to tell the person. */

import type { WishesInput } from '../src/wish-lines.ts';

export interface ApiMetric {
  readonly profile: string;
  readonly metric: string;
  readonly type: 'float' | 'string' | 'boolean';
  readonly unit: string | null;
}

export interface ApiDevice {
  readonly device: string;
  readonly name: string | null;
  readonly owner: string | null;
  readonly group: string | null;
  readonly cell: string | null;
  readonly source: string | null;
  readonly online: boolean | null;
  readonly lastReadingMs: number | null;
  /** Declared by its birth; null while unknown. */
  readonly profiles: readonly string[] | null;
  readonly metrics: readonly ApiMetric[];
}

export interface ApiDevices {
  readonly nowMs: number;
  readonly broker: { readonly ok: boolean; readonly detail: string };
  readonly devices: readonly ApiDevice[];
}

export interface ApiLatest {
  readonly device: string;
  readonly profile: string;
  readonly metric: string;
  readonly timeMs: number;
  readonly value: number | string | boolean;
  readonly unit: string | null;
}

export interface ApiStatus {
  readonly network: string | null;
  readonly versions: { readonly fieldproof: string };
  readonly store: { readonly kind: string; readonly ok: boolean };
  readonly counts: { readonly values: number | null };
  readonly projection: { readonly lagMs: number } | null;
}

export interface ApiSeries {
  readonly device?: string;
  readonly timesMs: readonly number[];
  readonly values: readonly number[];
}

/** What a device is set to from afar, and what it made of it. */
export interface ApiConfig {
  readonly wanted: {
    readonly version: number;
    readonly expiresMs: number;
    readonly by: string;
    readonly standing: string;
    readonly wishes: WishesInput;
    readonly reports: readonly {
      readonly atMs: number;
      readonly entry: number;
      readonly code: string | null;
      readonly reasons: readonly string[];
    }[];
  } | null;
  readonly inForce: number | null;
}

export interface ApiQuery {
  readonly fromMs: number;
  readonly toMs: number;
  readonly bucketMs: number | null;
  readonly series: readonly ApiSeries[];
}

/**
 * `login`: the token is no good; `unreachable`: nobody answers; `store`: the API does, its store does not; `down`: the
 * API failed otherwise; `refused`: the request was wrong.
 */
export type ApiFailureKind = 'login' | 'unreachable' | 'store' | 'down' | 'refused';

export class ApiFailure extends Error {
  readonly kind: ApiFailureKind;
  readonly code: string;

  constructor(kind: ApiFailureKind, code: string, message: string) {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}

const TIMEOUT_MS = 15_000;

export const STORE_SILENT = 'The time-series store does not answer.';

export interface Api {
  devices(): Promise<ApiDevices>;
  latest(): Promise<{ readonly nowMs: number; readonly values: readonly ApiLatest[] }>;
  status(): Promise<ApiStatus>;
  config(device: string): Promise<ApiConfig>;
  query(parameters: Readonly<Record<string, string>>): Promise<ApiQuery>;
  /** The same query as a CSV file. */
  csv(parameters: Readonly<Record<string, string>>): Promise<Blob>;
}

/** The API of this page's server, as the holder of `token`. */
export function api(token: string): Api {
  const get = async (path: string, parameters: Readonly<Record<string, string>> = {}) => {
    const query = new URLSearchParams(parameters).toString();
    let response: Response;
    try {
      response = await fetch(query === '' ? path : `${path}?${query}`, {
        headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch {
      throw new ApiFailure('unreachable', 'ERR_API_UNREACHABLE', 'The API does not answer.');
    }
    if (!response.ok) throw await failureOf(response);
    return response;
  };
  const json = async <T>(path: string, parameters?: Readonly<Record<string, string>>) => {
    const response = await get(path, parameters);
    return (await response.json().catch(() => {
      throw new ApiFailure('down', 'ERR_API_ANSWER', 'The API broke off its answer.');
    })) as T;
  };
  return {
    devices: () => json<ApiDevices>('/v1/devices'),
    latest: () => json<{ nowMs: number; values: readonly ApiLatest[] }>('/v1/latest'),
    status: () => json<ApiStatus>('/v1/status'),
    config: (device) => json<ApiConfig>(`/v1/devices/${encodeURIComponent(device)}/config`),
    query: (parameters) => json<ApiQuery>('/v1/query', parameters),
    csv: async (parameters) => (await get('/v1/query', { ...parameters, format: 'csv' })).blob(),
  };
}

const LOGIN_MESSAGES: Readonly<Record<string, string>> = {
  ERR_TOKEN_EXPIRED: 'Your token has expired. Enter a new one.',
  ERR_TOKEN_UNKNOWN:
    'This token is not known here. It may be mistyped, revoked or of another network.',
  ERR_TOKEN_SCOPE: 'This token may not read. Enter one with the scope “read”.',
};

async function failureOf(response: Response): Promise<ApiFailure> {
  const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string };
  const code = problem.code ?? `HTTP ${response.status}`;
  if (response.status === 401 || response.status === 403) {
    return new ApiFailure('login', code, LOGIN_MESSAGES[code] ?? 'Enter a token to log in.');
  }
  if (response.status >= 500) {
    return code.startsWith('ERR_STORE')
      ? new ApiFailure('store', code, STORE_SILENT)
      : new ApiFailure('down', code, 'The API failed.');
  }
  return new ApiFailure('refused', code, problem.detail ?? `The API answered ${response.status}.`);
}
