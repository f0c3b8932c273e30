/**
 * The outbox: signed envelopes wait here, on disk, until the network has proved that it has them.
 *
 * Append-only segments; deletion is by whole segments of which nothing waits any more. Without a front an envelope is
 * handed to the link only when it is durable (`sync`), so a seq that a crash lost was never sent. With a front
 * (outbox-front.ts) it is handed out at once and spilled to the card only when it is not settled in time. Either way the next
 * start is another boot: no seq is ever used for two contents. A torn last write is cut off and told.
 * The device forgets by receipts only (docs/spec/settlement.md 3.3); when the outbox is full, or its oldest is too old, the
 * oldest segment is given up, after a `gap` that declares it is durable (the caller's part, see `Journal`).
 *
 * What a failed fsync leaves is nobody's guess: the system may call pages clean that never reached the card. So all
 * since the last good one is written again, into a new segment, before anything else.
 */

import { join } from 'node:path';
import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import { type Boot, bootKey } from './boot.ts';
import type { Clock, TimerHandle } from './clock.ts';
import { type Disk, type DiskFile, systemDisk, writeAll } from './disk.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import { isBefore, OutboxCursor, type OutboxPosition } from './outbox-cursor.ts';
import {
  type EnvelopeRecord,
  encodeClockFrame,
  encodeEnvelopeFrame,
  encodeMarkFrames,
  type OutboxBody,
} from './outbox-frame.ts';
import { OutboxFront } from './outbox-front.ts';
import {
  type BootEntry,
  type BootRanges,
  countOf,
  OutboxLedger,
  pendingOf,
} from './outbox-ledger.ts';
import { SEGMENT_MAGIC, scanSegment } from './outbox-segment.ts';

const SEGMENT_NAME = /^(\d{10})\.seg$/;
/** Kept free under maxBytes for gaps and marks, so that giving up can always be declared. */
const RESERVE_BYTES = 65_536;
const SPILL_BYTES = 2 ** 20;
const SPILL_AFTER_MS = 60_000;
/** A believed time is written this often: ages are known as exactly as that. */
const CLOCK_MARK_EVERY_MS = 3_600_000;
/** A segment is closed after this part of the greatest age, so that it does not keep young ones with old ones. */
const AGE_PARTS = 8;

export interface OutboxOptions {
  readonly folder: string;
  readonly maxBytes: number;
  readonly maxEnvelopes: number;
  readonly segmentBytes: number;
  readonly fsync: 'always' | 'interval';
  readonly fsyncEveryMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Called whenever more envelopes may be handed out. */
  readonly onDurable?: () => void;
  readonly disk?: Disk;
  /** A memory-backed folder of this outbox alone; without it all goes to the card at once. */
  readonly frontFolder?: string | undefined;
  /** What is not settled after so long in the front, or beyond so many bytes, goes to the card. */
  readonly spillAfterMs?: number;
  readonly spillBytes?: number;
  /** What is surely older may be given up; default never. */
  readonly maxAgeMs?: number;
  /** Unix ms by a clock that is believed, or null. */
  readonly trueTimeMs?: () => number | null;
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
  /** Monotonic and believed Unix ms at which it had all of its envelopes, as far as known. */
  closedAtMs?: number;
  closedAtUnixMs?: number;
}

