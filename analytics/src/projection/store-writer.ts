/**
 * Reading tables into a time-series store by way of a line sink: bounded bodies, one request in flight while the next
 * body is built, retries for as long as it takes, and lines that are refused for good set aside by name.
 */
import type { ReadingTable } from '@fieldproof/compute/readings';
import { AnalyticsError } from '../errors.ts';
import { LineBuffer, type LineBufferOptions } from '../table-lines.ts';
import { type LineBody, storeLines } from './isolate-refused.ts';
import { isWorthRetrying, type LineSink } from './line-sink.ts';
import { sleepMs } from './tail-client.ts';

const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 30_000;
/** Bodies that wait for the one in flight; more writers wait. Bounds memory to about this many MiB times four. */
const MAX_WAITING_BODIES = 3;

export interface StoreWriterOptions extends LineBufferOptions {
  readonly sink: LineSink;
  /** Keeps lines that the store refused for good; rejects when they could not be kept (then it is tried again). */
  readonly setAside: (lines: Uint8Array, error: AnalyticsError) => Promise<void>;
  /** Told of each failed attempt (an error), and of the first that works after one (undefined). */
  readonly onAttempt?: (error: AnalyticsError | undefined) => void;
  /** Waits before another attempt. Replaced by tests. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random?: () => number;
}

export interface StoreWriterStats {
  /** Lines that the store confirmed. */
  readonly lines: number;
  readonly bytes: number;
  readonly requests: number;
  /** Lines set aside. */
  readonly refused: number;
}

/** What one write came to. */
export interface WriteResult {
  /** All of it. */
  readonly lines: number;
  /** Of these, set aside in whole or in part (of all that shared a request with them), with the first reason. */
  readonly refused: number;
  readonly error?: AnalyticsError;
}

interface Write {
  lines: number;
  refused: number;
  error: AnalyticsError | undefined;
  /** Bodies that hold lines of it, and 1 while it is being encoded. */
  open: number;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: unknown) => void;
}

interface Body extends LineBody {
  readonly writes: readonly Write[];
}

/** Writes to one store. Make one for each sink, and close it. */
export class StoreWriter {
  readonly #options: StoreWriterOptions;
  readonly #abort = new AbortController();
  readonly #bodies: Body[] = [];
  readonly #stats = { lines: 0, bytes: 0, requests: 0, refused: 0 };
  #buffer: LineBuffer;
  #writes = new Set<Write>();
  #encoding: Promise<void> = Promise.resolve();
  #sending = false;
  #failing = false;
  #wakeup: (() => void) | undefined;

  constructor(options: StoreWriterOptions) {
    this.#options = options;
    this.#buffer = new LineBuffer(options);
  }

  get stats(): StoreWriterStats {
    return { ...this.#stats };
  }

  /**
   * Stores tables; resolves when every line is confirmed or set aside.
   *
   * @throws {AnalyticsError} ERR_STORE_CLOSED when the writer is closed before.
   */
  write(tables: readonly ReadingTable[]): Promise<WriteResult> {
    return new Promise((resolve, reject) => {
      const write: Write = { lines: 0, refused: 0, error: undefined, open: 1, resolve, reject };
      this.#encoding = this.#encoding.then(() => this.#encode(write, tables)).catch(reject);
    });
  }

  /** Gives up what is not yet stored; those writes reject with ERR_STORE_CLOSED. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#wakeup?.();
    const error = closedError();
    for (const { writes } of this.#bodies.splice(0)) for (const w of writes) w.reject(error);
    for (const write of this.#writes) write.reject(error);
    await this.#encoding;
  }

  async #encode(write: Write, tables: readonly ReadingTable[]): Promise<void> {
    for (const table of tables) {
      let instant = 0;
      while (instant < table.timesMs.length) {
        if (this.#abort.signal.aborted) throw closedError();
        const before = this.#buffer.lines;
        try {
          instant = this.#buffer.append(table, instant);
        } catch (error) {
          if (!(error instanceof AnalyticsError)) throw error;
          await this.#refuseTable(write, table, error);
          break;
        }
        const added = this.#buffer.lines - before;
        if (added > 0 && !this.#writes.has(write)) {
          this.#writes.add(write);
          write.open++;
        }
        write.lines += added;
        if (instant < table.timesMs.length) await this.#closeBody();
      }
    }
    this.#finish(write, 1);
    // Without a request in flight there is nothing to wait for; else more may join this body.
    if (!this.#sending && this.#bodies.length === 0) await this.#closeBody();
  }

  /** A table that line protocol cannot hold: kept as text, counted, and the others go on. */
  async #refuseTable(write: Write, table: ReadingTable, error: AnalyticsError): Promise<void> {
    const { profile, device, timesMs } = table;
    const text = `# ${JSON.stringify({ profile, device, instants: timesMs.length })}\n`;
    await this.#keep(Buffer.from(text), error);
    write.lines += timesMs.length;
    this.#refused([write], timesMs.length, error);
  }

