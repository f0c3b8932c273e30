/**
 * Micro-batches between the tail and its consumers, and who has acknowledged them
 * (docs/decisions/005-windows-and-acknowledgements.md).
 *
 * Entries are collected until a batch has enough lines or bytes, or nothing followed for a moment. A batch is sent, is
 * *held* by each consumer that took it, and is done when every consumer acknowledged it; cursors advance in order
 * only. What nobody took is sent again after a while and set aside after some tries. No clock and no timers in here:
 * `tick` is told the time.
 */
import type { ReadingTable } from '@fieldproof/compute/readings';
import { readingCount } from '@fieldproof/compute/readings';
import type { Frame } from '@fieldproof/protocol/frame';
import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import type { StateChange } from './projector-state.ts';

export interface BatcherOptions {
  /** A batch is closed at this many lines (instants). Default 10,000. */
  readonly maxLines?: number;
  /** … or this many bytes of evidence. Default 4 MiB. */
  readonly maxBytes?: number;
  /** … or when nothing was added for so long. Default 20 ms. */
  readonly idleMs?: number;
  /** … or when it is so old. Default 200 ms. */
  readonly maxAgeMs?: number;
  /** Batches sent and not done; then `isFull`. Default 8. */
  readonly maxUnacknowledged?: number;
  /** Sent again when a consumer did not take it for so long. Default 30 s. */
  readonly resendMs?: number;
  /** Set aside after being sent this often. Default 5. */
  readonly maxTries?: number;
  /** Sends a batch; called again for the same batch when it is sent again. */
  readonly send: (batch: MicroBatch) => void;
  /** The batch is done and all before it are: the cursor may move to `toIndex`, behind the entry `before`, with these changes. */
  readonly advance: (
    toIndex: number,
    changes: readonly StateChange[],
    before: BatchItem['before'],
  ) => void;
  /** The batch needs nobody any more; before `advance`, and not in order. */
  readonly onDone?: (id: number) => void;
  /** Sets a batch aside durably. The cursor waits for it; when it fails it is tried again at the next resend. */
  readonly setAside: (batch: SetAside) => Promise<void>;
}

/** One entry on its way. */
export interface BatchItem {
  readonly frame: Frame;
  readonly tables: readonly ReadingTable[];
  readonly changes: readonly StateChange[];
  /** Where the cursor may go after it. */
  readonly nextIndex: number;
  /** The bytes of the entry before that, or what the cursor file says of it. */
  readonly before?: Uint8Array | string | undefined;
  /** The broker's time of the entry, Unix ms, where it has one. */
  readonly atMs: number | undefined;
  /** Whether this settles the entry; false for one that waits for a time anchor. */
  readonly settled: boolean;
}

/** What consumers see. Must not be changed. */
export interface MicroBatch {
  /** Unique within this process. */
  readonly id: number;
  /** Cursor before and after. */
  readonly fromIndex: number;
  readonly toIndex: number;
  readonly tables: readonly ReadingTable[];
  /** For each table the index of its entry: an entry is never in two batches but in a repeat. */
  readonly entryIndexes: readonly number[];
  /** The entries that this batch settles, with those that carry no readings, also since the batch before. */
  readonly settled: readonly Interval[];
  /** The broker's time of the newest entry, Unix ms; 0 where none has one. */
  readonly atMs: number;
  readonly lines: number;
  readonly readings: number;
}

export interface SetAside {
  readonly batch: MicroBatch;
  readonly frames: readonly Frame[];
  /** Consumers that never acknowledged it. */
  readonly missing: readonly string[];
  readonly tries: number;
}

interface InFlight {
  /** The broker's time of its first entry that has one. */
  readonly oldestMs: number | undefined;
  /** Both without content once it is done. */
  batch: MicroBatch;
  frames: readonly Frame[];
  readonly changes: readonly StateChange[];
  readonly before: BatchItem['before'];
  /** Consumers that must still acknowledge; those in `held` have it. */
  readonly missing: Set<string>;
  readonly held: Set<string>;
  sentAtMs: number;
  tries: number;
  state: 'sent' | 'setting-aside' | 'done';
}

const DEFAULTS = {
  maxLines: 10_000,
  maxBytes: 4 << 20,
  idleMs: 20,
  maxAgeMs: 200,
  maxUnacknowledged: 8,
  resendMs: 30_000,
  maxTries: 5,
  onDone: () => {},
};

/** Batches that may be done behind one that is not; they hold no readings any more. */
const MAX_BEHIND = 1024;

