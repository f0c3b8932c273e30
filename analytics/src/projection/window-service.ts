/**
 * Windows over a projection, behind a window node or `fieldproof project`: those of `@fieldproof/compute/window`, which
 * entries are in them, and the rows that are not yet stored, durable in one file
 * (docs/decisions/005-windows-and-acknowledgements.md).
 *
 * A batch is acknowledged when the state with it is on the disk; a repeated entry is skipped. Rows stay in the state
 * until every store behind the window has acknowledged them, and are sent again until then. So a crash at any instant
 * neither loses a contribution nor counts one twice.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { ReadingTable } from '@fieldproof/compute/readings';
import {
  applyTable,
  closeWindows,
  createWindowState,
  type WindowOptions,
  type WindowRow,
  type WindowState,
} from '@fieldproof/compute/window';
import {
  type PlainWindowState,
  windowStateFromPlain,
  windowStateToPlain,
} from '@fieldproof/compute/window-plain';
import { crc32c } from '@fieldproof/protocol/crc32c';
import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import { Decoder, Encoder } from 'cbor-x';
import { AnalyticsError } from '../errors.ts';
import type { MicroBatch } from './batcher.ts';

/** Between two writes of the state; longer when a write takes long. */
const SAVE_MS = 250;
/** A batch that came so recently says how far behind the reading is. */
const CATCHING_UP_MS = 5000;
const MAX_UNSTORED_ROWS = 200_000;
const encoder = new Encoder({ useRecords: false, mapsAsObjects: true });
const decoder = new Decoder({ useRecords: false, mapsAsObjects: true });

/** What a window needs of a micro-batch. */
export interface WindowBatch extends Pick<MicroBatch, 'tables' | 'settled' | 'atMs'> {
  /** Which sequence of entries the indexes belong to. */
  readonly stream: string;
  /** Greater than before when the stream is read anew from its beginning, as another log. Default 0. */
  readonly turn?: number;
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
  readonly clock: () => number;
  readonly log: (error: Error) => void;
}

interface Saved {
  readonly format: 1;
  readonly windows: PlainWindowState;
  readonly applied: readonly (readonly [string, readonly Interval[], number?])[];
  readonly unstored: readonly RowGroup[];
  readonly nextId: number;
}

export class WindowService {
  readonly #options: WindowServiceOptions;
  #windows: WindowState;
  #applied = new Map<string, IntervalSet>();
  readonly #turns = new Map<string, number>();
  #unstored: RowGroup[] = [];
  /** Batches that wait for room in `#unstored`. */
  #waiting: (() => void)[] = [];
  #nextId = 1;
  /** Told whether what was there when they were added is on the disk. */
  #durable: ((isDurable: boolean) => void)[] = [];
  #isClosed = false;
  #isDirty = false;
  #saving: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lagMs = 0;
  #batchMs = Number.NEGATIVE_INFINITY;
  /** How far the evidence has come, Unix ms. Nothing is forgotten by a clock that ran while no evidence came. */
  #seenMs = Number.NEGATIVE_INFINITY;
  #tooLate = 0;

  private constructor(options: WindowServiceOptions) {
    this.#options = options;
    this.#windows = createWindowState(options);
  }

  /** Opens the state file, or begins without one. Of a state with another window length, windows that have ended are emitted. */
  static async open(options: WindowServiceOptions): Promise<WindowService> {
    const service = new WindowService(options);
    for (const path of [options.path, `${options.path}.previous`]) {
      try {
        service.#restore(decodeState(await readFile(path)));
        return service;
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') continue;
        const message = `${path}: ${(cause as Error).message}`;
        options.log(new AnalyticsError('ERR_WINDOW_STATE', message, { cause }));
      }
    }
    return service;
  }

  /** Rows that no store has acknowledged yet. */
  get unstored(): readonly RowGroup[] {
    return this.#unstored;
  }

  /** Readings that came after their window was forgotten, since the start. */
  get tooLate(): number {
    return this.#tooLate;
  }

