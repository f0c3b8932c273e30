/**
 * A store that may not be reachable yet: opened in the background until it is.
 *
 * Until then every call fails with ERR_STORE_UNAVAILABLE, which callers wait out, so a control process
 * can start before its InfluxDB and outlive its absence.
 */
import { AnalyticsError } from './errors.ts';
import type { TimeSeriesStore } from './store/time-series-store.ts';

const RETRY_MS = 2000;

export interface LateStoreOptions {
  /** Opens the real store. */
  readonly open: () => Promise<TimeSeriesStore>;
  /** Called with each failure to open. */
  readonly failed: (error: unknown) => void;
}

/**
 * Tries once; resolves with the open store, or, where it is unavailable, with one that goes on trying.
 *
 * @throws what `open` throws, unless that may pass: ERR_STORE_UNAVAILABLE, ERR_STORE_FULL.
 */
export async function openLate({ open, failed }: LateStoreOptions): Promise<TimeSeriesStore> {
  try {
    return await open();
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    failed(error);
  }
  let store: TimeSeriesStore | null = null;
  let cause: unknown = null;
  let closed = false;
  let timer: ReturnType<typeof setTimeout>;
  let attempt: Promise<void> = Promise.resolve();
  const later = (): void => {
    timer = setTimeout(() => {
      attempt = tryAgain();
    }, RETRY_MS);
  };
  const tryAgain = async (): Promise<void> => {
    try {
      store = await open();
    } catch (error) {
      cause = error;
      failed(error);
      if (!closed) later();
    }
  };
  const real = (): TimeSeriesStore => {
    if (store !== null) return store;
    throw new AnalyticsError('ERR_STORE_UNAVAILABLE', 'store: not reached yet', { cause });
  };
  later();
  return {
    open: async () => undefined,
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await attempt;
      await store?.close();
    },
    ping: async () => {
      if (store !== null) return store.ping();
      const problem = cause instanceof AnalyticsError ? { problem: cause } : {};
      return { ok: false, version: '', ...problem };
    },
    writeLines: async (body, options) => real().writeLines(body, options),
    devices: async () => real().devices(),
    latest: async (filter) => real().latest(filter),
    range: async (query) => real().range(query),
  };
}

function isUnavailable(error: unknown): boolean {
  return error instanceof AnalyticsError && error.transient;
}