/** Written and not durable yet. */
interface Unsynced {
  readonly bytes: Uint8Array;
  /** Envelopes in it. */
  readonly members: readonly { readonly key: string; readonly seq: number }[];
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
  /** Bytes of them in the front. */
  readonly frontBytes: number;
  /** Bytes written to the card since `open`. */
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
  readonly #disk: Disk;
  #front: OutboxFront | undefined;
  #file: DiskFile | undefined;
  #durable: Omit<OutboxPosition, 'front'> = { segment: 0, offset: 0 };
  #unsynced: Unsynced[] = [];
  /** A write or a sync has failed: what is unsynced has to be written elsewhere. */
  #isSuspect = false;
  #clockMarkAtMs: number | undefined;
  #spillTimer: TimerHandle | undefined;
  #dirtyBoots = new Set<string>();
  #queue: Promise<unknown> = Promise.resolve();
  #timer: TimerHandle | undefined;
  #bytesWritten = 0;
  #syncs = 0;
  #pendingCount = 0;
  #activeSinceMs = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
    const { disk = systemDisk, frontFolder } = options;
    this.#disk = disk;
    const spillBytes = Math.min(options.spillBytes ?? SPILL_BYTES, options.maxBytes / 4);
    if (frontFolder !== undefined) {
      this.#front = new OutboxFront({ folder: frontFolder, disk, maxBytes: spillBytes });
    }
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
      await this.#disk.makeFolder(folder);
      const indexes = (await this.#disk.readdir(folder))
        .flatMap((name) => SEGMENT_NAME.exec(name)?.[1] ?? [])
        .map(Number)
        .sort((a, b) => a - b);
      for (const index of indexes) {
        const last = index === indexes[indexes.length - 1];
        this.#damage.push(...(await this.#load(index, last)));
      }
      this.#activeSinceMs = this.#options.clock.monotonicMs();
      const active = this.#segments[this.#segments.length - 1];
      if (active === undefined || active.length === 0) await this.#roll();
      else this.#file = await this.#open(active.path, 'r+');
      await this.#syncNow();
      await this.#openFront();
      this.#pendingCount = this.#ledger.pendingCount();
      await this.#deleteSettled();
      const bytesOf = (reason: OutboxDamage['reason']): number =>
        this.#damage.reduce((sum, part) => sum + (part.reason === reason ? part.bytes : 0), 0);
      return { tornBytes: bytesOf('torn'), damagedBytes: bytesOf('damaged') };
    } catch (cause) {
      await this.#file?.close().catch(() => {});
      await this.#front?.close(false).catch(() => {});
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
    return (
      this.#bytes() + bytes + RESERVE_BYTES > this.#options.maxBytes ||
      this.#pendingCount >= this.#options.maxEnvelopes
    );
  }

  /**
   * Writes an envelope. Cursors hand it out when it is durable: with `fsync: always` when this resolves, else
   * within `fsyncEveryMs`, or after `sync`; with a front at once.
   *
   * @throws {AgentError} ERR_AGENT_OUTBOX; then nothing of it is in the outbox, and its seq is used up.
   */
  append(record: EnvelopeRecord): Promise<void> {
    return this.#serially(async () => {
      const frame = encodeEnvelopeFrame(record);
      const entry = this.#ledger.entry(record.boot);
      try {
        const isInFront = await this.#addToFront(record, frame);
        if (!isInFront) {
          await this.#appendToCard([{ frame, key: entry.key, seq: record.seq }]);
          if (this.#options.fsync === 'always' || this.#front !== undefined) await this.#syncNow();
        }
      } catch (cause) {
        throw new AgentError('ERR_AGENT_OUTBOX', `append: ${reasonOf(cause)}`, { cause });
      }
      entry.present.add(record.seq);
      this.#pendingCount += 1;
      if (this.#front !== undefined) this.#options.onDurable?.();
      else if (this.#options.fsync === 'interval') this.#syncLater();
    });
  }

  /**
   * Has everything appended so far handed out: durable, or in the front.
   *
   * @throws {AgentError} ERR_AGENT_OUTBOX
   */
  sync(): Promise<void> {
    return this.#serially(async () => {
      if (this.#front === undefined) await this.#writeMarks();
      await this.#syncNow();
    }).catch((cause: unknown) => {
      throw new AgentError('ERR_AGENT_OUTBOX', `sync: ${reasonOf(cause)}`, { cause });
    });
  }