  get openWindows(): number {
    let count = 0;
    for (const { windows } of this.#windows.buckets.values()) count += windows.size;
    return count;
  }

  /**
   * Applies the entries of a batch that are new; resolves when they are durable, with false when it was closed before.
   * While too many rows wait for a store, it waits too, so that the reading stops.
   */
  async apply(batch: WindowBatch): Promise<boolean> {
    await this.#room();
    if (this.#isClosed) return false;
    const { tables, entryIndexes, settled, stream, turn = 0 } = batch;
    const known = this.#turns.get(stream) ?? 0;
    // On its way when the stream began anew.
    if (turn < known) return this.#nextSave();
    if (turn > known) this.#beginAnew(stream, turn);
    let applied = this.#applied.get(stream);
    if (applied === undefined) {
      applied = new IntervalSet();
      this.#applied.set(stream, applied);
    }
    for (const [i, table] of tables.entries()) {
      const index = entryIndexes?.[i];
      if (index !== undefined && applied.has(index)) continue;
      this.#applyTable(table);
    }
    for (const [from, to] of settled) applied.addRange(from, to);
    this.#see(batch.atMs);
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
    for (const table of tables) this.#applyTable(table);
    this.#see(atMs);
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
    if (this.#isClosed) return undefined;
    const nowMs = this.#options.clock();
    const isCatchingUp = !isAtEnd && nowMs - this.#batchMs < CATCHING_UP_MS;
    const rows = closeWindows(
      this.#windows,
      nowMs - (isCatchingUp ? this.#lagMs : 0),
      this.#seenMs,
    );
    if (rows.length === 0) return undefined;
    const group = { id: this.#nextId++, rows };
    this.#unstored.push(group);
    // A version that a store has seen must not be given out again after a crash.
    await this.#nextSave();
    return group;
  }

  /** The rows are in the store. After `close` they are sent again: another service has the file. */
  stored(id: number): void {
    if (this.#isClosed) return;
    this.#unstored = this.#unstored.filter((group) => group.id !== id);
    if (!this.#isFull) for (const go of this.#waiting.splice(0)) go();
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
    }
  }

  get #isFull(): boolean {
    const { maxUnstoredRows = MAX_UNSTORED_ROWS } = this.#options;
    return this.#unstored.reduce((sum, { rows }) => sum + rows.length, 0) >= maxUnstoredRows;
  }

  async #room(): Promise<void> {
    while (this.#isFull && !this.#isClosed) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** The entries so far are not those of the log any more: windows are made again of all that it holds. */
  #beginAnew(stream: string, turn: number): void {
    this.#turns.set(stream, turn);
    if (!this.#applied.delete(stream)) return;
    this.#windows = createWindowState(this.#options);
    this.#seenMs = Number.NEGATIVE_INFINITY;
  }

  #see(atMs: number): void {
    const nowMs = this.#options.clock();
    this.#batchMs = nowMs;
    this.#lagMs = atMs > 0 ? Math.max(0, nowMs - atMs) : 0;
    this.#seenMs = Math.max(this.#seenMs, nowMs - this.#lagMs);
  }

  #applyTable(table: ReadingTable): void {
    this.#tooLate += applyTable(this.#windows, table).tooLate;
  }

  #nextSave(): Promise<boolean> {
    this.#isDirty = true;
    this.#schedule(SAVE_MS);
    return new Promise((resolve) => this.#durable.push(resolve));
  }

  #schedule(waitMs: number): void {
    if (this.#timer !== undefined || this.#saving !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const startMs = performance.now();
      this.#saving = this.#save()
        .catch(this.#options.log)
        .finally(() => {
          this.#saving = undefined;
          const tookMs = performance.now() - startMs;
          if (this.#isDirty) this.#schedule(Math.max(SAVE_MS, 5 * tookMs));
        });
    }, waitMs);
  }

  async #save(): Promise<void> {
    const waiting = this.#durable;
    this.#durable = [];
    this.#isDirty = false;
    const saved: Saved = {
      format: 1,
      windows: windowStateToPlain(this.#windows),
      applied: [...this.#applied].map(([stream, set]) => [
        stream,
        set.ranges(),
        this.#turns.get(stream) ?? 0,
      ]),
      unstored: this.#unstored,
      nextId: this.#nextId,
    };
    try {
      await replaceState(this.#options.path, encodeState(saved));
    } catch (error) {
      this.#isDirty = true;
      this.#durable = [...waiting, ...this.#durable];
      throw error;
    }
    for (const resolve of waiting) resolve(true);
  }

  #restore(saved: Saved): void {
    const { windowMs, graceMs, horizonMs } = this.#options;
    this.#unstored = [...saved.unstored];
    this.#nextId = saved.nextId;
    this.#applied = new Map(saved.applied.map(([id, ranges]) => [id, IntervalSet.from(ranges)]));
    for (const [id, , turn = 0] of saved.applied) this.#turns.set(id, turn);
    if (saved.windows.options.windowMs !== windowMs) {
      const old = windowStateFromPlain(saved.windows);
      const rows = closeWindows(
        { ...old, options: { ...old.options, graceMs: 0 } },
        this.#options.clock(),
      );
      if (rows.length > 0) this.#unstored.push({ id: this.#nextId++, rows });
      return;
    }
    const options = { windowMs, graceMs, horizonMs };
    this.#windows = windowStateFromPlain({ ...saved.windows, options });
  }
}

function encodeState(saved: Saved): Uint8Array {
  const body = encoder.encode(saved);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(crc32c(body));
  return Buffer.concat([head, body]);
}

function decodeState(bytes: Buffer): Saved {
  const body = bytes.subarray(4);
  if (bytes.length < 4 || bytes.readUInt32BE(0) !== crc32c(body)) {
    throw new Error('checksum does not match');
  }
  const saved = decoder.decode(body) as Saved;
  if (saved.format !== 1) throw new Error(`expected format 1, got ${saved.format}`);
  return saved;
}

async function replaceState(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(`${path}.tmp`, 'w', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(path, `${path}.previous`).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(`${path}.tmp`, path);
  const folder = await open(dirname(path), 'r');
  await folder.sync().finally(() => folder.close());
}
