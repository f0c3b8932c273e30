/**
 * A projection: the tail of the evidence log, projected, in micro-batches that consumers acknowledge, with a durable
 * cursor behind them. This is the shell around `projector.ts` and `batcher.ts` that has the sockets, files and timers.
 *
 * It runs until it is stopped: problems are in its status and are tried again. One projection for each cursor file.
 */
import { randomUUID } from 'node:crypto';
import type { Frame } from '@fieldproof/protocol/frame';
import { AnalyticsError } from '../errors.ts';
import { Batcher, type BatcherOptions, type MicroBatch } from './batcher.ts';
import { type Cursor, loadCursor, saveCursor } from './cursor-file.ts';
import { appendBatch } from './dead-letters.ts';
import { logIdOf, type Outcome, project } from './projector.ts';
import {
  applyChange,
  dumpState,
  emptyState,
  type ProjectorState,
  restoreState,
} from './projector-state.ts';
import { stateWriteError } from './state-write-error.ts';
import { entryHash, readEntry, sleepMs, type TailSource, tail } from './tail-client.ts';

/** Between two writes of the cursor file, which holds the state of a whole fleet. */
const SAVE_INTERVAL_MS = 200;
/** After one that failed. */
const SAVE_RETRY_MS = 1000;
/** Before another attempt after an error that does not pass by itself. */
const RETRY_MS = 15_000;
/** A log that goes back again so soon after is read anew with a pause. */
const FORK_REST_MS = 60_000;
const DEFAULT_TICK_MS = 1000;

export interface ProjectionOptions extends TailSource {
  readonly cursorPath: string;
  /** Frames of batches that nobody acknowledged. */
  readonly deadLetterPath: string;
  /** False reads to the present end of the log and no further; `isAtEnd` says when. Default true. */
  readonly live?: boolean;
  /** Of micro-batches, see BatcherOptions. */
  readonly limits?: Pick<
    BatcherOptions,
    'maxLines' | 'maxBytes' | 'idleMs' | 'maxAgeMs' | 'maxUnacknowledged' | 'resendMs' | 'maxTries'
  >;
  /** Gives a batch to its consumers; again when it is sent again. */
  readonly send: (batch: MicroBatch) => void;
  /** Nobody needs the batch any more. */
  readonly onDone?: (id: number) => void;
  /** Something in the status changed. */
  readonly onStatus?: () => void;
  /** For the log: what went wrong; nothing is thrown away because of it that the status does not count. */
  readonly onProblem?: (error: Error) => void;
  /** Unix ms. */
  readonly clock?: () => number;
  /** Between two looks at what is overdue. Default 1 s. */
  readonly tickMs?: number;
}

export interface ProjectionStatus {
  readonly connected: boolean;
  /** Index of the next entry to read. */
  readonly nextIndex: number;
  /** Index of the first entry that is not put away. */
  readonly cursorIndex: number;
  /** The broker's time of the newest entry that was read, Unix ms. */
  readonly lastEntryMs: number | undefined;
  /** The broker's time of the oldest entry that was read and is not put away, Unix ms. */
  readonly oldestUnstoredMs: number | undefined;
  /** With `live: false`: everything was read; it may not be put away yet. */
  readonly isAtEnd: boolean;
  readonly unacknowledged: number;
  /** Of these, sent again because some consumer did not take them: something in the flow may keep them. */
  readonly ignored: number;
  readonly consumers: number;
  /** Since the start. */
  readonly readings: number;
  readonly deadLetters: number;
  readonly erased: number;
  /** By code. */
  readonly unprojectable: Readonly<Record<string, number>>;
  /** Entries that wait for a time anchor, and those that no longer do because they are too many. */
  readonly waiting: number;
  readonly droppedWaiting: number;
  readonly problem: AnalyticsError | undefined;
}

