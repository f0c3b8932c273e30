/**
 * One MQTT session: birth first, then the backlog oldest first and what is sealed meanwhile in turns, at most
 * `window` envelopes on their way. docs/spec/topics.md section 3, messages.md 1, settlement.md.
 *
 * An envelope counts as sent until the session ends, a transient reject asks for it again, or no receipt
 * comes for a minute. What was sent and not settled is sent again, byte for byte.
 */

import { createHash } from 'node:crypto';
import { DESIRED_STATE_TYPE } from '@fieldproof/protocol/desired-state';
import { IntervalSet } from '@fieldproof/protocol/interval-set';
import type { Reject } from '@fieldproof/protocol/settlement-messages';
import type { Descriptor } from '@fieldproof/protocol/statements';
import { formatTopic } from '@fieldproof/protocol/topics';
import type { MqttClient } from 'mqtt';
import { type Boot, bootKey } from './boot.ts';
import type { Clock, TimerHandle } from './clock.ts';
import {
  type DownMessage,
  HEARD_KINDS,
  isUnderUnknownKey,
  openDownMessage,
} from './down-message.ts';
import { AgentError, reasonOf } from './errors.ts';
import type { Journal } from './journal.ts';
import { KeyFollower } from './key-follower.ts';
import type { Log } from './log.ts';
import type { Outbox } from './outbox.ts';
import type { OutboxCursor, PendingEnvelope } from './outbox-cursor.ts';
import { retryAfterMs, type Settlement } from './settlement.ts';

/** Without a receipt for this long, what waits is sent again: the broker answers duplicates at once. */
const RECEIPT_PATIENCE_MS = 60_000;
/** With a gateway it doubles each time, up to this. */
const LONGEST_PATIENCE_MS = 3_600_000;
/** The birth's receipt tells what is settled: the backlog waits this long for it. */
const FIRST_RECEIPT_MS = 2000;
/**
 * Envelopes rejected in one session, after which it ends: only a birth acknowledges rejects, and behind 256 that none has,
 * receipts settle nothing (docs/spec/settlement.md 2.1).
 */
const MAX_REJECTED = 200;
/** Digests of sent envelopes that are remembered, to find what a reject means. */
const MAX_DIGESTS = 1024;

