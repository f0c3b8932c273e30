/**
 * The part of the outbox that lies on the card: append-only segments, of which the last one is written to.
 *
 * What a failed fsync leaves is nobody's guess: the system may call pages clean that never reached the card. So all
 * since the last good one is written again, into a new segment, before anything else.
 */

import type { Clock, TimerHandle } from './clock.ts';
import { type Disk, type DiskFile, writeAll } from './disk.ts';
import { codeOf, reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import { addMember, newSegment, type Segment } from './outbox-contents.ts';
import type { OutboxPosition } from './outbox-cursor.ts';
import type { OutboxLedger } from './outbox-ledger.ts';
import { loadSegments, type OutboxDamage } from './outbox-load.ts';
import { OutboxMarks } from './outbox-marks.ts';
import type { OutboxOptions } from './outbox-options.ts';
import { SEGMENT_MAGIC } from './outbox-segment.ts';

/** A segment is closed after this part of the greatest age, so that it does not keep young ones with old ones. */
const AGE_PARTS = 8;

export interface OutboxCardOptions
  extends Pick<
    OutboxOptions,
    'folder' | 'segmentBytes' | 'fsyncEveryMs' | 'maxAgeMs' | 'trueTimeMs' | 'onDurable'
  > {
  readonly clock: Clock;
  readonly log: Log;
  readonly disk: Disk;
  readonly ledger: OutboxLedger;
  /** Has something done in turn with all else that is done to the outbox. */
  readonly serially: (operation: () => Promise<void>) => Promise<void>;
}

/** An envelope's frame, and which one it is. */
export interface CardFrame {
  readonly frame: Uint8Array;
  readonly key: string;
  readonly seq: number;
}

/** Written and not durable yet. */
interface Unsynced {
  readonly bytes: Uint8Array;
  /** Envelopes in it. */
  readonly members: readonly { readonly key: string; readonly seq: number }[];
}

export class OutboxCard {
  readonly #options: OutboxCardOptions;
  readonly marks: OutboxMarks;
  #segments: Segment[] = [];
  #file: DiskFile | undefined;
  #durable: Omit<OutboxPosition, 'front'> = { segment: 0, offset: 0 };
  #unsynced: Unsynced[] = [];
  /** A write or a sync has failed: what is unsynced has to be written elsewhere. */
  #isSuspect = false;
  #bytesWritten = 0;
  #syncs = 0;
  #activeSinceMs = 0;
  #timer: TimerHandle | undefined;

  constructor(options: OutboxCardOptions) {
    this.#options = options;
    this.marks = new OutboxMarks(options);
  }

  /** Reads what is there, and gets ready to append. */
  async open(): Promise<readonly OutboxDamage[]> {
    const { folder, disk, ledger, clock } = this.#options;
    await disk.makeFolder(folder);
    const nowMs = clock.monotonicMs();
    const { segments, damage, isWhole } = await loadSegments({ folder, disk, ledger, nowMs });
    this.#segments = segments;
    this.#activeSinceMs = clock.monotonicMs();
    const active = segments[segments.length - 1];
    if (active === undefined || active.length === 0 || !isWhole) await this.roll();
    else this.#file = await disk.open(active.path, 'r+', 0o600);
    await this.sync();
    return damage;
  }

  get isOpen(): boolean {
    return this.#file !== undefined;
  }

  /** Oldest first; the last one is written to. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  get active(): Segment {
    return this.#segments[this.#segments.length - 1]!;
  }

  /** How far it is durable. */
  get durable(): Omit<OutboxPosition, 'front'> {
    return this.#durable;
  }

  get bytes(): number {
    return this.#segments.reduce((sum, { length }) => sum + length, 0);
  }

  get bytesWritten(): number {
    return this.#bytesWritten;
  }

  get syncs(): number {
    return this.#syncs;
  }

  /** Writes frames, in as many segments as they need. Durable after `sync`. */
  async append(frames: readonly CardFrame[]): Promise<void> {
    const { segmentBytes } = this.#options;
    if (this.#isAged()) await this.roll();
    for (let at = 0; at < frames.length; ) {
      let bytes = 0;
      let to = at;
      while (to < frames.length) {
        bytes += frames[to]!.frame.length;
        if (this.active.length + bytes > segmentBytes && to > at) break;
        to += 1;
      }
      const part = frames.slice(at, to);
      const size = part.reduce((sum, { frame }) => sum + frame.length, 0);
      if (this.active.length + size > segmentBytes && this.active.members.size > 0) {
        await this.roll();
        continue;
      }
      await this.#write(part);
      at = to;
    }
  }

  /** Writes the marks that changed. */
  async writeMarks(): Promise<void> {
    await this.#write([]);
  }

  /** Makes durable what was written. */
  async sync(): Promise<void> {
    if (this.#file === undefined) return;
    if (this.#isSuspect) {
      await this.#moveOn();
      return;
    }
    const { index, length } = this.active;
    const { segment, offset } = this.#durable;
    if (segment === index && offset === length) return;
    try {
      await this.#file.datasync();
    } catch (error) {
      this.#isSuspect = true;
      throw error;
    }
    this.#syncs += 1;
    this.#durable = { segment: index, offset: length };
    this.#unsynced = [];
    this.#options.onDurable?.();
  }

  /** Has that done within `fsyncEveryMs`. */
  syncLater(): void {
    const { clock, log, fsyncEveryMs, serially } = this.#options;
    this.#timer ??= clock.after(fsyncEveryMs, () => {
      this.#timer = undefined;
      serially(() => this.sync()).catch((error: unknown) => {
        log.error('outbox sync failed', { reason: reasonOf(error) });
        this.syncLater();
      });
    });
  }

  /** Syncs nothing by itself any more. */
  stop(): void {
    this.#options.clock.cancel(this.#timer);
    this.#timer = undefined;
  }

  /** Begins a new segment with the marks of all boots, so that older segments can go. */
  async roll(): Promise<void> {
    if (this.#isSuspect) await this.#moveOn();
    if (this.#file !== undefined) await this.sync();
    await this.#begin();
    await this.writeMarks();
  }

  /** Deletes segments; all of them, or they stay in the books. */
  async remove(gone: readonly Segment[]): Promise<void> {
    for (const { path } of gone) await this.#options.disk.remove(path);
    this.#segments = this.#segments.filter((segment) => !gone.includes(segment));
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Whether the active segment has been written to for so long that it would keep young ones with old ones. */
  #isAged(): boolean {
    const { maxAgeMs, clock } = this.#options;
    if (maxAgeMs === undefined || this.active.members.size === 0) return false;
    return clock.monotonicMs() - this.#activeSinceMs > maxAgeMs / AGE_PARTS;
  }

  /** A failed write or sync: what is not durable goes into a new segment. */
  async #moveOn(): Promise<void> {
    const left = this.#unsynced;
    const suspect = this.active;
    const durable = this.#durable;
    await this.#begin();
    // What lies behind the last good sync is whole or not: it is here once more.
    if (suspect.index === durable.segment) suspect.length = durable.offset;
    this.#unsynced = [];
    this.#isSuspect = false;
    try {
      await this.#writeUnsynced(left);
    } catch (error) {
      this.#unsynced = left;
      this.#isSuspect = true;
      throw error;
    }
    await this.writeMarks();
    await this.sync();
  }

  async #begin(): Promise<void> {
    const { folder, disk, clock, trueTimeMs } = this.#options;
    const old = this.#file;
    const previous = this.#segments[this.#segments.length - 1];
    const segment = newSegment(folder, (previous?.index ?? 0) + 1);
    // A name left over from a failed attempt holds nothing: it was never written to the list.
    const file = await disk.open(segment.path, 'w+', 0o600);
    try {
      await writeAll(file, SEGMENT_MAGIC, 0);
      segment.length = SEGMENT_MAGIC.length;
      await file.sync();
      await disk.syncFolder(folder);
    } catch (error) {
      await file.close().catch(() => {});
      await disk.remove(segment.path).catch(() => {});
      throw error;
    }
    this.#bytesWritten += SEGMENT_MAGIC.length;
    if (previous !== undefined) {
      previous.closedAtMs = clock.monotonicMs();
      const nowMs = trueTimeMs?.() ?? null;
      if (nowMs !== null) previous.closedAtUnixMs = nowMs;
    }
    this.#activeSinceMs = clock.monotonicMs();
    this.#segments.push(segment);
    this.#file = file;
    this.#durable = { segment: segment.index, offset: segment.length };
    await old?.close().catch(() => {});
    this.marks.startOver();
  }

  /** Writes the marks that changed, what time it is, and other frames behind them. */
  async #write(others: readonly CardFrame[]): Promise<void> {
    if (this.#isSuspect) await this.#moveOn();
    const due = this.marks.due(others.length > 0);
    await this.#writeUnsynced([
      ...due.frames.map((bytes) => ({ bytes, members: [] })),
      ...others.map(({ frame, key, seq }) => ({ bytes: frame, members: [{ key, seq }] })),
    ]);
    const { timeMs } = due;
    if (timeMs !== null) {
      for (const segment of this.#segments.slice(0, -1)) segment.closedAtUnixMs ??= timeMs;
    }
    this.marks.written(due);
  }

  /** Appends whole frames to the active segment, or leaves it as it was. */
  async #writeUnsynced(parts: readonly Unsynced[]): Promise<void> {
    const segment = this.active;
    const bytes = Buffer.concat(parts.map((part) => part.bytes));
    if (bytes.length === 0) return;
    try {
      await writeAll(this.#file!, bytes, segment.length);
    } catch (error) {
      // The next write starts at segment.length again, or in another segment; a torn frame behind it is never read.
      await this.#file!.truncate(segment.length).catch(() => {});
      if (codeOf(error) !== 'ENOSPC') this.#isSuspect = true;
      throw error;
    }
    segment.length += bytes.length;
    this.#bytesWritten += bytes.length;
    this.#unsynced.push(...parts);
    for (const { members } of parts) {
      for (const { key, seq } of members) addMember(segment, key, seq);
    }
  }
}
