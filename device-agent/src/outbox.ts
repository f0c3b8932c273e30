/**
 * The outbox: signed envelopes wait here, on disk, until the network has proved that it has them.
 *
 * They lie in append-only segments (outbox-card.ts), which are deleted whole when nothing waits in them (outbox-compact.ts).
 * Without a front an envelope is handed to the link only when it is durable (`sync`), so a seq that a crash lost was never
 * sent. With one (outbox-spill.ts) it is handed out at once, and spilled to the card only when it is not settled in time.
 * Either way the next start is another boot: no seq is ever used for two contents. The device forgets by receipts only
 * (docs/spec/settlement.md 3.3); when the outbox is full, or its oldest is too old, the oldest segment is given up, after
 * a `gap` that declares it is durable (the caller's part, see `Journal`).
 */

import type { Interval } from '@fieldproof/protocol/interval-set';
import { type Boot, bootKey } from './boot.ts';
import { type Disk, systemDisk } from './disk.ts';
import { AgentError, reasonOf } from './errors.ts';
import { OutboxCard } from './outbox-card.ts';
import { compact } from './outbox-compact.ts';
import { ageOf, type OutboxVictim, oldestWaiting } from './outbox-contents.ts';
import { OutboxCursor, type OutboxPosition } from './outbox-cursor.ts';
import { type EnvelopeRecord, encodeEnvelopeFrame } from './outbox-frame.ts';
import { type BootRanges, OutboxLedger } from './outbox-ledger.ts';
import { bytesOf, type OutboxDamage } from './outbox-load.ts';
import type { OutboxOptions, OutboxStats } from './outbox-options.ts';
import { OutboxSpill } from './outbox-spill.ts';

/** Kept free under maxBytes for gaps and marks, so that giving up can always be declared. */
const RESERVE_BYTES = 65_536;

