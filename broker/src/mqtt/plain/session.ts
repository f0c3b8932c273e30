/**
 * What the plain broker keeps of one client, connected or not: subscriptions, messages on their way to it and
 * waiting for it, identifiers of QoS 2 messages from it. MQTT 3.1.1 sections 3.1.2.4, 4.3, 4.4 and 4.6.
 *
 * It knows no sockets; everything in it happens at once, so messages stay in order. [MQTT-4.6.0-6]
 */

import { type Delivery, DeliveryQueue } from './delivery-queue.ts';
import type { PlainCode } from './limit-counter.ts';
import { PacketIds } from './packet-ids.ts';
import { encodeAck, type Qos } from './packets.ts';
import type { Publication } from './publication.ts';

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
  /** Whether it is to be written to now; if not, the session is pumped when it is. */
  mayTake(): boolean;
}

export interface SessionContext {
  readonly limits: SessionLimits;
  readonly totals: QueueTotals;
  readonly now: () => number;
  /** A message was dropped, or has to wait. */
  readonly onLimited: (code: PlainCode, clientId: string) => void;
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
  /** What they cost. */
  subscriptionBytes = 0;
  /** Identifiers of QoS 2 messages of the client that it has not released. [MQTT-4.3.3-2] */
  readonly incoming = new PacketIds();
  /** When its connection ended; null while there is one. */
  offlineSince: number | null = null;
  private readonly context: SessionContext;
  private link: Link | null = null;
  private readonly queue = new DeliveryQueue();
  private readonly sent = new Map<number, Sent>();
  /** What was sent on an earlier connection and is still to be sent on this one, before anything else. */
  private resending: MapIterator<[number, Sent]> | null = null;
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

  /** A connection begins: what was not acknowledged is sent again, with the same identifiers. [MQTT-4.4.0-1] */
  attach(link: Link): void {
    this.link = link;
    this.offlineSince = null;
    this.resending = this.sent.entries();
    this.pump();
  }

  /** The connection has ended; the session waits for the next. */
  detach(): void {
    this.link = null;
    this.offlineSince = this.context.now();
    // QoS 0 is for who is there.
    for (const delivery of this.queue.sift(({ qos }) => qos > 0)) this.release(delivery);
  }

  /** A message for this client, with the QoS that it gets. */
  deliver(publication: Publication, qos: Qos, retain: boolean): void {
    if (this.link === null && qos === 0) return;
    const { limits, totals, now, onLimited } = this.context;
    const isNext = this.queue.length === 0 && this.mayGo(qos);
    if (isNext && qos === 0) {
      this.link!.write(publication.encode({ qos, retain, dup: false, id: 0 }));
      return;
    }
    const { topic, payload } = publication.message;
    const bytes = MESSAGE_COST_BYTES + 2 * topic.length + payload.length;
    if (
      this.queue.length >= limits.plainMaxQueued ||
      this.bytes + bytes > limits.plainMaxQueuedBytes ||
      totals.bytes + bytes > limits.plainMaxQueuedTotalBytes
    ) {
      onLimited('ERR_PLAIN_QUEUE', this.clientId);
      return;
    }
    this.bytes += bytes;
    totals.bytes += bytes;
    totals.messages += 1;
    const delivery = { publication, qos, retain, at: now(), bytes };
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
    this.resend();
    for (let next = this.queue.first; next !== undefined; next = this.queue.first) {
      if (this.isAged(next)) {
        this.queue.shift();
        this.release(next);
        this.context.onLimited('ERR_PLAIN_QUEUE_AGE', this.clientId);
        continue;
      }
      if (!this.mayGo(next.qos)) return;
      this.queue.shift();
      this.send(next);
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
    for (const delivery of this.queue.sift(() => false)) this.release(delivery);
    for (const { delivery } of this.sent.values()) if (delivery !== null) this.release(delivery);
    this.sent.clear();
    this.link = null;
  }

  /** As far as the connection takes it: what was sent once has no window any more. */
  private resend(): void {
    while (this.resending !== null && this.link?.mayTake()) {
      const { done, value } = this.resending.next();
      if (done) this.resending = null;
      else this.resendOne(value[0], value[1].delivery);
    }
  }

  private resendOne(id: number, delivery: Delivery | null): void {
    if (delivery === null) this.link?.write(encodeAck('pubrel', id));
    else this.link?.write(delivery.publication.encode({ ...delivery, id, dup: true }));
  }

  private mayGo(qos: Qos): boolean {
    if (this.resending !== null || this.link === null || !this.link.mayTake()) return false;
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
    this.link!.write(delivery.publication.encode({ ...delivery, id, dup: false }));
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
