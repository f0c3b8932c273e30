/**
 * Windows over a projection, behind a window node or `fieldproof project`: those of `window-parts.ts`, which entries
 * are in them, and the rows that are not yet stored, durable in a snapshot and a journal
 * (docs/decisions/005-windows-and-acknowledgements.md).
 *
 * A batch is acknowledged when the state with it is on the disk; a repeated entry is skipped. Rows stay in the state
 * until every store behind the window has acknowledged them, and are sent again until then. So a crash at any instant
 * neither loses a contribution nor counts one twice.
 */
import type { ReadingTable } from '@fieldproof/compute/readings';
import type { WindowOptions, WindowRow } from '@fieldproof/compute/window';
import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import { AnalyticsError } from '../errors.ts';
import type { MicroBatch } from './batcher.ts';
import { StateJournal } from './state-journal.ts';
import { stateWriteError } from './state-write-error.ts';
import { type PartChanges, PLAIN, type PlainParts, WindowParts } from './window-parts.ts';

/** Between two writes of the state, unless told otherwise. */
const SAVE_MS = 250;
/** The state is not written whole again before so many times what that took last: batches wait for it meanwhile. */
const WHOLE_REST = 5;
/** After one that failed. */
const RETRY_MS = 1000;
const MAX_UNSTORED_ROWS = 200_000;
/** Remembered of a stream. One that was forgotten and comes again has the evidence read again. */
const MAX_GENERATIONS = 64;

/** What a window needs of a micro-batch. */
export interface WindowBatch extends Pick<MicroBatch, 'tables' | 'settled' | 'atMs'> {
  /** Which sequence of entries the indexes belong to. */
  readonly stream: string;
  /**
   * Another one when the stream is read anew from its beginning, because it is another one from somewhere on; '' until
   * that has happened. Several readers of a stream may have different ones at a time.
   */
  readonly generation?: string;
  /** For each table the index of its entry; undefined where there are no entries behind it. */
  readonly entryIndexes: readonly number[] | undefined;
}

/** Rows that were emitted together. */
export interface RowGroup {
  readonly id: number;
  readonly rows: readonly WindowRow[];
}

export interface WindowServiceOptions extends WindowOptions {
  readonly path: string;
  /** Rows that wait for a store, above which nothing more is taken in. Default 200,000. */
  readonly maxUnstoredRows?: number | undefined;
  /** Between two writes of the state. Default 250. */
  readonly saveMs?: number;
  readonly clock: () => number;
  readonly log: (error: Error) => void;
}

/** Of a stream: which entries are in the windows, and the generations that were met, newest last. */
type Applied = readonly [
  stream: string,
  ranges: readonly Interval[],
  generations: readonly string[],
];

interface Saved {
  readonly windows: PlainParts;
  readonly applied: readonly Applied[];
  readonly unstored: readonly RowGroup[];
  readonly nextId: number;
  /** The evidence is to be read again from entry 0, and that is not yet certain to happen. */
  readonly needsReplay?: boolean;
}

/** What has changed since the change before; it may be applied to a state that has it. */
interface Change {
  readonly windows: PartChanges;
  readonly applied: readonly Applied[];
  readonly emitted: readonly RowGroup[];
  readonly stored: readonly number[];
  readonly nextId: number;
  readonly needsReplay?: boolean;
}

export class WindowService {
  readonly #options: WindowServiceOptions;
  readonly #journal: StateJournal;
  #windows: WindowParts;
  readonly #applied = new Map<string, IntervalSet>();
  readonly #generations = new Map<string, readonly string[]>();
  #unstored: RowGroup[] = [];
  /** Batches that wait for room in `#unstored`. */
  #waiting: (() => void)[] = [];
  #nextId = 1;
  /** Groups below it are on the disk. */
  #durableId = 1;
  /** Told whether what was there when they were added is on the disk. */
  #durable: ((isDurable: boolean) => void)[] = [];
  #isClosed = false;
  #isDirty = false;
  #saving: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** A long journal is made a whole state not before, ms of the process. */
  #wholeMs = 0;
  #tooLate = 0;
  #needsReplay = false;
  /** Files were damaged: a whole state is written before anything follows them. */
  #isDamaged = false;
  #problem: AnalyticsError | undefined;

  /** Since the last change that was saved. */
  #emitted: RowGroup[] = [];
  #stored: number[] = [];

  private constructor(options: WindowServiceOptions, journal: StateJournal) {
    this.#options = options;
    this.#journal = journal;
    this.#windows = new WindowParts(options);
  }

