/**
 * Numbers, signs and keeps every message of this boot: the only place where a seq is used.
 *
 * One at a time, so that the outbox holds them in order. When the outbox is full, the oldest segment is given
 * up after a gap that declares it is durable. A seq whose write failed is used up and declared too.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import {
  CONTENT_TYPES,
  type ContentType,
  MAX_RELAY_BYTES,
  type Signer,
  seal,
  upAad,
} from '@fieldproof/protocol/envelope';
import { encodeEvent, encodeGap, MAX_GAPS } from '@fieldproof/protocol/messages';
import { encodeTelemetry } from '@fieldproof/protocol/readings-encode';
import type { UpKind } from '@fieldproof/protocol/topics';
import { wellFormed } from '@fieldproof/protocol/well-formed';
import { type BatchReading, timeReadings } from './batch.ts';
import type { Boot } from './boot.ts';
import type { ClockReading, ClockState } from './clock-state.ts';
import { AgentError, reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import type { Outbox } from './outbox.ts';
import type { OutboxVictim } from './outbox-contents.ts';
import type { PendingEnvelope } from './outbox-cursor.ts';
import type { BootRanges } from './outbox-ledger.ts';

/** What header, stamp and signature add to a payload, at most, with the outbox's own frame. */
const ENVELOPE_OVERHEAD = 256;

type EventDetail = Readonly<Record<string, CborValue>>;
type GapRow = [number, Uint8Array, number, number, string];

export interface JournalOptions {
  readonly network: string;
  readonly signer: Signer;
  readonly boot: Boot;
  readonly outbox: Outbox;
  readonly clock: ClockState;
  readonly format: 'columns' | 'senml';
  readonly log: Log;
}

export interface JournalCounts {
  readonly sealed: number;
  readonly readings: number;
  /** Readings that were taken and could not be kept. */
  readonly lostReadings: number;
  /** Envelopes given up because the outbox was full, or they were too old. */
  readonly dropped: number;
}

export class Journal {
  readonly #options: JournalOptions;
  #queue: Promise<unknown> = Promise.resolve();
  #nextSeq = 0;
  #owesGap = false;
  #firstTelemetrySeq: number | undefined;
  #counts = { sealed: 0, readings: 0, lostReadings: 0, dropped: 0 };

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  counts(): JournalCounts {
    return this.#counts;
  }

  /** The seq of this boot's first readings, undefined before. */
  get firstTelemetrySeq(): number | undefined {
    return this.#firstTelemetrySeq;
  }

