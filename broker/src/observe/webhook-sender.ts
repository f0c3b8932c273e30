/**
 * Sends events to the operator's webhook: one after the other and in order, so many a second, with time limits and
 * retries, out of a queue with a bound. Whatever the other side does costs a counter, never the broker.
 */

import { SIGNATURE_HEADER, signWebhook, TIMESTAMP_HEADER } from './webhook-signature.ts';

/** What is sent, as JSON; `id` stays the same when it is sent again. */
export interface WebhookEvent {
  readonly event: string;
  /** Unix ms. */
  readonly at: number;
  readonly [field: string]: unknown;
}

export interface WebhookSenderOptions {
  readonly url: string;
  readonly secret: string;
  readonly network: string;
  readonly version: string;
  readonly perSecond: number;
  readonly now: () => number;
  /** A name for a delivery that no other has. */
  readonly newId: () => string;
  /** Told of what is given up, and why. */
  readonly onGivenUp: (event: WebhookEvent, why: string) => void;
  readonly fetch?: typeof fetch;
  /** Resolves after a while, or at once when the sender stops. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface WebhookCounts {
  readonly queued: number;
  readonly sent: number;
  /** Attempts that failed. */
  readonly failed: number;
  /** Events given up: after the last attempt, or refused for good. */
  readonly givenUp: number;
  /** Events for which the queue had no room. */
  readonly dropped: number;
}

/** How one attempt ended. */
export interface WebhookAnswer {
  readonly ok: boolean;
  /** HTTP status; null when there was no answer. */
  readonly status: number | null;
  readonly durationMs: number;
  /** Why it is no success; empty when it is. */
  readonly why: string;
}

export const MAX_QUEUED = 1000;
const TIMEOUT_MS = 10_000;
const MAX_ATTEMPTS = 8;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 60_000;

export class WebhookSender {
  readonly #options: WebhookSenderOptions;
  readonly #fetch: typeof fetch;
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly #stopped = new AbortController();
  readonly #queue: { readonly event: WebhookEvent; readonly id: string }[] = [];
  readonly #counts = { sent: 0, failed: 0, givenUp: 0, dropped: 0 };
  #running: Promise<void> | null = null;
  #trouble: string | null = null;

  constructor(options: WebhookSenderOptions) {
    this.#options = options;
    this.#fetch = options.fetch ?? fetch;
    this.#sleep = options.sleep ?? sleepUntilStopped;
  }

  get counts(): WebhookCounts {
    return { queued: this.#queue.length, ...this.#counts };
  }

  /** Where it sends, without the query, in which there may be a secret. */
  get target(): string {
    const { origin, pathname } = new URL(this.#options.url);
    return `${origin}${pathname}`;
  }

  /** Why the last attempt failed; null when it did not. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** Takes an event; without room for it, it is counted and lost. */
  send(event: WebhookEvent): void {
    if (this.#stopped.signal.aborted) return;
    if (this.#queue.length >= MAX_QUEUED) {
      this.#counts.dropped += 1;
      return;
    }
    this.#queue.push({ event, id: this.#options.newId() });
    this.#running ??= this.#run();
  }

  /** One attempt at once, beside the queue. One that goes well ends the trouble. */
  async attempt(event: WebhookEvent, id = this.#options.newId()): Promise<WebhookAnswer> {
    const answer = await this.#post(event, id);
    if (answer.ok) this.#trouble = null;
    return answer;
  }

  /** Ends attempts that are under way; what is queued is lost. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    const { perSecond } = this.#options;
    try {
      while (this.#queue.length > 0 && !signal.aborted) {
        const { event, id } = this.#queue[0]!;
        await this.#deliver(event, id);
        this.#queue.shift();
        if (this.#queue.length > 0) await this.#sleep(1000 / perSecond, signal);
      }
    } finally {
      // In the turn that saw the queue empty: an event that comes after it begins anew.
      this.#running = null;
    }
  }

  async #deliver(event: WebhookEvent, id: string): Promise<void> {
    const { signal } = this.#stopped;
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#post(event, id);
      if (signal.aborted) return;
      this.#trouble = answer.ok ? null : answer.why;
      if (answer.ok) {
        this.#counts.sent += 1;
        return;
      }
      this.#counts.failed += 1;
      if (attempt === MAX_ATTEMPTS || !isTransient(answer.status)) {
        this.#counts.givenUp += 1;
        this.#options.onGivenUp(event, answer.why);
        return;
      }
      await this.#sleep(retryDelayMs(attempt), signal);
      if (signal.aborted) return;
    }
  }

  async #post(event: WebhookEvent, id: string): Promise<WebhookAnswer> {
    const { url, secret, network, version, now } = this.#options;
    const body = JSON.stringify({ ...event, id, network });
    const timestamp = String(Math.floor(now() / 1000));
    const began = performance.now();
    const answer = (status: number | null, why: string): WebhookAnswer => ({
      ...{ ok: why === '', status, why },
      durationMs: Math.round(performance.now() - began),
    });
    // Not AbortSignal.any: what it makes leaves a little with a signal that lives as long as the process.
    const { signal } = this.#stopped;
    const ending = new AbortController();
    const end = () => ending.abort();
    const late = () => ending.abort(new DOMException('late', 'TimeoutError'));
    const timer = setTimeout(late, TIMEOUT_MS);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
    try {
      const response = await this.#fetch(url, {
        method: 'POST',
        body,
        headers: {
          'content-type': 'application/json',
          'user-agent': `fieldproof-broker/${version}`,
          'fieldproof-event': event.event,
          'fieldproof-delivery': id,
          [TIMESTAMP_HEADER]: timestamp,
          [SIGNATURE_HEADER]: signWebhook(secret, { timestamp, body }),
        },
        // A redirect could lead into the broker's own network.
        redirect: 'manual',
        signal: ending.signal,
      });
      // However long it is, nobody reads it.
      await response.body?.cancel().catch(() => undefined);
      if (response.status >= 200 && response.status < 300) return answer(response.status, '');
      return answer(response.status, `HTTP status ${response.status}`);
    } catch (error) {
      return answer(null, reasonOf(error));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
    }
  }
}

/** Before the attempt after this one: 1 s, 2 s, 4 s … at most a minute. */
export function retryDelayMs(attempt: number): number {
  return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempt - 1));
}

/** Whether another attempt may go better: no answer, overload, a failure of the server; not a refusal nor a redirect. */
function isTransient(status: number | null): boolean {
  return status === null || status === 408 || status === 429 || status >= 500;
}

/** Codes of the system such as ECONNREFUSED, without the address. */
function reasonOf(error: unknown): string {
  const { name, code, cause } = error as {
    readonly name?: string;
    readonly code?: unknown;
    readonly cause?: { readonly code?: unknown };
  };
  if (name === 'TimeoutError') return `no answer in ${TIMEOUT_MS / 1000} s`;
  if (name === 'AbortError') return 'the broker stops';
  return `no answer (${String(cause?.code ?? code ?? name ?? 'unknown')})`;
}

function sleepUntilStopped(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    timer.unref();
    signal.addEventListener('abort', done);
  });
}