export class Outbox {
  readonly #options: OutboxOptions & { readonly disk: Disk };
  readonly #ledger = new OutboxLedger();
  readonly #card: OutboxCard;
  /** Undefined where there is no front, or it cannot be used. */
  #spill: OutboxSpill | undefined;
  #damage: readonly OutboxDamage[] = [];
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: OutboxOptions) {
    this.#options = { disk: systemDisk, ...options };
    const serially = (operation: () => Promise<void>): Promise<void> => this.#serially(operation);
    const parts = { ...this.#options, ledger: this.#ledger, serially };
    this.#card = new OutboxCard(parts);
    const { frontFolder: folder } = options;
    if (folder !== undefined) this.#spill = new OutboxSpill({ ...parts, folder, card: this.#card });
  }

  /**
   * Reads what is there, cuts off a torn last write, and gets ready to append.
   *
   * @returns bytes that were not readable; where is in `damage`, the seqs lost with them are in `holes()`.
   * @throws {AgentError} ERR_AGENT_OUTBOX
   */
  async open(): Promise<{ readonly tornBytes: number; readonly damagedBytes: number }> {
    try {
      this.#damage = await this.#card.open();
      if ((await this.#spill?.open()) === false) this.#spill = undefined;
      this.#ledger.countPending();
      await this.#compact();
      return {
        tornBytes: bytesOf(this.#damage, 'torn'),
        damagedBytes: bytesOf(this.#damage, 'damaged'),
      };
    } catch (cause) {
      await this.#card.close().catch(() => {});
      await this.#spill?.close(false).catch(() => {});
      throw failure(this.#options.folder, cause);
    }
  }

  /** What `open` found unreadable. */
  get damage(): readonly OutboxDamage[] {
    return this.#damage;
  }

  /** The highest boot counter in here, 0 when empty. */
  get highestBootCounter(): number {
    return this.#ledger.highestBootCounter;
  }

  /** Whether another envelope of this size would pass a limit. */
  isFull(bytes: number): boolean {
    return (
      this.#bytes + bytes + RESERVE_BYTES > this.#options.maxBytes ||
      this.#ledger.pendingCount >= this.#options.maxEnvelopes
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
        const isInFront = (await this.#spill?.add(record, frame)) === true;
        if (!isInFront) {
          await this.#card.append([{ frame, key: entry.key, seq: record.seq }]);
          const isSynced = this.#options.fsync === 'always' || this.#spill !== undefined;
          if (isSynced) await this.#card.sync();
        }
      } catch (cause) {
        throw failure('append', cause);
      }
      this.#ledger.add(entry, record.seq);
      if (this.#spill !== undefined) this.#options.onDurable?.();
      else if (this.#options.fsync === 'interval') this.#card.syncLater();
    });
  }

  /**
   * Has everything appended so far handed out: durable, or in the front.
   *
   * @throws {AgentError} ERR_AGENT_OUTBOX
   */
  sync(): Promise<void> {
    return this.#durably('sync', async () => {
      if (this.#spill === undefined) await this.#card.writeMarks();
    });
  }

  /** Makes all that waits durable, also what is in the front. @throws {AgentError} ERR_AGENT_OUTBOX */
  spill(): Promise<void> {
    return this.#durably('spill', async () => {
      await this.#spill?.spill();
      await this.#card.writeMarks();
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
      const settled = this.#ledger.settle(boot, ranges);
      if (settled === undefined) return 0;
      this.#card.marks.changed(bootKey(boot));
      await this.#spill?.tidy();
      await this.#compact();
      return settled;
    });
  }

  /** Notes seqs that were given up: they are neither sent nor waited for, and `undeclared` until settled. */
  drop(boot: Boot, ranges: readonly Interval[]): Promise<void> {
    return this.#serially(async () => {
      this.#drop([{ boot, ranges }]);
      await this.#spill?.tidy();
    });
  }

  /** The oldest segment with envelopes that wait, to be given up when the outbox is full. */
  victim(): OutboxVictim | undefined {
    return oldestWaiting(this.#card.segments, this.#ledger);
  }

  /** The same where all that waits in it is surely older than `maxAgeMs`. */
  expired(): OutboxVictim | undefined {
    const { maxAgeMs, clock, trueTimeMs } = this.#options;
    const victim = maxAgeMs === undefined ? undefined : this.victim();
    const now = { monotonicMs: clock.monotonicMs(), unixMs: trueTimeMs?.() ?? null };
    return victim !== undefined && ageOf(victim.segment, now) > maxAgeMs! ? victim : undefined;
  }

  /** Gives a segment up. The caller has made its declaration durable. */
  giveUp(victim: OutboxVictim): Promise<void> {
    return this.#serially(async () => {
      this.#drop(victim.lost);
      await this.#compact();
    });
  }

  /** Closes the segment that is written to, so that it can be given up too. */
  roll(): Promise<void> {
    return this.#serially(async () => {
      await this.#spill?.spill();
      await this.#card.roll();
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
    return this.#ledger.pendingBoots();
  }

  /** What waits of one boot. */
  pendingRanges(boot: Boot): Interval[] {
    return this.#ledger.pendingRanges(boot);
  }

  isPending(boot: Boot, seq: number): boolean {
    return this.#ledger.isPending(boot, seq);
  }

  /** Where the next envelope will lie. */
  get end(): OutboxPosition {
    const { index: segment, length: offset } = this.#card.active;
    return { segment, offset, front: this.#spill?.front.end ?? 0 };
  }

  /** Reads what waits, oldest first, from a position to another (default: as far as it is durable). */
  cursor(
    from: OutboxPosition = { segment: 0, offset: 0, front: 0 },
    to?: OutboxPosition,
  ): OutboxCursor {
    return new OutboxCursor({
      ...{ from, to },
      durable: () => this.#card.durable,
      nextSegment: (index) => this.#card.segments.find((segment) => segment.index >= index),
      inFront: (at) => this.#spill?.front.from(at),
      isPending: (boot, seq) => this.#ledger.isPending(boot, seq),
      open: (path) => this.#options.disk.open(path, 'r', 0o600),
    });
  }

  stats(): OutboxStats {
    return {
      pending: this.#ledger.pendingCount,
      bytes: this.#bytes,
      frontBytes: this.#spill?.front.bytes ?? 0,
      segments: this.#card.segments.length,
      bytesWritten: this.#card.bytesWritten,
      syncs: this.#card.syncs,
    };
  }

  async close(): Promise<void> {
    this.#stopTimers();
    let isSpilled = false;
    try {
      if (this.#card.isOpen) await this.spill();
      isSpilled = true;
    } finally {
      await this.#serially(async () => {
        // A timer may have been set while the last operation ran.
        this.#stopTimers();
        await this.#card.close();
        await this.#spill?.close(isSpilled);
      });
    }
  }

  #stopTimers(): void {
    this.#card.stop();
    this.#spill?.stop();
  }

  /** One operation at a time, in the order of the calls. */
  #serially<T>(operation: () => Promise<T> | T): Promise<T> {
    const result = this.#queue.then(operation);
    this.#queue = result.catch(() => {});
    return result;
  }

  /** Does it, and makes durable what is on the card. */
  async #durably(what: string, operation: () => Promise<void>): Promise<void> {
    try {
      await this.#serially(() => operation().then(() => this.#card.sync()));
    } catch (cause) {
      throw failure(what, cause);
    }
  }

  get #bytes(): number {
    return this.#card.bytes + (this.#spill?.front.bytes ?? 0);
  }

  #drop(lost: readonly BootRanges[]): void {
    this.#ledger.drop(lost);
    for (const { boot } of lost) this.#card.marks.changed(bootKey(boot));
  }

  /** Deletes what nobody waits for. */
  #compact(): Promise<void> {
    return compact({
      card: this.#card,
      ledger: this.#ledger,
      log: this.#options.log,
      isInFront: (key) => this.#spill?.hasBoot(key) === true,
    });
  }
}

function failure(what: string, cause: unknown): AgentError {
  return new AgentError('ERR_AGENT_OUTBOX', `${what}: ${reasonOf(cause)}`, { cause });
}
