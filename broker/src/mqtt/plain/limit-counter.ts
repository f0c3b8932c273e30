/** Counts what the plain profile refuses or drops, by error code, and says so in the log at most every ten seconds. */

import type { BrokerErrorCode } from '../../errors.ts';

export type PlainCode = Extract<BrokerErrorCode, `ERR_PLAIN_${string}`>;

/** Told of a code at most once in this time; `times` says how often it was meant. */
const TELL_INTERVAL_MS = 10_000;

export interface LimitCounterOptions {
  readonly now: () => number;
  readonly onLimit: (
    code: PlainCode,
    detail: { readonly client: string; readonly times: number },
  ) => void;
}

export class LimitCounter {
  private readonly options: LimitCounterOptions;
  private readonly counts = new Map<PlainCode, number>();
  private readonly told = new Map<PlainCode, { at: number; count: number }>();

  constructor(options: LimitCounterOptions) {
    this.options = options;
  }

  /** @param client - the client id that is concerned. */
  count(code: PlainCode, client: string): void {
    const count = (this.counts.get(code) ?? 0) + 1;
    this.counts.set(code, count);
    const now = this.options.now();
    const last = this.told.get(code);
    if (last !== undefined && now - last.at < TELL_INTERVAL_MS) return;
    this.told.set(code, { at: now, count });
    this.options.onLimit(code, { client, times: count - (last?.count ?? 0) });
  }

  values(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.counts);
  }
}