  /** Makes all that waits durable, also what is in the front. @throws {AgentError} ERR_AGENT_OUTBOX */
  spill(): Promise<void> {
    return this.#serially(async () => {
      await this.#spill();
      await this.#writeMarks();
      await this.#syncNow();
    }).catch((cause: unknown) => {
      throw new AgentError('ERR_AGENT_OUTBOX', `spill: ${reasonOf(cause)}`, { cause });
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
      await this.#tidyFront();
      await this.#deleteSettled();
      return settled;
    });
  }

  /** Notes seqs that were given up: they are neither sent nor waited for, and `undeclared` until settled. */
  drop(boot: Boot, ranges: readonly Interval[]): Promise<void> {
    return this.#serially(async () => {
      this.#drop([{ boot, ranges }]);
      await this.#tidyFront();
    });
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

  /** The same where all that waits in it is surely older than `maxAgeMs`. */
  expired(): OutboxVictim | undefined {
    const { maxAgeMs, clock, trueTimeMs } = this.#options;
    const victim = this.victim();
    if (maxAgeMs === undefined || victim === undefined) return undefined;
    const segment = this.#segments.find(({ index }) => index === victim.segment)!;
    const nowMs = trueTimeMs?.() ?? null;
    const ran = clock.monotonicMs() - (segment.closedAtMs ?? Number.POSITIVE_INFINITY);
    const old = nowMs === null ? 0 : nowMs - (segment.closedAtUnixMs ?? Number.POSITIVE_INFINITY);
    return Math.max(ran, old) > maxAgeMs ? victim : undefined;
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
    return this.#serially(async () => {
      await this.#spill();
      await this.#roll();
    });
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
    return {
      segment: this.#active.index,
      offset: this.#active.length,
      front: this.#front?.end ?? 0,
    };
  }

  /** Reads what waits, oldest first, from a position to another (default: as far as it is durable). */
  cursor(
    from: OutboxPosition = { segment: 0, offset: 0, front: 0 },
    to?: OutboxPosition,
  ): OutboxCursor {
    const front = to?.front ?? Number.POSITIVE_INFINITY;
    return new OutboxCursor({
      from,
      limit: () => ({
        ...(to !== undefined && isBefore(to, this.#durable) ? to : this.#durable),
        front,
      }),
      nextSegment: (index) => this.#segments.find((segment) => segment.index >= index),
      inFront: (at) => this.#front?.from(at),
      isPending: (boot, seq) => this.#ledger.isPending(boot, seq),
      open: (path) => this.#open(path, 'r'),
    });
  }

  stats(): OutboxStats {
    return {
      pending: this.#pendingCount,
      bytes: this.#bytes(),
      frontBytes: this.#front?.bytes ?? 0,
      segments: this.#segments.length,
      bytesWritten: this.#bytesWritten,
      syncs: this.#syncs,
    };
  }

  async close(): Promise<void> {
    const { clock } = this.#options;
    for (const timer of [this.#timer, this.#spillTimer]) clock.cancel(timer);
    this.#timer = undefined;
    let isSpilled = false;
    try {
      if (this.#file !== undefined) await this.spill();
      isSpilled = true;
    } finally {
      await this.#serially(async () => {
        // The timer may have been set while the last operation ran.
        for (const timer of [this.#timer, this.#spillTimer]) clock.cancel(timer);
        await this.#file?.close();
        this.#file = undefined;
        await this.#front?.close(isSpilled);
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

  #open(path: string, flags: string): Promise<DiskFile> {
    return this.#disk.open(path, flags, 0o600);
  }

  #bytes(): number {
    const onCard = this.#segments.reduce((sum, { length }) => sum + length, 0);
    return onCard + (this.#front?.bytes ?? 0);
  }

  /** What an earlier process has left in the front waits there as if it came now. */
  async #openFront(): Promise<void> {
    const front = this.#front;
    if (front === undefined) return;
    const { clock, log, frontFolder } = this.#options;
    const nowMs = clock.monotonicMs();
    const left = await front.open().catch((error: unknown) => {
      log.warn('outbox: no front, all goes to the card', {
        folder: frontFolder ?? '',
        reason: reasonOf(error),
      });
      this.#front = undefined;
      return [];
    });
    if (this.#front === undefined) return;
    for (const body of left) {
      const entry = this.#note(body);
      if (entry === undefined) continue;
      this.#dirtyBoots.add(entry.key);
      if (body.type === 'envelope') {
        // The body is a view on a larger buffer.
        const record = { ...body, bytes: body.bytes.slice() };
        front.adopt(record, encodeEnvelopeFrame(record), nowMs);
      }
    }
    front.keepOnly(({ boot, seq }) => this.#ledger.isPending(boot, seq));
    await this.#restartFront(front);
    this.#spillLater();
  }

  /** Begins the file of the front anew, with all that is known to be settled. */
  async #restartFront(front: OutboxFront): Promise<void> {
    await front.restart(this.#marks(this.#ledger.boots())).catch((error: unknown) => {
      this.#options.log.warn('outbox: front not tidied', { reason: reasonOf(error) });
    });
  }

  /** Takes a frame into the books. */
  #note(body: OutboxBody): BootEntry | undefined {
    if (body.type === 'clock') return undefined;
    const entry = this.#ledger.entry(body.boot);
    if (body.type === 'envelope') entry.present.add(body.seq);
    else for (const [from, to] of body.ranges) entry[body.type].addRange(from, to);
    return entry;
  }

  /** Whether it is in the front: not where there is none, or it has no room. */
  async #addToFront(record: EnvelopeRecord, frame: Uint8Array): Promise<boolean> {
    const front = this.#front;
    if (front === undefined) return false;
    if (!front.fits(frame.length)) await this.#spill();
    if (!front.fits(frame.length)) return false;
    const { clock, log } = this.#options;
    try {
      await front.add(record, frame, clock.monotonicMs());
    } catch (error) {
      log.warn('outbox: no room in memory, goes to the card', { reason: reasonOf(error) });
      await this.#spill();
      return false;
    }
    this.#spillLater();
    return true;
  }

  /** Lets the front go of what is settled or given up. */
  async #tidyFront(): Promise<void> {
    const front = this.#front;
    if (front === undefined) return;
    front.keepOnly(({ boot, seq }) => this.#ledger.isPending(boot, seq));
    const { spillBytes = SPILL_BYTES } = this.#options;
    const isWorth = front.items.length === 0 ? front.slack > 4096 : front.slack * 2 > spillBytes;
    if (isWorth) await this.#restartFront(front);
  }

  #spillLater(): void {
    const { clock, log, spillAfterMs = SPILL_AFTER_MS } = this.#options;
    const [oldest] = this.#front?.items ?? [];
    if (oldest === undefined || this.#spillTimer !== undefined) return;
    const dueMs = oldest.sinceMs + spillAfterMs;
    const delayMs = Math.max(dueMs - clock.monotonicMs(), 0);
    this.#spillTimer = clock.after(delayMs, () => {
      this.#spillTimer = undefined;
      this.#serially(async () => {
        const [first] = this.#front?.items ?? [];
        const isDue = first !== undefined && first.sinceMs + spillAfterMs <= clock.monotonicMs();
        if (isDue && this.#file !== undefined) await this.#spill();
      }).then(
        () => this.#spillLater(),
        (error: unknown) => {
          log.error('outbox not spilled to the card', { reason: reasonOf(error) });
          this.#spillTimer ??= clock.after(spillAfterMs, () => {
            this.#spillTimer = undefined;
            this.#spillLater();
          });
        },
      );
    });
  }

  /** Writes what waits in the front to the card, durably, and lets the front go of it. */
  async #spill(): Promise<void> {
    const front = this.#front;
    if (front === undefined || front.items.length === 0) return;
    const spilled = [...front.items];
    await this.#appendToCard(
      spilled.map(({ record, frame }) => ({ frame, key: bootKey(record.boot), seq: record.seq })),
    );
    await this.#syncNow();
    front.release(spilled[spilled.length - 1]!.at);
    await this.#restartFront(front);
  }

  /** Writes frames, in as many segments as they need. */
  async #appendToCard(
    frames: readonly { readonly frame: Uint8Array; readonly key: string; readonly seq: number }[],
  ): Promise<void> {
    const { segmentBytes } = this.#options;
    if (this.#isAged()) await this.#roll();
    for (let at = 0; at < frames.length; ) {
      let bytes = 0;
      let to = at;
      while (to < frames.length) {
        bytes += frames[to]!.frame.length;
        if (this.#active.length + bytes > segmentBytes && to > at) break;
        to += 1;
      }
      const part = frames.slice(at, to);
      const size = part.reduce((sum, { frame }) => sum + frame.length, 0);
      if (this.#active.length + size > segmentBytes && this.#active.members.size > 0) {
        await this.#roll();
        continue;
      }
      await this.#writeMarks(part);
      at = to;
    }
  }

  /** Whether the active segment has been written to for so long that it would keep young ones with old ones. */
  #isAged(): boolean {
    const { maxAgeMs, clock } = this.#options;
    const segment = this.#active;
    if (maxAgeMs === undefined || segment.members.size === 0) return false;
    return clock.monotonicMs() - this.#activeSinceMs > maxAgeMs / AGE_PARTS;
  }

  async #load(index: number, last: boolean): Promise<OutboxDamage[]> {
    const segment = this.#newSegment(index);
    segment.closedAtMs = this.#options.clock.monotonicMs();
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
        const { body } = item;
        if (body.type === 'clock') this.#isSealedBefore(body.atMs, segment);
        const entry = this.#note(body);
        if (entry === undefined || body.type !== 'envelope') continue;
        delete segment.closedAtUnixMs;
        membersOf(segment, entry.key).add(body.seq);
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

  /** All that was read so far was sealed before this. */
  #isSealedBefore(atMs: number, current: Segment): void {
    for (const segment of [...this.#segments, current]) segment.closedAtUnixMs ??= atMs;
  }

  /** A failed write or sync: what is not durable goes into a new segment. */
  async #moveOn(): Promise<void> {
    const left = this.#unsynced;
    const suspect = this.#active;
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
    await this.#writeMarks();
    await this.#syncNow();
  }

  /** Begins a new segment with the marks of all boots, so that older segments can go. */
  async #roll(): Promise<void> {
    if (this.#isSuspect) await this.#moveOn();
    if (this.#file !== undefined) await this.#syncNow();
    await this.#begin();
    await this.#writeMarks();
  }

  async #begin(): Promise<void> {
    const old = this.#file;
    const previous = this.#segments[this.#segments.length - 1];
    const segment = this.#newSegment((previous?.index ?? 0) + 1);
    // A name left over from a failed attempt holds nothing: it was never written to the list.
    const file = await this.#open(segment.path, 'w+');
    try {
      await writeAll(file, SEGMENT_MAGIC, 0);
      segment.length = SEGMENT_MAGIC.length;
      await file.sync();
      await this.#disk.syncFolder(this.#options.folder);
    } catch (error) {
      await file.close().catch(() => {});
      await this.#disk.remove(segment.path).catch(() => {});
      throw error;
    }
    this.#bytesWritten += SEGMENT_MAGIC.length;
    const { clock, trueTimeMs } = this.#options;
    if (previous !== undefined) {
      previous.closedAtMs = clock.monotonicMs();
      const nowMs = trueTimeMs?.() ?? null;
      if (nowMs !== null) previous.closedAtUnixMs = nowMs;
    }
    this.#clockMarkAtMs = undefined;
    this.#activeSinceMs = clock.monotonicMs();
    this.#segments.push(segment);
    this.#file = file;
    this.#durable = { segment: segment.index, offset: segment.length };
    await old?.close().catch(() => {});
    for (const entry of this.#ledger.boots()) this.#dirtyBoots.add(entry.key);
  }

  /** Appends whole frames to the active segment, or leaves it as it was. */
  async #writeUnsynced(parts: readonly Unsynced[]): Promise<void> {
    const segment = this.#active;
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
      for (const { key, seq } of members) membersOf(segment, key).add(seq);
    }
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
    if (this.#isSuspect) {
      await this.#moveOn();
      return;
    }
    const { index, length } = this.#active;
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

  /** Writes the marks that changed, what time it is, and other frames behind them. */
  async #writeMarks(
    others: readonly {
      readonly frame: Uint8Array;
      readonly key: string;
      readonly seq: number;
    }[] = [],
  ): Promise<void> {
    if (this.#isSuspect) await this.#moveOn();
    const boots = this.#ledger.boots().filter(({ key }) => this.#dirtyBoots.has(key));
    const marks = this.#marks(boots);
    if (marks.length + others.length > 0) {
      const timeMs = this.#timeToMark();
      if (timeMs !== null) marks.unshift(encodeClockFrame(timeMs));
      await this.#writeUnsynced([
        ...marks.map((bytes) => ({ bytes, members: [] })),
        ...others.map(({ frame, key, seq }) => ({ bytes: frame, members: [{ key, seq }] })),
      ]);
      if (timeMs !== null) {
        this.#clockMarkAtMs = this.#options.clock.monotonicMs();
        for (const segment of this.#segments.slice(0, -1)) segment.closedAtUnixMs ??= timeMs;
      }
    }
    // Only now: after a write that failed they are written again.
    this.#dirtyBoots.clear();
  }

  /** The time, where it is believed and was not written lately. */
  #timeToMark(): number | null {
    const { clock, trueTimeMs } = this.#options;
    const sinceMs = clock.monotonicMs() - (this.#clockMarkAtMs ?? Number.NEGATIVE_INFINITY);
    return sinceMs >= CLOCK_MARK_EVERY_MS ? (trueTimeMs?.() ?? null) : null;
  }

  #marks(boots: readonly BootEntry[]): Uint8Array[] {
    return boots.flatMap(({ boot, settled, dropped }) => [
      ...encodeMarkFrames('settled', boot, settled.ranges()),
      ...encodeMarkFrames('dropped', boot, dropped.ranges()),
    ]);
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
      for (const { path } of gone) await this.#disk.remove(path);
    } catch (error) {
      // Nothing is lost: they are found settled again later.
      this.#options.log.warn('outbox not compacted', { reason: reasonOf(error) });
      return;
    }
    this.#segments = this.#segments.filter((segment) => !gone.includes(segment));
    for (const entry of this.#ledger.boots()) {
      const used =
        this.#segments.some((segment) => segment.members.has(entry.key)) ||
        this.#front?.items.some(({ record }) => bootKey(record.boot) === entry.key) === true;
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