  /** Seals readings, in as many envelopes as they need. Never rejects: what cannot be kept is counted. */
  telemetry(readings: readonly BatchReading[]): Promise<void> {
    return this.#serially(async () => {
      const now = this.#options.clock.read();
      let kept = 0;
      try {
        const payloads = encodeTelemetry(timeReadings(readings, now), {
          format: this.#options.format,
        });
        for (const { contentType, payload, count } of payloads) {
          const { seq } = await this.#put('telemetry', contentType as ContentType, payload, now);
          this.#firstTelemetrySeq ??= seq;
          kept += count;
        }
      } catch (error) {
        this.#options.log.error('readings lost', {
          count: readings.length - kept,
          reason: reasonOf(error),
        });
      }
      this.#counts.readings += kept;
      this.#counts.lostReadings += readings.length - kept;
      if (this.#owesGap && kept > 0) await this.#declare();
    });
  }

  /**
   * Seals results of edge functions. Never rejects.
   *
   * @param prepare - gives the payloads, each when the raw readings behind it are durable.
   * @param sealed - told of each one that was sealed, before the next one is asked for.
   */
  results(
    prepare: (now: ClockReading) => AsyncIterable<Uint8Array>,
    sealed: (payload: Uint8Array, seq: number, now: ClockReading) => Promise<void>,
  ): Promise<void> {
    return this.#serially(async () => {
      const now = this.#options.clock.read();
      try {
        for await (const payload of prepare(now)) {
          const { seq } = await this.#put('result', CONTENT_TYPES.edgeResult, payload, now);
          this.#firstTelemetrySeq ??= seq;
          await sealed(payload, seq, now);
        }
      } catch (error) {
        this.#options.log.error('results lost', { reason: reasonOf(error) });
      }
      if (this.#owesGap) await this.#declare();
    });
  }

  /** Seals an event (docs/spec/messages.md section 2). Never rejects. */
  event(event: string, detail?: EventDetail): Promise<void> {
    const message = detail === undefined ? { event } : { event, detail: textsOf(detail) };
    return this.#serially(async () => {
      try {
        await this.#put('event', CONTENT_TYPES.cbor, encodeEvent(message));
      } catch (error) {
        this.#options.log.error('event lost', { event, reason: reasonOf(error) });
      }
    });
  }

  /**
   * Seals what a leaf has handed in. For that nothing that waits is given up.
   *
   * @param payload - of kind `relay`.
   * @throws {AgentError} ERR_AGENT_OUTBOX when there is no room, or it cannot be written.
   */
  relay(payload: Uint8Array): Promise<{ readonly boot: Boot; readonly seq: number }> {
    return this.#serially(async () => {
      if (this.#options.outbox.isFull(payload.length + ENVELOPE_OVERHEAD)) {
        throw new AgentError('ERR_AGENT_OUTBOX', 'relay: the outbox is full');
      }
      const { boot, seq } = await this.#append('relay', CONTENT_TYPES.cbor, payload);
      return { boot, seq };
    });
  }

  /**
   * Seals a birth and makes it durable, so that it can be sent at once.
   *
   * @param payload - made from the clock reading of the sealing.
   * @throws {AgentError} ERR_AGENT_OUTBOX
   */
  birth(payload: (now: ClockReading) => Uint8Array): Promise<PendingEnvelope> {
    return this.#serially(async () => {
      const now = this.#options.clock.read();
      const record = await this.#put('birth', CONTENT_TYPES.cbor, payload(now), now);
      await this.#options.outbox.sync();
      return record;
    });
  }

  /** Declares all that was given up and is not settled yet. Never rejects: it is tried again later. */
  declareLosses(): Promise<void> {
    return this.#serially(() => this.#declare());
  }

  /** Gives up what is surely older than the outbox keeps. Never rejects: it is tried again later. */
  expire(): Promise<void> {
    return this.#serially(async () => {
      const { outbox, log } = this.#options;
      let dropped = 0;
      try {
        for (let old = outbox.expired(); old !== undefined; old = outbox.expired()) {
          const isGone = await this.#giveUp(old, 'too old');
          dropped += old.envelopes;
          if (!isGone) break;
        }
        await this.#tellDropped(dropped, 'envelopes given up that are too old');
      } catch (error) {
        log.error('what is too old was not given up', { reason: reasonOf(error) });
      }
    });
  }

  /** Remembers that something was given up outside of here; the next telemetry declares it. */
  oweGap(): void {
    this.#owesGap = true;
  }

  async #declare(): Promise<void> {
    this.#owesGap = false;
    try {
      await this.#putGaps(this.#options.outbox.undeclared(), 'lost');
    } catch (error) {
      this.#owesGap = true;
      this.#options.log.error('losses not declared', { reason: reasonOf(error) });
    }
  }

  async #putGaps(lost: readonly BootRanges[], reason: string): Promise<void> {
    const rows: GapRow[] = lost.flatMap(({ boot, ranges }) =>
      ranges.map(([from, to]) => [boot.counter, boot.seed, from, to, reason] as GapRow),
    );
    for (let at = 0; at < rows.length; at += MAX_GAPS) {
      const payload = encodeGap({ gaps: rows.slice(at, at + MAX_GAPS) });
      await this.#append('gap', CONTENT_TYPES.cbor, payload);
    }
  }

  async #put(
    kind: UpKind,
    contentType: ContentType,
    payload: Uint8Array,
    now?: ClockReading,
  ): Promise<{ boot: Boot; seq: number; kind: UpKind; bytes: Uint8Array }> {
    await this.#makeRoom(payload.length + ENVELOPE_OVERHEAD);
    return await this.#append(kind, contentType, payload, now);
  }

  async #append(
    kind: UpKind,
    contentType: ContentType,
    payload: Uint8Array,
    now: ClockReading = this.#options.clock.read(),
  ): Promise<{ boot: Boot; seq: number; kind: UpKind; bytes: Uint8Array }> {
    const { network, signer, boot, outbox } = this.#options;
    const seq = this.#nextSeq;
    const bytes = seal({
      contentType,
      payload,
      externalAad: upAad(network, kind),
      signer,
      ...(kind === 'relay' && { maxBytes: MAX_RELAY_BYTES }),
      stamp: {
        bootCounter: boot.counter,
        bootSeed: boot.seed,
        seq,
        bootMs: Math.floor(now.bootMs),
        boundMs: now.boundMs,
      },
    });
    this.#nextSeq += 1;
    try {
      await outbox.append({ boot, seq, kind, bytes });
    } catch (error) {
      // The bytes may be on the disk in part: another content must never get this seq.
      await outbox.drop(boot, [[seq, seq]]);
      this.#owesGap = true;
      throw error;
    }
    this.#counts.sealed += 1;
    this.#options.log.debug('sealed', { kind, seq, bytes: bytes.length });
    return { boot, seq, kind, bytes };
  }

  async #makeRoom(bytes: number): Promise<void> {
    const { outbox } = this.#options;
    let dropped = 0;
    while (outbox.isFull(bytes)) {
      if (outbox.victim() === undefined) await outbox.roll();
      const victim = outbox.victim();
      if (victim === undefined) break;
      const isGone = await this.#giveUp(victim, 'outbox full');
      dropped += victim.envelopes;
      // It could not be deleted: giving up more would lose more and free nothing.
      if (!isGone) break;
    }
    await this.#tellDropped(dropped, 'outbox full, oldest envelopes given up');
  }

  /** @returns whether the segment is gone. */
  async #giveUp(victim: OutboxVictim, reason: string): Promise<boolean> {
    const { outbox } = this.#options;
    // Durable before the deletion: nothing goes without its declaration.
    await this.#putGaps([...outbox.undeclared(), ...victim.lost], reason);
    await outbox.sync();
    const { segments } = outbox.stats();
    await outbox.giveUp(victim);
    return outbox.stats().segments < segments;
  }

  async #tellDropped(dropped: number, what: string): Promise<void> {
    if (dropped === 0) return;
    this.#counts.dropped += dropped;
    this.#options.log.warn(what, { dropped });
    const payload = encodeEvent({ event: 'outbox-dropped', detail: { envelopes: dropped } });
    await this.#append('event', CONTENT_TYPES.cbor, payload);
  }

  #serially<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(operation);
    this.#queue = result.catch(() => {});
    return result;
  }
}

/** Reasons are cut somewhere, and half a character would cost the event. */
function textsOf(detail: EventDetail): EventDetail {
  const whole = (value: CborValue): CborValue => {
    if (typeof value === 'string') return wellFormed(value);
    return Array.isArray(value) ? value.map(whole) : value;
  };
  return Object.fromEntries(Object.entries(detail).map(([key, value]) => [key, whole(value)]));
}