/** Of one tail. */
export class Batcher {
  readonly #options: Required<BatcherOptions>;
  readonly #inFlight: InFlight[] = [];
  #consumers: readonly string[] = [];
  #items: BatchItem[] = [];
  /** What batches that nobody needed to see have settled; the next one says it. */
  #carried: readonly Interval[] = [];
  #lines = 0;
  #bytes = 0;
  #openedMs = 0;
  #addedMs = 0;
  #nextId: number;
  #index: number;

  /**
   * @param index - the cursor: index of the first entry that will be added.
   * @param nextId - above the ids of batches that consumers may still speak of.
   */
  constructor(index: number, options: BatcherOptions, nextId = 1) {
    this.#index = index;
    this.#nextId = nextId;
    this.#options = { ...DEFAULTS, ...options };
  }

  /** Whether no more must be added until something is acknowledged. */
  get isFull(): boolean {
    if (this.#inFlight.length >= MAX_BEHIND) return true;
    return this.unacknowledged >= this.#options.maxUnacknowledged;
  }

  /** Whether entries wait for the batch to be closed. */
  get isOpen(): boolean {
    return this.#items.length > 0;
  }

  /** Batches that are sent and not done. */
  get unacknowledged(): number {
    let count = 0;
    for (const { state } of this.#inFlight) if (state !== 'done') count++;
    return count;
  }

  /** Batches that were sent again because some consumer did not take them, and has not yet. */
  get ignored(): number {
    let count = 0;
    for (const { state, tries, held, missing } of this.#inFlight) {
      if (state !== 'done' && tries > 1 && held.size < missing.size) count++;
    }
    return count;
  }

  /** The broker's time of the oldest entry that was added and is not done, Unix ms. */
  get oldestMs(): number | undefined {
    for (const { state, oldestMs } of this.#inFlight) {
      if (state !== 'done' && oldestMs !== undefined) return oldestMs;
    }
    return oldestOf(this.#items);
  }

  get consumers(): readonly string[] {
    return this.#consumers;
  }

  /** Adds an entry, and closes the batch when it is large enough. */
  add(item: BatchItem, nowMs: number): void {
    if (this.#items.length === 0) this.#openedMs = nowMs;
    this.#addedMs = nowMs;
    this.#items.push(item);
    for (const table of item.tables) this.#lines += table.timesMs.length;
    this.#bytes += item.frame.body.length + item.frame.entry.length;
    const { maxLines, maxBytes } = this.#options;
    if (this.#lines >= maxLines || this.#bytes >= maxBytes) this.flush(nowMs);
  }

  /** Closes and sends the open batch, if there is one. */
  flush(nowMs: number): void {
    const items = this.#items;
    const last = items[items.length - 1];
    if (last === undefined) return;
    const made = toBatch(items, { id: this.#nextId++, fromIndex: this.#index });
    const settled = IntervalSet.from([...this.#carried, ...made.settled]).ranges();
    const batch = { ...made, settled };
    this.#carried = batch.tables.length > 0 ? [] : settled;
    this.#items = [];
    this.#lines = 0;
    this.#bytes = 0;
    this.#index = batch.toIndex;
    const wanted = batch.tables.length > 0 ? this.#consumers : [];
    const inFlight: InFlight = {
      oldestMs: oldestOf(items),
      batch,
      frames: items.filter(({ tables }) => tables.length > 0).map(({ frame }) => frame),
      changes: items.flatMap(({ changes }) => changes),
      before: last.before,
      missing: new Set(wanted),
      held: new Set(),
      sentAtMs: nowMs,
      tries: 1,
      state: 'sent',
    };
    this.#inFlight.push(inFlight);
    if (batch.tables.length > 0) this.#options.send(batch);
    this.#settle(inFlight);
  }

  /** A consumer has taken the batch and will acknowledge it or let it go. False: it need not, it has or had it. */
  take(id: number, consumer: string): boolean {
    const inFlight = this.#find(id);
    if (inFlight === undefined || inFlight.state !== 'sent') return false;
    if (!inFlight.missing.has(consumer) || inFlight.held.has(consumer)) return false;
    inFlight.held.add(consumer);
    return true;
  }

  /** A consumer has put the batch away. */
  acknowledge(id: number, consumer: string): void {
    const inFlight = this.#find(id);
    if (inFlight === undefined) return;
    inFlight.missing.delete(consumer);
    inFlight.held.delete(consumer);
    this.#settle(inFlight);
  }

  /** A consumer cannot put the batch away; it is sent again when its time comes. */
  letGo(id: number, consumer: string): void {
    this.#find(id)?.held.delete(consumer);
  }

  /** A consumer has ended (or begun anew) and holds nothing any more; what it held is sent again at once. */
  forgetConsumer(consumer: string, nowMs: number): void {
    for (const inFlight of [...this.#inFlight]) {
      if (!inFlight.held.delete(consumer)) continue;
      if (inFlight.state !== 'sent') continue;
      inFlight.sentAtMs = nowMs;
      this.#options.send(inFlight.batch);
    }
  }

  /** Gives up all batches, whose consumers are not heard any more; returns the id that the next batch would get. */
  abandon(): number {
    for (const { state, batch } of this.#inFlight.splice(0)) {
      if (state !== 'done') this.#options.onDone(batch.id);
    }
    this.#items = [];
    return this.#nextId;
  }

  /** Who has to acknowledge from now on; batches on their way no longer wait for others. */
  setConsumers(consumers: readonly string[]): void {
    this.#consumers = [...consumers];
    for (const inFlight of [...this.#inFlight]) {
      for (const consumer of [...inFlight.missing]) {
        if (consumers.includes(consumer)) continue;
        inFlight.missing.delete(consumer);
        inFlight.held.delete(consumer);
      }
      this.#settle(inFlight);
    }
  }

  /** Closes what has waited long enough, sends again and sets aside what is overdue. */
  tick(nowMs: number): void {
    const { idleMs, maxAgeMs, resendMs, maxTries } = this.#options;
    const idle = nowMs - this.#addedMs >= idleMs || nowMs - this.#openedMs >= maxAgeMs;
    if (this.#items.length > 0 && idle) this.flush(nowMs);
    for (const inFlight of [...this.#inFlight]) {
      if (inFlight.state !== 'sent' || nowMs - inFlight.sentAtMs < resendMs) continue;
      // A store that is down keeps what it holds: only what nobody works on is lost on its way.
      if (inFlight.held.size === inFlight.missing.size) continue;
      inFlight.sentAtMs = nowMs;
      if (inFlight.tries < maxTries) {
        inFlight.tries++;
        this.#options.send(inFlight.batch);
      } else {
        this.#setAside(inFlight);
      }
    }
  }

  #setAside(inFlight: InFlight): void {
    const { batch, frames, missing, tries } = inFlight;
    inFlight.state = 'setting-aside';
    this.#options.setAside({ batch, frames, missing: [...missing], tries }).then(
      () => {
        inFlight.missing.clear();
        this.#settle(inFlight);
      },
      () => {
        inFlight.state = 'sent';
      },
    );
  }

  #find(id: number): InFlight | undefined {
    return this.#inFlight.find(({ batch }) => batch.id === id);
  }

  #settle(inFlight: InFlight): void {
    if (inFlight.missing.size > 0) return;
    if (inFlight.state !== 'done') this.#options.onDone(inFlight.batch.id);
    inFlight.state = 'done';
    inFlight.batch = { ...inFlight.batch, tables: [], entryIndexes: [] };
    inFlight.frames = [];
    while (this.#inFlight[0]?.state === 'done') {
      const { batch, changes, before } = this.#inFlight.shift()!;
      this.#options.advance(batch.toIndex, changes, before);
    }
  }
}

function oldestOf(items: readonly BatchItem[]): number | undefined {
  return items.find(({ atMs }) => atMs !== undefined)?.atMs;
}

function toBatch(
  items: readonly BatchItem[],
  { id, fromIndex }: { readonly id: number; readonly fromIndex: number },
): MicroBatch {
  const tables: ReadingTable[] = [];
  const entryIndexes: number[] = [];
  const settled: (readonly [number, number])[] = [];
  let lines = 0;
  let readings = 0;
  let atMs = 0;
  for (const item of items) {
    const { index } = item.frame;
    atMs = Math.max(atMs, item.atMs ?? 0);
    for (const table of item.tables) {
      tables.push(table);
      entryIndexes.push(index);
      lines += table.timesMs.length;
      readings += readingCount(table);
    }
    if (!item.settled) continue;
    const last = settled[settled.length - 1];
    if (last !== undefined && last[1] === index - 1) settled[settled.length - 1] = [last[0], index];
    else settled.push([index, index]);
  }
  const toIndex = items[items.length - 1]!.nextIndex;
  return { id, fromIndex, toIndex, tables, entryIndexes, settled, atMs, lines, readings };
}