export interface SessionOptions {
  readonly client: MqttClient;
  readonly network: string;
  readonly deviceId: string;
  /** The role keys of the newest descriptor that is known. */
  readonly keys: () => Descriptor['keys'];
  /** Fetches the descriptor; whether it is a newer one. */
  readonly refreshKeys: () => Promise<boolean>;
  readonly window: number;
  readonly heartbeatMs: number;
  /** The boot of this run. */
  readonly boot: Boot;
  readonly outbox: Outbox;
  readonly journal: Journal;
  readonly settlement: Settlement;
  readonly clock: Clock;
  readonly log: Log;
  /** Seals the birth of this session. */
  readonly birth: () => Promise<PendingEnvelope>;
  /** The birth is recorded. */
  readonly onBirthRecorded: () => void;
  readonly onMessage: (message: DownMessage, settled: number) => void;
  /** Of a gateway: what comes for its leaves. */
  readonly onRelayDown?: ((message: Uint8Array) => void) | undefined;
  /** Of a gateway: a reject of its own, before it is applied. */
  readonly onReject?: ((reject: Reject) => void) | undefined;
  /** It is with a gateway: a PUBACK says that the gateway has it, and the network may be away for a day. */
  readonly isRelayed?: boolean;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #sent = new Map<string, IntervalSet>();
  readonly #acknowledged = new Map<string, IntervalSet>();
  /** Sent and answered "later", their PUBACK still to come: it settles nothing. */
  readonly #postponed = new Set<string>();
  readonly #digests = new Map<string, { readonly boot: Boot; readonly seq: number }>();
  readonly #follower: KeyFollower;
  #backlog: OutboxCursor | undefined;
  #live: OutboxCursor | undefined;
  #liveFirst = false;
  #inFlight = 0;
  /** Parked since the birth. */
  #rejected = 0;
  #pumping = false;
  #again = false;
  #rewindAsked = false;
  #ready = false;
  #ended = false;
  #pausedUntilMs = 0;
  /** When the last birth or event was sent: those are the signs of life. */
  #lastSignMs = 0;
  #lastReceiptMs = 0;
  #patienceMs = RECEIPT_PATIENCE_MS;
  #timer: TimerHandle | undefined;
  #wakeTimer: TimerHandle | undefined;
  #onFirstReceipt: (() => void) | undefined;
  /** The network refuses all of this boot. */
  #isCloned = false;
  /** The gateway has refused something in this session. */
  #isToldRefused = false;
  #messages: Promise<void> = Promise.resolve();
  #fail: (error: unknown) => void = () => {};

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#follower = new KeyFollower({
      clock: options.clock,
      refresh: options.refreshKeys,
      replay: ({ topic, payload }) => this.#judge(topic, payload, true),
      fail: (reason) => this.end(reason),
    });
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether envelopes are on their way, or about to be. */
  isBusy(): boolean {
    return this.#ready && !this.#ended && (this.#pumping || this.#inFlight > 0);
  }

  /** Runs until the connection ends. Rejects with the reason. */
  async run(): Promise<never> {
    const { client, clock } = this.#options;
    const failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    failed.catch(() => {});
    client.on('error', (error) => this.#fail(lost(reasonOf(error))));
    client.on('close', () => this.#fail(lost('connection closed')));
    client.on('message', (topic, payload) => this.#heard(topic, payload));
    this.#lastReceiptMs = clock.monotonicMs();
    try {
      await Promise.race([this.#begin(), failed]);
      this.#tick();
      return await failed;
    } finally {
      this.#ended = true;
      clock.cancel(this.#timer);
      clock.cancel(this.#wakeTimer);
      await this.#backlog?.close();
      await this.#live?.close();
      await this.#messages;
    }
  }

  /** Ends the session from outside. */
  end(reason: string): void {
    this.#fail(lost(reason));
  }

  /** Something new became durable. */
  wake(): void {
    if (this.#ready) void this.#pump();
  }

  async #begin(): Promise<void> {
    const { client, network, deviceId, outbox, clock } = this.#options;
    const kinds = this.#options.onRelayDown ? [...HEARD_KINDS, 'relay-down'] : HEARD_KINDS;
    const filters = kinds.map((kind) => formatTopic({ network, deviceId, kind }));
    if (this.#options.isRelayed) filters.push(formatTopic({ network, deviceId, kind: 'state' }));
    const granted = await client.subscribeAsync(filters, { qos: 1 });
    if (granted.some(({ qos }) => qos === 128)) throw lost('the broker refused our own topics');
    const firstReceipt = new Promise<void>((resolve) => {
      this.#onFirstReceipt = resolve;
    });
    const start = outbox.end;
    const birth = await this.#options.birth();
    await this.#send(birth);
    if (!this.#isCloned) this.#options.onBirthRecorded();
    const patience = clock.after(FIRST_RECEIPT_MS, () => this.#onFirstReceipt?.());
    await firstReceipt;
    clock.cancel(patience);
    if (this.#isCloned) throw this.#cloned();
    this.#backlog = outbox.cursor(undefined, start);
    this.#live = outbox.cursor(start);
    this.#ready = true;
    void this.#pump();
  }

  /** Fills the window. One at a time; a call meanwhile makes it look again. */
  async #pump(): Promise<void> {
    if (this.#pumping) {
      this.#again = true;
      return;
    }
    this.#pumping = true;
    try {
      do {
        this.#again = false;
        if (this.#rewindAsked) await this.#restartCursors();
        while (this.#maySend()) {
          const envelope = await this.#next();
          if (envelope === undefined || this.#ended) break;
          // PUBACK comes later: the window, not the order, limits what is on its way.
          this.#send(envelope).catch(() => {});
        }
      } while (this.#again && !this.#ended);
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#pumping = false;
    }
  }

  async #restartCursors(): Promise<void> {
    this.#rewindAsked = false;
    await this.#backlog?.close();
    await this.#live?.close();
    // Still in turns: what is new does not wait behind a long backlog.
    const { end } = this.#options.outbox;
    this.#backlog = this.#options.outbox.cursor(undefined, end);
    this.#live = this.#options.outbox.cursor(end);
  }

  #maySend(): boolean {
    const { clock, window } = this.#options;
    return !this.#ended && this.#inFlight < window && clock.monotonicMs() >= this.#pausedUntilMs;
  }

  /** The next envelope, from backlog and live in turns. */
  async #next(): Promise<PendingEnvelope | undefined> {
    this.#liveFirst = !this.#liveFirst;
    const order = this.#liveFirst ? [this.#live, this.#backlog] : [this.#backlog, this.#live];
    for (const cursor of order) {
      for (let item = await cursor?.next(); item !== undefined; item = await cursor?.next()) {
        if (!this.#sent.get(bootKey(item.boot))?.has(item.seq)) return item;
      }
    }
    return undefined;
  }

  /** Publishes and waits for the PUBACK. */
  #send({ boot, seq, kind, bytes }: PendingEnvelope): Promise<void> {
    const { client, network, deviceId, clock } = this.#options;
    setOf(this.#sent, bootKey(boot)).add(seq);
    this.#remember(bytes, { boot, seq });
    this.#inFlight += 1;
    if (kind === 'birth' || kind === 'event') this.#lastSignMs = clock.monotonicMs();
    const topic = formatTopic({ network, deviceId, kind });
    return new Promise((resolve, reject) => {
      client.publish(topic, Buffer.from(bytes), { qos: 1 }, (error) => {
        this.#inFlight -= 1;
        if (error) {
          reject(error);
          return;
        }
        const postponed = this.#postponed.delete(placeKey(boot, seq));
        if (!postponed) setOf(this.#acknowledged, bootKey(boot)).add(seq);
        resolve();
        this.wake();
      });
    });
  }

  #remember(bytes: Uint8Array, place: { readonly boot: Boot; readonly seq: number }): void {
    this.#digests.set(createHash('sha256').update(bytes).digest('hex'), place);
    if (this.#digests.size > MAX_DIGESTS) {
      this.#digests.delete(this.#digests.keys().next().value!);
    }
  }

  #heard(topic: string, payload: Uint8Array): void {
    const { onRelayDown } = this.#options;
    if (onRelayDown !== undefined && topic.endsWith('/relay-down')) {
      onRelayDown(payload);
      return;
    }
    if (this.#options.isRelayed && topic.endsWith('/state')) {
      this.#heardState(payload);
      return;
    }
    if (!this.#follower.hold({ topic, payload })) this.#judge(topic, payload, false);
  }

  /** What a gateway does not carry stays here. It says so unsigned, so that is told, once, and nothing follows from it. */
  #heardState(payload: Uint8Array): void {
    try {
      const { refused, reason } = JSON.parse(Buffer.from(payload).toString('utf8')) as {
        readonly refused?: unknown;
        readonly reason?: unknown;
      };
      if (typeof refused !== 'string' || typeof reason !== 'string' || this.#isToldRefused) return;
      this.#isToldRefused = true;
      const sent = this.#digests.get(refused);
      this.#options.log.warn('the gateway does not carry an envelope; it stays here', {
        ...(sent !== undefined && { boot: bootKey(sent.boot), seq: sent.seq }),
        reason: reason.slice(0, 200),
      });
    } catch {
      // Unsigned, and for people: what cannot be read says nothing.
    }
  }

  /**
   * Verifies and applies what came down, in its order. What does not verify changes nothing.
   *
   * @param isReplay - it has waited for the keys of the network.
   */
  #judge(topic: string, payload: Uint8Array, isReplay: boolean): void {
    const { log, settlement, onMessage, journal } = this.#options;
    if (this.#ended) return;
    const context = { ...this.#options, keys: this.#options.keys() };
    let message: DownMessage;
    try {
      message = openDownMessage(topic, payload, context);
    } catch (error) {
      const isNew = !isReplay && isUnderUnknownKey(topic, payload, context);
      if (isNew && this.#follower.follow({ topic, payload })) return;
      log.warn('message from the network ignored', { topic, reason: reasonOf(error) });
      return;
    }
    if (message.kind === 'reject') {
      const { permanent, code, boot } = message.reject;
      this.#options.onReject?.(message.reject);
      if (!permanent) this.#postpone(message.reject);
      else if (code === 'ERR_BOOT_CLONED' && this.#isOwnBoot(boot)) this.#isCloned = true;
    }
    // What was acknowledged by now, and not what will be while this waits its turn.
    const acknowledged = new Map(
      // When it came is not known any more of one that waited: it settles what it lists.
      // A gateway's PUBACK settles nothing.
      (isReplay || this.#options.isRelayed ? [] : [...this.#acknowledged]).map(([key, set]) => [
        key,
        IntervalSet.from(set.ranges()),
      ]),
    );
    this.#messages = this.#messages
      .then(async () => {
        // What the network said is asked again by the next session; an end does not wait for a long queue of it.
        if (this.#ended) return;
        let settled = 0;
        if (message.kind === 'receipt') {
          settled = await settlement.receipt(message.receipt, acknowledged);
          this.#lastReceiptMs = this.#options.clock.monotonicMs();
          this.#patienceMs = RECEIPT_PATIENCE_MS;
          this.#onFirstReceipt?.();
        } else if (message.kind === 'reject') {
          await this.#applyReject(message.reject);
        } else if (message.kind !== 'config' || message.type !== DESIRED_STATE_TYPE) {
          await journal.event('unsupported', { kind: message.kind, type: message.type });
        }
        onMessage(message, settled);
      })
      .catch((error: unknown) => log.error('message not applied', { reason: reasonOf(error) }));
  }

  /** The PUBACK of a transient reject, before it or behind it, says nothing of the envelope. */
  #postpone(reject: Parameters<Settlement['reject']>[0]): void {
    const sent = this.#digests.get(Buffer.from(reject.digest).toString('hex'));
    if (sent === undefined) return;
    // At once: what is sent until its turn comes would be refused as well.
    this.#pause(retryAfterMs(reject));
    const key = bootKey(sent.boot);
    const acknowledged = this.#acknowledged.get(key);
    if (acknowledged?.has(sent.seq)) this.#acknowledged.set(key, without(acknowledged, sent.seq));
    else this.#postponed.add(placeKey(sent.boot, sent.seq));
  }

  async #applyReject(reject: Parameters<Settlement['reject']>[0]): Promise<void> {
    const { settlement } = this.#options;
    const sent = this.#digests.get(Buffer.from(reject.digest).toString('hex'));
    const outcome = await settlement.reject(reject, sent);
    if (this.#isCloned && this.#ready) this.#fail(this.#cloned());
    if (outcome.type === 'parked') {
      this.#rejected += 1;
      if (this.#rejected >= MAX_REJECTED) this.end('many rejects, which a new birth acknowledges');
    }
    if (outcome.type !== 'later') return;
    const { boot, seq, afterMs } = outcome;
    const keep = setOf(this.#sent, bootKey(boot));
    this.#sent.set(bootKey(boot), without(keep, seq));
    this.#pause(afterMs);
  }

  #isOwnBoot(boot: readonly [number, Uint8Array] | null): boolean {
    const own = bootKey(this.#options.boot);
    return boot !== null && bootKey({ counter: boot[0], seed: boot[1] }) === own;
  }

  #cloned(): AgentError {
    const own = bootKey(this.#options.boot);
    return new AgentError('ERR_AGENT_CLONED', `boot ${own}: quarantined by the network`);
  }

  /** Sends nothing for so long; then looks at everything that waits. */
  #pause(afterMs: number): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, nowMs + afterMs);
    this.#rewindWhenDue();
  }

  /** A timer may fire early: Node counts from the beginning of the turn in which it is set, which may have been long. */
  #rewindWhenDue(): void {
    const { clock } = this.#options;
    clock.cancel(this.#wakeTimer);
    if (this.#ended) return;
    const leftMs = this.#pausedUntilMs - clock.monotonicMs();
    if (leftMs <= 0) this.#rewind();
    else this.#wakeTimer = clock.after(leftMs + 1, () => this.#rewindWhenDue());
  }

  /** Looks at everything that waits again; what counts as sent is passed over. */
  #rewind(): void {
    this.#rewindAsked = true;
    this.wake();
  }

  #tick(): void {
    const { clock, heartbeatMs, journal, outbox, log } = this.#options;
    const nowMs = clock.monotonicMs();
    // "A device sends a birth or an event at least every 60 s": readings are no such sign.
    if (nowMs - this.#lastSignMs >= heartbeatMs) {
      this.#lastSignMs = nowMs;
      // Durable now, or the next sync might be too late.
      void journal
        .event('heartbeat')
        .then(() => outbox.sync())
        .catch((error: unknown) => log.warn('heartbeat not durable', { reason: reasonOf(error) }));
    }
    if (nowMs - this.#lastReceiptMs >= this.#patienceMs && this.#inFlight === 0) {
      this.#lastReceiptMs = nowMs;
      if (this.#options.isRelayed) {
        this.#patienceMs = Math.min(LONGEST_PATIENCE_MS, 2 * this.#patienceMs);
      }
      if (outbox.stats().pending > 0) {
        this.#sent.clear();
        this.#rewind();
      }
    }
    this.#timer = clock.after(Math.min(heartbeatMs / 4, 2000), () => this.#tick());
  }
}

function setOf(map: Map<string, IntervalSet>, key: string): IntervalSet {
  const found = map.get(key);
  if (found !== undefined) return found;
  const set = new IntervalSet();
  map.set(key, set);
  return set;
}

function without(set: IntervalSet, seq: number): IntervalSet {
  return IntervalSet.from(
    set.ranges().flatMap(([from, to]): [number, number][] => {
      if (seq < from || seq > to) return [[from, to]];
      const parts: [number, number][] = [];
      if (from < seq) parts.push([from, seq - 1]);
      if (seq < to) parts.push([seq + 1, to]);
      return parts;
    }),
  );
}

function lost(reason: string): AgentError {
  return new AgentError('ERR_AGENT_UNREACHABLE', `session: ${reason}`);
}

function placeKey(boot: Boot, seq: number): string {
  return `${bootKey(boot)}/${seq}`;
}