/** Reads ahead of its cursor by at most eight batches. */
export class Projection {
  readonly #options: ProjectionOptions;
  readonly #clock: () => number;
  readonly #abort = new AbortController();
  readonly #unprojectable: Record<string, number> = {};
  #batcher: Batcher | undefined;
  #consumers: readonly string[] = [];
  #head: ProjectorState | undefined;
  #durable: Durable | undefined;
  /** SHA-256 of the entry before `#nextIndex` in hex, or that entry. */
  #before: string | Uint8Array | undefined;
  #running: Promise<void> | undefined;
  #saving: Promise<void> | undefined;
  /** Ends when the cursor file is written, or that has failed; never rejects. */
  #writing: Promise<void> = Promise.resolve();
  #savedIndex = -1;
  #savedMs = 0;
  #nextIndex = 0;
  #connected = false;
  #isAtEnd = false;
  #problem: AnalyticsError | undefined;
  #lastEntryMs: number | undefined;
  #counts = { readings: 0, deadLetters: 0, erased: 0 };
  #flushTimer: NodeJS.Timeout | undefined;
  #tickTimer: NodeJS.Timeout | undefined;
  #saveTimer: NodeJS.Timeout | undefined;
  #resume: (() => void) | undefined;
  /** Ends the reading of the tail, to begin elsewhere. */
  #reading = new AbortController();
  #rewinding: Rewinding | undefined;
  /** When the log was last found to have gone back. */
  #forkedMs = Number.NEGATIVE_INFINITY;
  /** Why the cursor file or the dead letters could not be written the last time. */
  #unsaved: AnalyticsError | undefined;

  constructor(options: ProjectionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? Date.now;
  }