  /**
   * Opens the state, or begins without one. Of a state with another window length, windows that have ended are emitted.
   *
   * @throws {AnalyticsError} ERR_STATE_WRITE when a state of another release cannot be kept aside.
   */
  static async open(options: WindowServiceOptions): Promise<WindowService> {
    const { path, log } = options;
    const loaded = await StateJournal.load(path).catch((error: unknown) => {
      throw stateWriteError(path, error);
    });
    const { journal, state, changes, problems, otherFormat } = loaded;
    for (const problem of problems) log(new AnalyticsError('ERR_WINDOW_STATE', problem));
    if (otherFormat !== undefined) log(new AnalyticsError('ERR_WINDOW_STATE_FORMAT', otherFormat));
    const service = new WindowService(options, journal);
    if (state !== undefined) service.#restore(state as Saved, changes as readonly Change[]);
    service.#isDamaged = problems.length > 0;
    if (service.#isDamaged || otherFormat !== undefined) service.#needsReplay = true;
    return service;
  }

  /**
   * Something of the state was damaged or is of another release, and may be older than what was acknowledged: the evidence has to be read again
   * from entry 0. What this state holds is skipped then. No windows are emitted until `replayed`.
   */
  get needsReplay(): boolean {
    return this.#needsReplay;
  }

  /** The evidence is read again from entry 0, and a crash does not change that any more. */
  replayed(): void {
    this.#needsReplay = false;
    this.#windows.hold(this.#options.clock());
    void this.#nextSave();
  }

  /** Why the state could not be written the last time: ERR_STATE_WRITE. What came since waits. */
  get problem(): AnalyticsError | undefined {
    return this.#problem;
  }

  /** Rows that no store has acknowledged yet, and that a crash would not take back. */
  get unstored(): readonly RowGroup[] {
    return this.#unstored.filter(({ id }) => id < this.#durableId);
  }

  /** Readings that came after their window was forgotten, since the start. */
  get tooLate(): number {
    return this.#tooLate;
  }

  get openWindows(): number {
    return this.#windows.openWindows;
  }

  /**
   * Applies the entries of a batch that are new; resolves when they are durable, with false when it was closed before.
   * While too many rows wait for a store, it waits too, so that the reading stops.
   */
  async apply(batch: WindowBatch): Promise<boolean> {
    await this.#room();
    if (this.#isClosed) return false;
    const { tables, entryIndexes, settled, stream } = batch;
    this.#meet(batch);
    let applied = this.#applied.get(stream);
    if (applied === undefined) {
      applied = new IntervalSet();
      this.#applied.set(stream, applied);
    }
    const isNew = (index: number | undefined) => index === undefined || !applied.has(index);
    const fresh = tables.filter((_, i) => isNew(entryIndexes?.[i]));
    this.#put(stream, fresh, batch.atMs);
    for (const [from, to] of settled) applied.addRange(from, to);
    return this.#nextSave();
  }

  /**
   * Applies readings that have no entry behind them; resolves as `apply`.
   *
   * @param atMs - the broker's time of the entries that they came with, Unix ms; 0 or absent for now.
   */
  async applyTables(tables: readonly ReadingTable[], atMs = 0): Promise<boolean> {
    await this.#room();
    if (this.#isClosed) return false;
    this.#put(PLAIN, tables, atMs);
    return this.#nextSave();
  }

  /**
   * Emits the windows that are due. While old evidence is being read, time is that of the evidence, so that a rebuild
   * gives the windows that there were.
   *
   * @param options.isAtEnd - nothing more is to be read now: time is the clock's.
   * @returns rows that became due; they are in `unstored` from now on.
   */
  async tick({ isAtEnd = false } = {}): Promise<RowGroup | undefined> {
    if (this.#isClosed || this.#needsReplay) return undefined;
    const rows = this.#windows.close(this.#options.clock(), isAtEnd);
    if (rows.length === 0) return undefined;
    const group = { id: this.#nextId++, rows };
    this.#unstored.push(group);
    this.#emitted.push(group);
    // A version that a store has seen must not be given out again after a crash.
    await this.#nextSave();
    return group;
  }

  /** The rows are in the store. After `close` they are sent again: another service has the file. */
  stored(id: number): void {
    if (this.#isClosed) return;
    this.#unstored = this.#unstored.filter((group) => group.id !== id);
    if (!this.#isFull) for (const go of this.#waiting.splice(0)) go();
    this.#stored.push(id);
    void this.#nextSave();
  }

  /** Makes the state durable and ends. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const go of this.#waiting.splice(0)) go();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      await this.#saving;
      if (this.#isDirty) await this.#save();
    } finally {
      for (const resolve of this.#durable.splice(0)) resolve(false);
      await this.#journal.close();
    }
  }

  get #isFull(): boolean {
    const { maxUnstoredRows = MAX_UNSTORED_ROWS } = this.#options;
    return this.#unstored.reduce((sum, { rows }) => sum + rows.length, 0) >= maxUnstoredRows;
  }

  get #saveMs(): number {
    return this.#options.saveMs ?? SAVE_MS;
  }

  async #room(): Promise<void> {
    while (this.#isFull && !this.#isClosed) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /**
   * A generation that was never met: the entries so far are not those of the log any more, and its windows are made
   * again of all that it holds. Its reader begins at entry 0; one that is past that was not heard when it did.
   */
  #meet({ stream, generation = '', settled }: WindowBatch): void {
    const met = this.#generations.get(stream) ?? [];
    if (generation === '' || met.includes(generation)) return;
    this.#generations.set(stream, [...met, generation].slice(-MAX_GENERATIONS));
    if (!this.#applied.has(stream)) return;
    this.#applied.delete(stream);
    this.#windows.forget(stream);
    if (settled[0]?.[0] !== 0) this.#needsReplay = true;
  }

  #put(stream: string, tables: readonly ReadingTable[], atMs: number): void {
    const nowMs = this.#options.clock();
    this.#tooLate += this.#windows.apply(stream, tables, { atMs, nowMs });
  }

  #nextSave(): Promise<boolean> {
    this.#isDirty = true;
    this.#schedule(this.#saveMs);
    return new Promise((resolve) => this.#durable.push(resolve));
  }

  #schedule(waitMs: number): void {
    if (this.#timer !== undefined || this.#saving !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const before = this.#problem;
      this.#saving = this.#save()
        .catch((error: Error) => {
          if (error.message !== before?.message) this.#options.log(error);
        })
        .finally(() => {
          this.#saving = undefined;
          if (this.#isDirty) this.#schedule(this.#problem === undefined ? this.#saveMs : RETRY_MS);
        });
    }, waitMs);
  }

  async #save(): Promise<void> {
    const waiting = this.#durable;
    const nextId = this.#nextId;
    this.#durable = [];
    this.#isDirty = false;
    try {
      if (this.#journal.hasSnapshot && !this.#isDamaged) {
        await this.#journal.append(this.#takeChange());
      } else await this.#saveWhole();
      this.#isDamaged = false;
      this.#durableId = nextId;
    } catch (error) {
      this.#problem = stateWriteError(this.#options.path, error);
      this.#isDirty = true;
      this.#durable = [...waiting, ...this.#durable];
      throw this.#problem;
    }
    for (const resolve of waiting) resolve(true);
    // What has come meanwhile is in it, and in the next change too.
    try {
      if (this.#journal.isLong && performance.now() >= this.#wholeMs) await this.#saveWhole();
      this.#problem = undefined;
    } catch (error) {
      // All is durable in the journal; it is tried again.
      this.#isDirty = true;
      this.#problem = stateWriteError(this.#options.path, error);
      throw this.#problem;
    }
  }

  async #saveWhole(): Promise<void> {
    const startMs = performance.now();
    await this.#journal.replace(this.#whole());
    const endMs = performance.now();
    this.#wholeMs = endMs + WHOLE_REST * (endMs - startMs);
  }

  #whole(): Saved {
    return {
      windows: this.#windows.toPlain(),
      applied: this.#appliedRanges(),
      unstored: this.#unstored,
      nextId: this.#nextId,
      needsReplay: this.#needsReplay,
    };
  }

  #takeChange(): Change {
    const change: Change = {
      windows: this.#windows.takeChanges(),
      applied: this.#appliedRanges(),
      emitted: this.#emitted,
      stored: this.#stored,
      nextId: this.#nextId,
      needsReplay: this.#needsReplay,
    };
    this.#emitted = [];
    this.#stored = [];
    return change;
  }

  #appliedRanges(): Applied[] {
    return [...this.#applied].map(([stream, set]) => [
      ...([stream, set.ranges(), this.#generations.get(stream) ?? []] as const),
    ]);
  }

  #restore(saved: Saved, changes: readonly Change[]): void {
    const restored = { state: saved.windows, changes: changes.map(({ windows }) => windows) };
    const { clock } = this.#options;
    const { parts, ended } = WindowParts.restore(this.#options, restored, clock());
    this.#windows = parts;
    const unstored = new Map(saved.unstored.map((group) => [group.id, group]));
    for (const change of changes) {
      for (const group of change.emitted) unstored.set(group.id, group);
      for (const id of change.stored) unstored.delete(id);
    }
    const { applied, nextId, needsReplay = false } = changes.at(-1) ?? saved;
    this.#needsReplay = needsReplay;
    this.#unstored = [...unstored.values()];
    this.#nextId = nextId;
    for (const [stream, ranges, generations] of applied) {
      this.#applied.set(stream, IntervalSet.from(ranges));
      this.#generations.set(stream, generations);
    }
    if (ended.length > 0) {
      const group = { id: this.#nextId++, rows: ended };
      this.#unstored.push(group);
      this.#emitted.push(group);
    }
    this.#durableId = this.#nextId;
  }
}
