/**
 * The outbox: signed envelopes wait here, on disk, until the network has proved that it has them.
 *
 * Append-only segments; deletion is by whole segments of which nothing waits any more. An envelope is handed
 * to the link only when it is durable (`sync`), so a seq that a crash lost was never sent, and the next
 * start is another boot: no seq is ever used for two contents. A torn last write is cut off and told.
 * The device forgets by receipts only (docs/spec/settlement.md 3.3); when the outbox is full the oldest
 * segment is given up, after a `gap` that declares it is durable (the caller's part, see `Journal`).
 */

import { type FileHandle, open as openFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import type { Boot } from './boot.ts';
import type { Clock, TimerHandle } from './clock.ts';
import { makeFolder, syncFolder } from './durable-file.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import { isBefore, OutboxCursor, type OutboxPosition } from './outbox-cursor.ts';
import { type EnvelopeRecord, encodeEnvelopeFrame, encodeMarkFrames } from './outbox-frame.ts';
import { type BootRanges, countOf, OutboxLedger, pendingOf } from './outbox-ledger.ts';
import { SEGMENT_MAGIC, scanSegment } from './outbox-segment.ts';

const SEGMENT_NAME = /^(\d{10})\.seg$/;
/** Kept free under maxBytes for gaps and marks, so that giving up can always be declared. */
const RESERVE_BYTES = 65_536;

export interface OutboxOptions {
  readonly folder: string;
  readonly maxBytes: number;
  readonly maxEnvelopes: number;
  readonly segmentBytes: number;
  readonly fsync: 'always' | 'interval';
  readonly fsyncEveryMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Called whenever more envelopes became durable. */
  readonly onDurable?: () => void;
  /** Opens a file; tests pass one that fails. */
  readonly open?: (path: string, flags: string, mode: number) => Promise<FileHandle>;
}

interface Segment {
  readonly index: number;
  readonly path: string;
  /** Good bytes: what lies behind them is not read. */
  length: number;
  /** Seqs of its envelopes by boot key. */
  readonly members: Map<string, IntervalSet>;
  /** Damage that was found in it: where it begins → where the next whole frame does. */
  readonly damage: Map<number, number>;
}

/** Bytes of a segment that are no frames. */
export interface OutboxDamage {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /** `torn`: the end of the last segment, which is cut off. `damaged`: elsewhere, passed over from now on. */
  readonly reason: 'torn' | 'damaged';
}

export interface OutboxStats {
  readonly pending: number;
  readonly bytes: number;
  readonly segments: number;
  /** Bytes written since `open`, the measure of wear. */
  readonly bytesWritten: number;
  readonly syncs: number;
}

/** A segment that may be given up, and the envelopes that still wait in it. */
export interface OutboxVictim {
  readonly segment: number;
  readonly lost: readonly BootRanges[];
  readonly envelopes: number;
}

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #ledger = new OutboxLedger();
  #segments: Segment[] = [];
  readonly #damage: OutboxDamage[] = [];
  #file: FileHandle | undefined;
  #durable: OutboxPosition = { segment: 0, offset: 0 };
  #dirtyBoots = new Set<string>();
  #queue: Promise<unknown> = Promise.resolve();
  #timer: TimerHandle | undefined;
  #bytesWritten = 0;
  #syncs = 0;
  #pendingCount = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /**
   * Reads what is there, cuts off a torn last write, and gets ready to append.
   *
   * @returns bytes that were not readable; where is in `damage`, the seqs lost with them are in `holes()`.
   * @throws {AgentError} ERR_AGENT_OUTBOX
   */
  async open(): Promise<{ readonly tornBytes: number; readonly damagedBytes: number }> {
    const { folder } = this.#options;
    try {
      await makeFolder(folder);
      const indexes = (await readdir(folder))
        .flatMap((name) => SEGMENT_NAME.exec(name)?.[1] ?? [])
        .map(Number)
        .sort((a, b) => a - b);
      for (const index of indexes) {
        const last = index === indexes[indexes.length - 1];
        this.#damage.push(...(await this.#load(index, last)));
      }
      const active = this.#segments[this.#segments.length - 1];
      if (active === undefined || active.length === 0) await this.#roll();
      else this.#file = await this.#open(active.path, 'r+');
      await this.#syncNow();
      this.#pendingCount = this.#ledger.pendingCount();
      await this.#deleteSettled();
      const bytesOf = (reason: OutboxDamage['reason']): number =>
        this.#damage.reduce((sum, part) => sum + (part.reason === reason ? part.bytes : 0), 0);
      return { tornBytes: bytesOf('torn'), damagedBytes: bytesOf('damaged') };
    } catch (cause) {
      await this.#file?.close().catch(() => {});
      throw new AgentError('ERR_AGENT_OUTBOX', `${folder}: ${reasonOf(cause)}`, { cause });
    }
  }

  /** What `open` found unreadable. */
  get damage(): readonly OutboxDamage[] {
    return this.#damage;
  }

  /** The highest boot counter in here, 0 when empty. */
  get highestBootCounter(): number {
    return this.#ledger.boots().reduce((high, { boot }) => Math.max(high, boot.counter), 0);
  }

  /** Whether another envelope of this size would pass a limit. */
  isFull(bytes: number): boolean {
    const total = this.#segments.reduce((sum, { length }) => sum + length, 0);
    return (
      total + bytes + RESERVE_BYTES > this.#options.maxBytes ||
      this.#pendingCount >= this.#options.maxEnvelopes
    );
  }

  /**
   * Writes an envelope. It is handed out by cursors when it is durable: with `fsync: always` when this
   * resolves, else within `fsyncEveryMs`, or after `sync`.
   *
   * @throws {AgentError} ERR_AGENT_OUTBOX; then nothing of it is in the outbox, and its seq is used up.
   */
  append(record: EnvelopeRecord): Promise<void> {
    return this.#serially(async () => {
      const frame = encodeEnvelopeFrame(record);
      const entry = this.#ledger.entry(record.boot);
      try {
        if (this.#active.length + frame.length > this.#options.segmentBytes) await this.#roll();
        await this.#writeMarks([frame]);
        if (this.#options.fsync === 'always') await this.#file!.datasync();
      } catch (cause) {
        throw new AgentError('ERR_AGENT_OUTBOX', `append: ${reasonOf(cause)}`, { cause });
      }
      entry.present.add(record.seq);
      membersOf(this.#active, entry.key).add(record.seq);
      this.#pendingCount += 1;
      if (this.#options.fsync === 'always') this.#isDurable(this.end);
      else this.#syncLater();
    });
  }

  /** Makes everything appended so far durable. @throws {AgentError} ERR_AGENT_OUTBOX */
  sync(): Promise<void> {
    return this.#serially(async () => {
      await this.#writeMarks();
      await this.#syncNow();
    }).catch((cause: unknown) => {
      throw new AgentError('ERR_AGENT_OUTBOX', `sync: ${reasonOf(cause)}`, { cause });
    });
  }

  /**
   * Forgets what the network has proved. Seqs that were never sealed here are left out: a later envelope
   * must not count as settled before it exists.
   *
   * @returns how many envelopes wait no more.
   */
  settle(boot: Boot, ranges: readonly Interval[]): Promise<number> {
    return this.#serially(async () => {
      const entry = this.#ledger.find(boot);
      if (entry === undefined) return 0;
      const before = countOf(pendingOf(entry, entry.present));
      const size = entry.settled.size;
      const highest = Math.max(entry.present.max, entry.dropped.max);
      for (const [from, to] of ranges) {
        if (from <= highest) entry.settled.addRange(from, Math.min(to, highest));
      }
      if (entry.settled.size === size) return 0;
      this.#dirtyBoots.add(entry.key);
      const settled = before - countOf(pendingOf(entry, entry.present));
      this.#pendingCount -= settled;
      await this.#deleteSettled();
      return settled;
    });
  }

  /** Notes seqs that were given up: they are neither sent nor waited for, and `undeclared` until settled. */
  drop(boot: Boot, ranges: readonly Interval[]): Promise<void> {
    return this.#serially(async () => this.#drop([{ boot, ranges }]));
  }

  /** The oldest segment with envelopes that wait, to be given up when the outbox is full. */
  victim(): OutboxVictim | undefined {
    for (const segment of this.#segments.slice(0, -1)) {
      const lost = this.#pendingIn(segment);
      if (lost.length === 0) continue;
      const envelopes = lost.reduce((sum, { ranges }) => sum + countOf(ranges), 0);
      return { segment: segment.index, lost, envelopes };
    }
    return undefined;
  }

  /** Gives a segment up. The caller has made its declaration durable. */
  giveUp(victim: OutboxVictim): Promise<void> {
    return this.#serially(async () => {
      this.#drop(victim.lost);
      await this.#deleteSettled();
    });
  }

  /** Closes the segment that is written to, so that it can be given up too. */
  roll(): Promise<void> {
    return this.#serially(() => this.#roll());
  }

  holes(): BootRanges[] {
    return this.#ledger.holes();
  }

  undeclared(): BootRanges[] {
    return this.#ledger.undeclared();
  }

  /** Boots of which envelopes wait. */
  pendingBoots(): Boot[] {
    const waits = this.#ledger.boots().filter((e) => pendingOf(e, e.present).length > 0);
    return waits.map(({ boot }) => boot);
  }

  /** What waits of one boot. */
  pendingRanges(boot: Boot): Interval[] {
    const entry = this.#ledger.find(boot);
    return entry === undefined ? [] : pendingOf(entry, entry.present);
  }

  isPending(boot: Boot, seq: number): boolean {
    return this.#ledger.isPending(boot, seq);
  }

  /** Where the next envelope will lie. */
  get end(): OutboxPosition {
    return { segment: this.#active.index, offset: this.#active.length };
  }

  /** Reads what waits, oldest first, from a position to another (default: as far as it is durable). */
  cursor(from: OutboxPosition = { segment: 0, offset: 0 }, to?: OutboxPosition): OutboxCursor {
    return new OutboxCursor({
      from,
      limit: () => (to !== undefined && isBefore(to, this.#durable) ? to : this.#durable),
      nextSegment: (index) => this.#segments.find((segment) => segment.index >= index),
      isPending: (boot, seq) => this.#ledger.isPending(boot, seq),
      open: (path) => this.#open(path, 'r'),
    });
  }

  stats(): OutboxStats {
    return {
      pending: this.#pendingCount,
      bytes: this.#segments.reduce((sum, { length }) => sum + length, 0),
      segments: this.#segments.length,
      bytesWritten: this.#bytesWritten,
      syncs: this.#syncs,
    };
  }

  async close(): Promise<void> {
    this.#options.clock.cancel(this.#timer);
    this.#timer = undefined;
    try {
      if (this.#file !== undefined) await this.sync();
    } finally {
      await this.#serially(async () => {
        await this.#file?.close();
        this.#file = undefined;
      });
    }
  }

  get #active(): Segment {
    return this.#segments[this.#segments.length - 1]!;
  }

  /** One operation at a time, in the order of the calls. */
  #serially<T>(operation: () => Promise<T> | T): Promise<T> {
    const result = this.#queue.then(operation);
    this.#queue = result.catch(() => {});
    return result;
  }

  #open(path: string, flags: string): Promise<FileHandle> {
    return (this.#options.open ?? openFile)(path, flags, 0o600);
  }

  async #load(index: number, last: boolean): Promise<OutboxDamage[]> {
    const segment = this.#newSegment(index);
    const file = await this.#open(segment.path, last ? 'r+' : 'r');
    const found: OutboxDamage[] = [];
    try {
      const { size } = await file.stat();
      for await (const item of scanSegment(file)) {
        if (item.type === 'damage') {
          const { offset, end } = item;
          const reason = last && end === size ? 'torn' : 'damaged';
          found.push({ file: segment.path, offset, bytes: end - offset, reason });
          if (item.end === size) break;
          segment.length = item.end;
          segment.damage.set(Math.max(item.offset, SEGMENT_MAGIC.length), item.end);
          continue;
        }
        segment.length = item.end;
        if (item.type === 'start') continue;
        const entry = this.#ledger.entry(item.body.boot);
        if (item.body.type === 'envelope') {
          entry.present.add(item.body.seq);
          membersOf(segment, entry.key).add(item.body.seq);
        } else {
          for (const [from, to] of item.body.ranges) entry[item.body.type].addRange(from, to);
        }
      }
      if (found.some(({ reason }) => reason === 'torn')) {
        await file.truncate(segment.length);
        await file.sync();
      }
    } finally {
      await file.close();
    }
    this.#segments.push(segment);
    return found;
  }

  #newSegment(index: number): Segment {
    const name = `${String(index).padStart(10, '0')}.seg`;
    const path = join(this.#options.folder, name);
    return { index, path, length: 0, members: new Map(), damage: new Map() };
  }

  /** Begins a new segment with the marks of all boots, so that older segments can go. */
  async #roll(): Promise<void> {
    const old = this.#file;
    if (old !== undefined) await this.#syncNow();
    const previous = this.#segments[this.#segments.length - 1];
    const segment = this.#newSegment((previous?.index ?? 0) + 1);
    // A name left over from a failed attempt holds nothing: it was never written to the list.
    const file = await this.#open(segment.path, 'w+');
    try {
      await writeAll(file, SEGMENT_MAGIC, 0);
      segment.length = SEGMENT_MAGIC.length;
      await file.sync();
      await syncFolder(this.#options.folder);
    } catch (error) {
      await file.close().catch(() => {});
      await rm(segment.path, { force: true }).catch(() => {});
      throw error;
    }
    this.#bytesWritten += SEGMENT_MAGIC.length;
    this.#segments.push(segment);
    this.#file = file;
    await old?.close();
    for (const entry of this.#ledger.boots()) this.#dirtyBoots.add(entry.key);
    await this.#writeMarks();
  }

  /** Appends whole frames to the active segment, or leaves it as it was. */
  async #write(frames: readonly Uint8Array[]): Promise<void> {
    const segment = this.#active;
    const bytes = frames.length === 1 ? frames[0]! : Buffer.concat(frames);
    try {
      await writeAll(this.#file!, bytes, segment.length);
    } catch (error) {
      // The next write starts at segment.length again; a torn frame behind it is never read.
      await this.#file!.truncate(segment.length).catch(() => {});
      throw error;
    }
    segment.length += bytes.length;
    this.#bytesWritten += bytes.length;
  }

  #syncLater(): void {
    this.#timer ??= this.#options.clock.after(this.#options.fsyncEveryMs, () => {
      this.#timer = undefined;
      this.#serially(() => this.#syncNow()).catch((error: unknown) => {
        this.#options.log.error('outbox sync failed', { reason: reasonOf(error) });
        this.#syncLater();
      });
    });
  }

  async #syncNow(): Promise<void> {
    if (this.#file === undefined) return;
    const reached = this.end;
    const { segment, offset } = this.#durable;
    if (segment === reached.segment && offset === reached.offset) return;
    await this.#file.datasync();
    this.#isDurable(reached);
  }

  #isDurable(reached: OutboxPosition): void {
    this.#syncs += 1;
    this.#durable = reached;
    this.#options.onDurable?.();
  }

  /** Writes the marks that changed, and other frames behind them. */
  async #writeMarks(others: readonly Uint8Array[] = []): Promise<void> {
    const boots = this.#ledger.boots().filter(({ key }) => this.#dirtyBoots.has(key));
    const frames = boots.flatMap(({ boot, settled, dropped }) => [
      ...encodeMarkFrames('settled', boot, settled.ranges()),
      ...encodeMarkFrames('dropped', boot, dropped.ranges()),
    ]);
    if (frames.length + others.length > 0) await this.#write([...frames, ...others]);
    // Only now: after a write that failed they are written again.
    this.#dirtyBoots.clear();
  }

  #drop(lost: readonly BootRanges[]): void {
    for (const { boot, ranges } of lost) {
      const entry = this.#ledger.entry(boot);
      for (const [from, to] of ranges) entry.dropped.addRange(from, to);
      this.#dirtyBoots.add(entry.key);
    }
    this.#pendingCount = this.#ledger.pendingCount();
  }

  #pendingIn(segment: Segment): BootRanges[] {
    const found: BootRanges[] = [];
    for (const entry of this.#ledger.boots()) {
      const members = segment.members.get(entry.key);
      const ranges = members === undefined ? [] : pendingOf(entry, members);
      if (ranges.length > 0) found.push({ boot: entry.boot, ranges });
    }
    return found;
  }

  /** Whether the network has proved everything in a segment, so that nothing in it was given up. */
  #isProved(segment: Segment): boolean {
    return this.#ledger.boots().every(({ key, settled }) => {
      const ranges = segment.members.get(key)?.ranges() ?? [];
      return ranges.every(([from, to]) => settled.hasRange(from, to));
    });
  }

  /** Deletes segments in which nothing waits, after the marks that say so are durable. */
  async #deleteSettled(): Promise<void> {
    const active = this.#active;
    let gone = this.#segments.filter((s) => s !== active && this.#pendingIn(s).length === 0);
    if (gone.length === 0) return;
    try {
      await this.#writeMarks();
      await this.#syncNow();
    } catch (error) {
      const { log } = this.#options;
      log.warn('outbox marks not written', { reason: reasonOf(error), code: codeOf(error) });
      // On a full disk only a deletion makes room for the marks. What the network has proved may go without
      // them: after a crash it would be declared again, and a gap covers nothing that is recorded.
      const proved = gone.filter((segment) => this.#isProved(segment));
      if (codeOf(error) !== 'ENOSPC' || proved.length === 0) return;
      gone = proved;
    }
    try {
      for (const { path } of gone) await rm(path, { force: true });
    } catch (error) {
      // Nothing is lost: they are found settled again later.
      this.#options.log.warn('outbox not compacted', { reason: reasonOf(error) });
      return;
    }
    this.#segments = this.#segments.filter((segment) => !gone.includes(segment));
    for (const entry of this.#ledger.boots()) {
      const used = this.#segments.some((segment) => segment.members.has(entry.key));
      const owes = entry.dropped.ranges().some(([from, to]) => !entry.settled.hasRange(from, to));
      const newest = entry.boot.counter === this.highestBootCounter;
      if (!used && !owes && !newest) this.#ledger.forget(entry.boot);
    }
  }
}

function membersOf(segment: Segment, key: string): IntervalSet {
  const found = segment.members.get(key);
  if (found !== undefined) return found;
  const members = new IntervalSet();
  segment.members.set(key, members);
  return members;
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const result = await file.write(bytes, written, bytes.length - written, position + written);
    written += result.bytesWritten;
  }
}