  get status(): ProjectionStatus {
    const { waiting = 0, dropped = 0 } = this.#head ?? {};
    return {
      connected: this.#connected,
      nextIndex: this.#nextIndex,
      cursorIndex: this.#durable?.index ?? 0,
      lastEntryMs: this.#lastEntryMs,
      oldestUnstoredMs: this.#batcher?.oldestMs,
      isAtEnd: this.#isAtEnd,
      unacknowledged: this.#batcher?.unacknowledged ?? 0,
      ignored: this.#batcher?.ignored ?? 0,
      consumers: this.#consumers.length,
      ...this.#counts,
      unprojectable: { ...this.#unprojectable },
      waiting,
      droppedWaiting: dropped,
      problem: this.#problem ?? this.#unsaved,
    };
  }

  /** SHA-256 of the log's entry 0 in hex, once that is known. */
  get logId(): string | undefined {
    return this.#head?.logId;
  }

  /**
   * Another one when the log had gone back and is read anew: what was made of its entries before counts no more. '' until
   * that has happened. Drawn at random, so that no other reader of the same log, nor this one without its cursor, has
   * the same one for another reading.
   */
  get generation(): string {
    return this.#durable?.generation ?? '';
  }

  /** Begins to read at the cursor. Call once. */
  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Reads the log from entry 0 again, for a consumer that lost what it had acknowledged; the others meet repeats. With
   * `live: false`, call it before `start`.
   *
   * @returns when a crash would not undo it; false when it was stopped before.
   */
  rewind(): Promise<boolean> {
    if (this.#abort.signal.aborted) return Promise.resolve(false);
    if (this.#rewinding === undefined) {
      let end: (isDone: boolean) => void = () => {};
      const done = new Promise<boolean>((resolve) => {
        end = resolve;
      });
      this.#rewinding = { done, end };
      this.#reading.abort();
      this.#wake();
    }
    return this.#rewinding.done;
  }

  /** Stops reading and makes the cursor durable. What is not acknowledged comes again at the next start. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#wake();
    clearTimeout(this.#flushTimer);
    clearTimeout(this.#saveTimer);
    await this.#running;
    this.#rewinding?.end(false);
    // It begins when the cursor is read, which may be after the call.
    clearInterval(this.#tickTimer);
    await this.#saving;
    if (this.#durable !== undefined) await this.#save(this.#durable);
  }

  /** Who has to acknowledge batches. */
  setConsumers(consumers: readonly string[]): void {
    this.#consumers = [...consumers];
    this.#batcher?.setConsumers(consumers);
    this.#wake();
  }

  /** See {@link Batcher.take}. */
  take(id: number, consumer: string): boolean {
    return this.#batcher?.take(id, consumer) ?? false;
  }

  /** See {@link Batcher.acknowledge}. */
  acknowledge(id: number, consumer: string): void {
    this.#batcher?.acknowledge(id, consumer);
    this.#wake();
  }

  /** See {@link Batcher.letGo}. */
  letGo(id: number, consumer: string): void {
    this.#batcher?.letGo(id, consumer);
  }

  /** See {@link Batcher.forgetConsumer}. */
  forgetConsumer(consumer: string): void {
    this.#batcher?.forgetConsumer(consumer, this.#clock());
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    try {
      await this.#open();
    } catch (error) {
      this.#report(asAnalyticsError(error));
      return;
    }
    while (!signal.aborted) {
      let isReading = false;
      try {
        if (this.#rewinding !== undefined) await this.#rewind(this.#rewinding);
        this.#reading = new AbortController();
        const reading = AbortSignal.any([signal, this.#reading.signal]);
        await this.#checkLog();
        isReading = true;
        const before = this.#before;
        const frames = tail({
          ...this.#options,
          from: this.#nextIndex,
          before: before instanceof Uint8Array ? entryHash({ entry: before }) : before,
          signal: reading,
          onConnection: (error) => this.#connection(error),
        });
        for await (const group of frames) {
          for (const frame of group) await this.#take(frame);
          this.#options.onStatus?.();
        }
        if (this.#options.live === false && !reading.aborted) {
          this.#isAtEnd = true;
          this.#options.onStatus?.();
          return;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (this.#reading.signal.aborted) continue;
        const known = asAnalyticsError(error);
        const isShort = isReading && known.code === 'ERR_TAIL_RANGE';
        this.#connection(isShort ? goneBack(known) : known);
        if (isShort || known.code === 'ERR_TAIL_FORKED') await this.#forked();
        else await sleepMs(RETRY_MS, AbortSignal.any([signal, this.#reading.signal]));
      }
    }
  }

  async #open(): Promise<void> {
    const { problems, ...cursor } = await loadCursor(this.#options.cursorPath);
    for (const problem of problems) this.#report(problem);
    this.#beginAt(cursor, 1);
    this.#savedIndex = cursor.index;
    this.#tickTimer = setInterval(() => this.#tick(), this.#options.tickMs ?? DEFAULT_TICK_MS);
  }

  /**
   * The log no longer holds what was read: reads it from entry 0 again, which only repeats writes. Once more soon after
   * it is not one log that answers, and reading all of it at full speed helps nobody.
   */
  async #forked(): Promise<void> {
    const signal = AbortSignal.any([this.#abort.signal, this.#reading.signal]);
    const sinceMs = performance.now() - this.#forkedMs;
    if (sinceMs < FORK_REST_MS) await sleepMs(RETRY_MS, signal);
    if (signal.aborted) return;
    this.#forkedMs = performance.now();
    await this.#beginAgain({ index: 0, state: emptyState(), generation: randomUUID() });
  }

  /** The log is as it was: from entry 0 again, of the same log and generation. */
  async #rewind(rewinding: Rewinding): Promise<void> {
    const { logId } = this.#head!;
    const { generation } = this;
    await this.#beginAgain({ index: 0, state: { ...emptyState(), logId }, generation });
    this.#rewinding = undefined;
    rewinding.end(this.#savedIndex !== -1);
  }

  async #beginAgain(cursor: Cursor): Promise<void> {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    // From here on acknowledgements of what was read move no cursor.
    const nextId = this.#batcher!.abandon();
    this.#beginAt(cursor, nextId);
    this.#savedIndex = -1;
    // Before anything is sent: a crash must not forget it.
    await this.#save(this.#durable!);
    while (this.#savedIndex === -1 && !this.#abort.signal.aborted) {
      await sleepMs(SAVE_RETRY_MS, this.#abort.signal);
      await this.#save(this.#durable!);
    }
  }

  #beginAt(cursor: Cursor, nextId: number): void {
    const { deadLetterPath, limits, send } = this.#options;
    const { index, state, before, generation = '' } = cursor;
    const durable: Durable = { index, state, before, generation };
    this.#durable = durable;
    this.#head = restoreState(dumpState(state));
    this.#nextIndex = index;
    this.#before = before;
    const options: BatcherOptions = {
      ...limits,
      send,
      onDone: this.#options.onDone ?? (() => {}),
      advance: (toIndex, changes, entry) => {
        if (durable !== this.#durable) return;
        for (const change of changes) applyChange(durable.state, change);
        durable.index = toIndex;
        durable.before = entry;
        this.#wake();
        this.#saveSoon(durable);
      },
      setAside: async (letter) => {
        const onDamaged = (error: AnalyticsError) => this.#options.onProblem?.(error);
        await appendBatch(deadLetterPath, letter, onDamaged).catch((error: unknown) => {
          throw this.#notWritten(stateWriteError(deadLetterPath, error));
        });
        this.#counts.deadLetters++;
        this.#options.onProblem?.(
          new AnalyticsError(
            'ERR_BATCH_SET_ASIDE',
            `entries ${letter.batch.fromIndex} to ${letter.batch.toIndex - 1}: set aside after ${letter.tries} tries, not acknowledged by ${letter.missing.join(', ')}`,
          ),
        );
        this.#options.onStatus?.();
      },
    };
    this.#batcher = new Batcher(index, options, nextId);
    this.#batcher.setConsumers(this.#consumers);
  }

  /** A cursor means nothing in another log. */
  async #checkLog(): Promise<void> {
    const known = this.#head?.logId;
    if (known === undefined) return;
    const found = logIdOf(await readEntry(this.#options, 0, this.#abort.signal));
    if (found === known) return;
    throw new AnalyticsError(
      'ERR_TAIL_OTHER_LOG',
      `log: expected the one whose entry 0 has SHA-256 ${known.slice(0, 16)}…, got ${found.slice(0, 16)}…`,
    );
  }

  async #take(frame: Frame): Promise<void> {
    const state = this.#head!;
    const { outcome, changes, released, atMs } = project(frame, state);
    for (const change of changes) applyChange(state, change);
    if (atMs !== undefined) this.#lastEntryMs = atMs;
    this.#count(outcome);
    for (const index of released) await this.#takeReleased(index, frame);
    await this.#add({
      frame,
      tables: outcome.type === 'readings' ? outcome.tables : [],
      changes,
      nextIndex: frame.index + 1,
      before: frame.entry,
      atMs,
      settled: outcome.type !== 'waiting',
    });
    this.#nextIndex = frame.index + 1;
    this.#before = frame.entry;
  }

  /** An entry that waited for the anchor: it is stored before the cursor passes the anchor. */
  async #takeReleased(index: number, anchor: Frame): Promise<void> {
    const frame = await this.#reread(index);
    if (frame === undefined) return;
    const { outcome } = project(frame, this.#head!);
    this.#count(outcome);
    const tables = outcome.type === 'readings' ? outcome.tables : [];
    await this.#add({
      frame,
      tables,
      changes: [],
      nextIndex: anchor.index,
      before: this.#before,
      atMs: undefined,
      settled: true,
    });
  }

  async #reread(index: number): Promise<Frame | undefined> {
    const signal = AbortSignal.any([this.#abort.signal, this.#reading.signal]);
    for (;;) {
      try {
        return await readEntry(this.#options, index, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        const known = asAnalyticsError(error);
        this.#report(known);
        if (known.code === 'ERR_TAIL_RANGE') {
          // Its segment is no longer kept.
          this.#count({ type: 'unprojectable', code: known.code, message: known.message });
          return undefined;
        }
        await sleepMs(1000, signal);
      }
    }
  }

  async #add(item: Parameters<Batcher['add']>[0]): Promise<void> {
    const batcher = this.#batcher!;
    while (batcher.isFull) {
      await new Promise<void>((resolve) => {
        this.#resume = resolve;
      });
      this.#abort.signal.throwIfAborted();
      this.#reading.signal.throwIfAborted();
    }
    batcher.add(item, this.#clock());
    if (batcher.isOpen && this.#flushTimer === undefined) this.#flushSoon();
  }

  #flushSoon(): void {
    this.#flushTimer = setTimeout(() => {
      this.#flushTimer = undefined;
      this.#tick();
      if (this.#batcher?.isOpen) this.#flushSoon();
    }, this.#options.limits?.idleMs ?? 20);
  }

  #tick(): void {
    if (this.#abort.signal.aborted) return;
    this.#batcher?.tick(this.#clock());
    this.#wake();
  }

  #wake(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  #saveSoon(durable: Durable): void {
    if (this.#saveTimer !== undefined || this.#saving !== undefined) return;
    if (this.#abort.signal.aborted) return;
    const wait = Math.max(0, this.#savedMs + SAVE_INTERVAL_MS - performance.now());
    this.#saveTimer = setTimeout(() => {
      this.#saveTimer = undefined;
      this.#saving = this.#save(durable).finally(() => {
        this.#saving = undefined;
        const latest = this.#durable!;
        if (latest.index !== this.#savedIndex) this.#saveSoon(latest);
      });
    }, wait);
  }

  /** One after the other: they share a temporary file. */
  #save(durable: Durable): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write(durable));
    return this.#writing;
  }

  async #write(durable: Durable): Promise<void> {
    const { index, before } = durable;
    if (durable !== this.#durable || index === this.#savedIndex) return;
    const hash = before instanceof Uint8Array ? entryHash({ entry: before }) : before;
    const cursor: Cursor = { ...durable, before: hash };
    this.#savedMs = performance.now();
    try {
      await saveCursor(this.#options.cursorPath, cursor);
      // Of what was given up meanwhile: the cursor that took its place is written next.
      if (durable === this.#durable) this.#savedIndex = index;
      this.#unsaved = undefined;
      this.#options.onStatus?.();
    } catch (error) {
      this.#notWritten(stateWriteError(this.#options.cursorPath, error));
      this.#savedMs += SAVE_RETRY_MS;
    }
  }

  #notWritten(error: AnalyticsError): AnalyticsError {
    const isNew = this.#unsaved?.message !== error.message;
    this.#unsaved = error;
    if (isNew) this.#options.onProblem?.(error);
    this.#options.onStatus?.();
    return error;
  }

  #count(outcome: Outcome): void {
    if (outcome.type === 'erased') this.#counts.erased++;
    else if (outcome.type === 'unprojectable') {
      this.#unprojectable[outcome.code] = (this.#unprojectable[outcome.code] ?? 0) + 1;
    } else if (outcome.type === 'readings') {
      for (const { columns, timesMs } of outcome.tables) {
        this.#counts.readings += columns.length * timesMs.length;
      }
    }
  }

  #connection(error: AnalyticsError | undefined): void {
    this.#connected = error === undefined;
    if (error === undefined) this.#problem = undefined;
    else this.#report(error);
    this.#options.onStatus?.();
  }

  #report(error: AnalyticsError): void {
    const isNew = this.#problem?.message !== error.message;
    this.#problem = error;
    if (isNew) this.#options.onProblem?.(error);
  }
}

/** A wish to read from entry 0 again, and who waits for it. */
interface Rewinding {
  readonly done: Promise<boolean>;
  readonly end: (isDone: boolean) => void;
}

/** What the cursor file says, or will say. */
interface Durable {
  index: number;
  readonly state: ProjectorState;
  /** The entry before `index`, or its SHA-256 in hex as the cursor file had it. */
  before: string | Uint8Array | undefined;
  readonly generation: string;
}

function goneBack(cause: AnalyticsError): AnalyticsError {
  const message = `log: expected it to go on where it was read, got its end: ${cause.message}`;
  return new AnalyticsError('ERR_TAIL_FORKED', message, { cause });
}

function asAnalyticsError(error: unknown): AnalyticsError {
  if (error instanceof AnalyticsError) return error;
  const { message } = error as Error;
  return new AnalyticsError('ERR_TAIL_UNAVAILABLE', `projection: ${message}`, { cause: error });
}
