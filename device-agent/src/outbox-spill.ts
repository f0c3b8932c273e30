/**
 * What goes where between the front of the outbox (outbox-front.ts) and its card: an envelope lies in the front first, and
 * goes to the card when it is not settled in time, or there are too many of them. Where there is no front, or it fails,
 * the card takes all.
 */

import { bootKey } from './boot.ts';
import type { Clock, TimerHandle } from './clock.ts';
import type { Disk } from './disk.ts';
import { reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import type { OutboxCard } from './outbox-card.ts';
import { type EnvelopeRecord, encodeEnvelopeFrame } from './outbox-frame.ts';
import { OutboxFront } from './outbox-front.ts';
import type { OutboxLedger } from './outbox-ledger.ts';
import { marksOf } from './outbox-marks.ts';
import { type OutboxOptions, SPILL_AFTER_MS, SPILL_BYTES } from './outbox-options.ts';

/** Less of what nobody waits for stays in the file of an empty front. */
const SLACK_BYTES = 4096;

export interface OutboxSpillOptions
  extends Pick<OutboxOptions, 'maxBytes' | 'spillAfterMs' | 'spillBytes'> {
  /** Of the front alone. */
  readonly folder: string;
  readonly card: OutboxCard;
  readonly ledger: OutboxLedger;
  readonly clock: Clock;
  readonly log: Log;
  readonly disk: Disk;
  /** Has something done in turn with all else that is done to the outbox. */
  readonly serially: (operation: () => Promise<void>) => Promise<void>;
}

export class OutboxSpill {
  readonly front: OutboxFront;
  readonly #options: OutboxSpillOptions;
  readonly #spillAfterMs: number;
  readonly #spillBytes: number;
  #timer: TimerHandle | undefined;

  constructor(options: OutboxSpillOptions) {
    this.#options = options;
    const { folder, disk, spillBytes = SPILL_BYTES, spillAfterMs = SPILL_AFTER_MS } = options;
    this.#spillBytes = spillBytes;
    this.#spillAfterMs = spillAfterMs;
    const maxBytes = Math.min(spillBytes, options.maxBytes / 4);
    this.front = new OutboxFront({ folder, disk, maxBytes });
  }

  /**
   * What an earlier process has left in the front waits there as if it came now.
   *
   * @returns whether there is a front.
   */
  async open(): Promise<boolean> {
    const { folder, card, ledger, clock, log } = this.#options;
    const nowMs = clock.monotonicMs();
    const left = await this.front.open().catch((error: unknown) => {
      log.warn('outbox: no front, all goes to the card', { folder, reason: reasonOf(error) });
      return undefined;
    });
    if (left === undefined) return false;
    for (const body of left) {
      const entry = ledger.note(body);
      if (entry === undefined) continue;
      card.marks.changed(entry.key);
      if (body.type === 'envelope') {
        // The body is a view on a larger buffer.
        const record = { ...body, bytes: body.bytes.slice() };
        this.front.adopt(record, encodeEnvelopeFrame(record), nowMs);
      }
    }
    this.front.keepOnly(({ boot, seq }) => ledger.isPending(boot, seq));
    await this.#restart();
    this.#later();
    return true;
  }

  /** @returns whether it is in the front: not where that has no room. */
  async add(record: EnvelopeRecord, frame: Uint8Array): Promise<boolean> {
    const { clock, log } = this.#options;
    if (!this.front.fits(frame.length)) await this.spill();
    if (!this.front.fits(frame.length)) return false;
    try {
      await this.front.add(record, frame, clock.monotonicMs());
    } catch (error) {
      log.warn('outbox: no room in memory, goes to the card', { reason: reasonOf(error) });
      await this.spill();
      return false;
    }
    this.#later();
    return true;
  }

  /** Writes what waits in the front to the card, durably, and lets the front go of it. */
  async spill(): Promise<void> {
    const { card } = this.#options;
    if (this.front.items.length === 0) return;
    const spilled = [...this.front.items];
    await card.append(
      spilled.map(({ record, frame }) => ({ frame, key: bootKey(record.boot), seq: record.seq })),
    );
    await card.sync();
    this.front.release(spilled[spilled.length - 1]!.at);
    await this.#restart();
  }

  /** Lets the front go of what is settled or given up. */
  async tidy(): Promise<void> {
    const { ledger } = this.#options;
    this.front.keepOnly(({ boot, seq }) => ledger.isPending(boot, seq));
    const isWorth =
      this.front.items.length === 0
        ? this.front.slack > SLACK_BYTES
        : this.front.slack * 2 > this.#spillBytes;
    if (isWorth) await this.#restart();
  }

  /** Whether it has envelopes of the boot with this key. */
  hasBoot(key: string): boolean {
    return this.front.items.some(({ record }) => bootKey(record.boot) === key);
  }

  /** Spills nothing by itself any more. */
  stop(): void {
    this.#options.clock.cancel(this.#timer);
  }

  /** @param isEmpty - whether all is settled, or on the card. */
  async close(isEmpty: boolean): Promise<void> {
    await this.front.close(isEmpty);
  }

  /** Begins the file of the front anew, with all that is known to be settled. */
  async #restart(): Promise<void> {
    const { ledger, log } = this.#options;
    await this.front.restart(marksOf(ledger.boots())).catch((error: unknown) => {
      log.warn('outbox: front not tidied', { reason: reasonOf(error) });
    });
  }

  /** Sets the timer for the oldest. */
  #later(): void {
    const { clock, log, serially } = this.#options;
    const [oldest] = this.front.items;
    if (oldest === undefined || this.#timer !== undefined) return;
    const delayMs = Math.max(oldest.sinceMs + this.#spillAfterMs - clock.monotonicMs(), 0);
    this.#timer = clock.after(delayMs, () => {
      this.#timer = undefined;
      serially(() => this.#spillDue()).then(
        () => this.#later(),
        (error: unknown) => {
          log.error('outbox not spilled to the card', { reason: reasonOf(error) });
          this.#timer ??= clock.after(this.#spillAfterMs, () => {
            this.#timer = undefined;
            this.#later();
          });
        },
      );
    });
  }

  async #spillDue(): Promise<void> {
    const { card, clock } = this.#options;
    const [first] = this.front.items;
    const isDue = first !== undefined && first.sinceMs + this.#spillAfterMs <= clock.monotonicMs();
    if (isDue && card.isOpen) await this.spill();
  }
}
