/**
 * What the plain broker keeps of one client, connected or not: subscriptions, messages on their way to it and
 * waiting for it, identifiers of QoS 2 messages from it. MQTT 3.1.1 sections 3.1.2.4, 4.3, 4.4 and 4.6.
 *
 * It knows no sockets; everything in it happens at once, so messages stay in order. [MQTT-4.6.0-6]
 */

import type { PlainCode } from './limit-counter.ts';
import { PacketIds } from './packet-ids.ts';
import { encodeAck, encodePublish, type Message, type Qos } from './packets.ts';

export interface SessionLimits {
  readonly plainMaxQueued: number;
  readonly plainMaxQueuedBytes: number;
  readonly plainMaxQueuedMs: number;
  readonly plainMaxQueuedTotalBytes: number;
  readonly plainMaxInFlight: number;
}

/** What all sessions keep together. */
export interface QueueTotals {
  messages: number;
  bytes: number;
}

/** The connection of a session. */
export interface Link {
  write(bytes: Buffer): void;
  /** Whether it has not taken what was written before. */
  readonly isFull: boolean;
}

export interface SessionContext {
  readonly limits: SessionLimits;
  readonly totals: QueueTotals;
  readonly now: () => number;
  /** A message was dropped, or has to wait. */
  readonly onLimited: (code: PlainCode, clientId: string) => void;
}

/** A message for this session. */
interface Delivery {
  readonly message: Message;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly at: number;
  readonly bytes: number;
}

/** Sent and not acknowledged; without its delivery once a PUBREC has come. */
interface Sent {
  readonly qos: Qos;
  delivery: Delivery | null;
}

/** What a kept message costs beside topic and payload. */
const MESSAGE_COST_BYTES = 256;

export class PlainSession {
  readonly clientId: string;
  /** Name of the access token it was begun with; null: anonymous. */
  readonly owner: string | null;
  readonly clean: boolean;
  readonly subscriptions = new Map<string, Qos>();
  /** Identifiers of QoS 2 messages of the client that it has not released. [MQTT-4.3.3-2] */
  readonly incoming = new PacketIds();
  /** When its connection ended; null while there is one. */
  offlineSince: number | null = null;
  private readonly context: SessionContext;
  private link: Link | null = null;
  private queue: Delivery[] = [];
  /** What comes before this in the queue has left it. */
  private head = 0;
  private readonly sent = new Map<number, Sent>();
  private bytes = 0;
  private nextId = 1;

  constructor(
    client: { readonly id: string; readonly owner: string | null; readonly clean: boolean },
    context: SessionContext,
  ) {
    this.clientId = client.id;
    this.owner = client.owner;
    this.clean = client.clean;
    this.context = context;
  }

  get isOnline(): boolean {
    return this.link !== null;
  }

  /** Messages that wait. */
  get queued(): number {
    return this.queue.length - this.head;
  }

  /** A connection begins: what was not acknowledged is sent again, with the same identifiers. [MQTT-4.4.0-1] */
  attach(link: Link): void {
    this.link = link;
    this.offlineSince = null;
    for (const [id, { delivery }] of this.sent) {
      if (delivery === null) link.write(encodeAck('pubrel', id));
      else link.write(publishBytes(delivery, { id, dup: true }));
    }
    this.pump();
  }

  /** The connection has ended; the session waits for the next. */
  detach(): void {
    this.link = null;
    this.offlineSince = this.context.now();
    // QoS 0 is for who is there.
    const kept = this.queue.slice(this.head);
    for (const delivery of kept) if (delivery.qos === 0) this.release(delivery);
    this.queue = kept.filter(({ qos }) => qos > 0);
    this.head = 0;
  }