  async #closeBody(): Promise<void> {
    this.#takeBody();
    void this.#send();
    while (this.#bodies.length > MAX_WAITING_BODIES && !this.#abort.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wakeup = resolve;
      });
    }
  }

  #takeBody(): void {
    const { lines, lineStarts: starts } = this.#buffer;
    if (lines === 0) return;
    this.#bodies.push({ bytes: this.#buffer.take(), starts, writes: [...this.#writes] });
    this.#writes = new Set();
  }

  async #send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (;;) {
        if (this.#bodies.length === 0) this.#takeBody();
        const body = this.#bodies.shift();
        if (body === undefined || this.#abort.signal.aborted) {
          if (body !== undefined) for (const w of body.writes) w.reject(closedError());
          return;
        }
        this.#wakeup?.();
        try {
          const { refused, error } = await storeLines(body, {
            attempt: (lines) => this.#attempts(lines),
            keep: (lines, reason) => this.#keep(lines, reason),
          });
          if (error !== undefined) this.#refused(body.writes, refused, error);
          this.#stats.lines += body.starts.length - refused;
          for (const write of body.writes) this.#finish(write, 1);
        } catch (error) {
          for (const write of body.writes) write.reject(error);
        }
      }
    } finally {
      this.#sending = false;
    }
  }

  /** Tries until the store answers for good: undefined when all is stored, else the refusal. */
  async #attempts(bytes: Uint8Array): Promise<AnalyticsError | undefined> {
    const { sink, sleep = sleepMs, random = Math.random, onAttempt } = this.#options;
    const { signal } = this.#abort;
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        this.#stats.requests++;
        await sink(bytes, signal);
        this.#stats.bytes += bytes.length;
        if (this.#failing) onAttempt?.(undefined);
        this.#failing = false;
        return undefined;
      } catch (error) {
        if (signal.aborted) break;
        const known = asStoreError(error);
        if (!isWorthRetrying(known)) return known;
        this.#failing = true;
        onAttempt?.(known);
        const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** failures, MAX_BACKOFF_MS);
        await sleep(backoff * (0.5 + random() / 2), signal);
      }
    }
    throw closedError();
  }

  /** Sets lines aside; while that fails, nothing goes on. */
  async #keep(lines: Uint8Array, error: AnalyticsError): Promise<void> {
    const { setAside, sleep = sleepMs, onAttempt } = this.#options;
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        return await setAside(lines, error);
      } catch (cause) {
        onAttempt?.(asStoreError(cause));
        await sleep(MAX_BACKOFF_MS, signal);
      }
    }
    throw closedError();
  }

  #refused(writes: readonly Write[], lines: number, error: AnalyticsError): void {
    this.#stats.refused += lines;
    for (const write of writes) {
      write.refused += lines;
      write.error ??= error;
    }
  }

  #finish(write: Write, parts: number): void {
    write.open -= parts;
    if (write.open > 0) return;
    const { lines, refused, error } = write;
    write.resolve({ lines, refused, ...(error === undefined ? {} : { error }) });
  }
}

function asStoreError(error: unknown): AnalyticsError {
  if (error instanceof AnalyticsError) return error;
  const { message } = error as Error;
  return new AnalyticsError('ERR_STORE_UNAVAILABLE', `store: ${message}`, { cause: error });
}

function closedError(): AnalyticsError {
  return new AnalyticsError('ERR_STORE_CLOSED', 'store writer: expected open, got closed');
}