  /** A message for this client, with the QoS that it gets. */
  deliver(message: Message, qos: Qos, retain: boolean): void {
    if (this.link === null && qos === 0) return;
    const { limits, totals, now, onLimited } = this.context;
    const isNext = this.queued === 0 && this.mayGo(qos);
    if (isNext && qos === 0) {
      const delivery = { message, qos, retain, at: 0, bytes: 0 };
      this.link!.write(publishBytes(delivery, { id: 0, dup: false }));
      return;
    }
    const bytes = MESSAGE_COST_BYTES + 2 * message.topic.length + message.payload.length;
    if (
      this.queued >= limits.plainMaxQueued ||
      this.bytes + bytes > limits.plainMaxQueuedBytes ||
      totals.bytes + bytes > limits.plainMaxQueuedTotalBytes
    ) {
      onLimited('ERR_PLAIN_QUEUE', this.clientId);
      return;
    }
    this.bytes += bytes;
    totals.bytes += bytes;
    totals.messages += 1;
    const delivery = { message, qos, retain, at: now(), bytes };
    if (isNext) this.send(delivery);
    else {
      this.queue.push(delivery);
      if (qos > 0 && this.sent.size >= limits.plainMaxInFlight) {
        onLimited('ERR_PLAIN_IN_FLIGHT', this.clientId);
      }
    }
  }

  /** Sends what waits, as far as the connection and its window take it. */
  pump(): void {
    while (this.head < this.queue.length) {
      const delivery = this.queue[this.head]!;
      if (this.isAged(delivery)) {
        this.head += 1;
        this.release(delivery);
        this.context.onLimited('ERR_PLAIN_QUEUE_AGE', this.clientId);
        continue;
      }
      if (!this.mayGo(delivery.qos)) break;
      this.head += 1;
      this.send(delivery);
    }
    if (this.head === this.queue.length || this.head > 1024) {
      this.queue.splice(0, this.head);
      this.head = 0;
    }
  }

  /** PUBACK of the client. */
  acknowledge(id: number): void {
    if (this.sent.get(id)?.qos === 1) this.settle(id);
  }

  /** PUBREC of the client: it has the message, which from now on is not sent again. [MQTT-4.3.3-1] */
  received(id: number): void {
    const sent = this.sent.get(id);
    if (sent?.qos === 2 && sent.delivery !== null) {
      this.release(sent.delivery);
      sent.delivery = null;
    }
    this.link?.write(encodeAck('pubrel', id));
  }

  /** PUBCOMP of the client. */
  complete(id: number): void {
    const sent = this.sent.get(id);
    if (sent?.qos === 2 && sent.delivery === null) this.settle(id);
  }

  /** Gives up all that is kept. */
  end(): void {
    for (const delivery of this.queue.slice(this.head)) this.release(delivery);
    for (const { delivery } of this.sent.values()) if (delivery !== null) this.release(delivery);
    this.queue = [];
    this.head = 0;
    this.sent.clear();
    this.link = null;
  }

  private mayGo(qos: Qos): boolean {
    if (this.link === null || this.link.isFull) return false;
    return qos === 0 || this.sent.size < this.context.limits.plainMaxInFlight;
  }

  private isAged({ at }: Delivery): boolean {
    return this.context.now() - at > this.context.limits.plainMaxQueuedMs;
  }

  private send(delivery: Delivery): void {
    const { qos } = delivery;
    let id = 0;
    if (qos === 0) this.release(delivery);
    else {
      id = this.freeId();
      this.sent.set(id, { qos, delivery });
    }
    this.link!.write(publishBytes(delivery, { id, dup: false }));
  }

  /** [MQTT-2.3.1-2]: one that is not in use. */
  private freeId(): number {
    while (this.sent.has(this.nextId)) this.nextId = (this.nextId % 65_535) + 1;
    const id = this.nextId;
    this.nextId = (id % 65_535) + 1;
    return id;
  }

  private settle(id: number): void {
    const delivery = this.sent.get(id)?.delivery;
    if (delivery) this.release(delivery);
    this.sent.delete(id);
    this.pump();
  }

  private release({ bytes }: Delivery): void {
    const { totals } = this.context;
    if (bytes === 0) return;
    this.bytes -= bytes;
    totals.bytes -= bytes;
    totals.messages -= 1;
  }
}

function publishBytes(
  { message, qos, retain }: Delivery,
  { id, dup }: { readonly id: number; readonly dup: boolean },
): Buffer {
  return encodePublish(message, { qos, retain, dup, id });
}
