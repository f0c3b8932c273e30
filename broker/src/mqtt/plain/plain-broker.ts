/**
 * The plain profile: a broker of MQTT 3.1.1 for people and generic tools, apart from that of the devices, so that
 * its clients can neither forge nor disturb what devices send. docs/spec/topics.md section 5.
 *
 * Not Aedes: docs/decisions/ says why. Everything is kept in memory, bounded, and counted where a bound is met.
 * Leaves out: MQTT 5, shared subscriptions, sessions that outlive the process.
 */

import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { Will } from '../connect-packet.ts';
import type { Flow, PlainArrival, PlainDestination } from '../front-desk.ts';
import { RateHolds } from '../rate-holds.ts';
import type { Refusals } from '../refusals.ts';
import { LimitCounter, type LimitCounterOptions } from './limit-counter.ts';
import {
  type ClientPacket,
  encodeAck,
  encodeConnack,
  encodeSuback,
  type Message,
  PINGRESP,
  type Qos,
} from './packets.ts';
import { PlainClient } from './plain-client.ts';
import { Retained } from './retained.ts';
import { isReadable, judgeFilter, judgeTopic, type PlainRights } from './rights.ts';
import { PlainSession, type QueueTotals } from './session.ts';
import type { PlainSettings } from './settings.ts';
import { SubscriptionTree } from './topic-tree.ts';

export interface PlainBrokerOptions {
  readonly network: string;
  readonly settings: PlainSettings & {
    readonly maxUnsentBytes: number;
    readonly drainTimeoutMs: number;
  };
  readonly refusals: Refusals;
  readonly now: () => number;
  readonly onLimit: LimitCounterOptions['onLimit'];
  /** Something worth a line in the log at debug level. */
  readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
}

export interface PlainStatus {
  /** Connected or kept. */
  readonly sessions: number;
  readonly online: number;
  readonly subscriptions: number;
  readonly retained: number;
  readonly retainedBytes: number;
  /** On their way to clients, or waiting for them. */
  readonly queued: number;
  readonly queuedBytes: number;
  /** Connections that are not read because they have used up their rate. */
  readonly overRate: number;
  /** PUBLISH packets taken in, and sent on. */
  readonly received: number;
  readonly delivered: number;
  /** What was refused or dropped, by code. */
  readonly refused: Readonly<Record<string, number>>;
}

const BURST_SECONDS = 10;
const SWEEP_INTERVAL_MS = 10_000;
const FAILURE = 0x80;
/** So many retained messages that a subscription brings take as much of the rate as one packet. */
const RETAINED_PER_PACKET = 10;

interface Bucket {
  tokens: number;
  at: number;
}

export class PlainBroker implements PlainDestination {
  private readonly options: PlainBrokerOptions;
  private readonly rights: PlainRights;
  private readonly limits: LimitCounter;
  private readonly retained: Retained;
  private readonly tree = new SubscriptionTree<PlainSession>();
  private readonly sessions = new Map<string, PlainSession>();
  private readonly clients = new Map<PlainSession, PlainClient>();
  private readonly totals: QueueTotals = { messages: 0, bytes: 0 };
  private readonly rateHolds = new RateHolds();
  private readonly buckets = new WeakMap<Duplex, Bucket>();
  private readonly sweeper: NodeJS.Timeout;
  private received = 0;
  private delivered = 0;

  constructor(options: PlainBrokerOptions) {
    const { network, settings, now, onLimit } = options;
    this.options = options;
    this.rights = {
      network,
      denied: settings.plainDenied,
      maxTopicLevels: settings.plainMaxTopicLevels,
      maxTopicBytes: settings.plainMaxTopicBytes,
    };
    this.limits = new LimitCounter({ now, onLimit });
    this.retained = new Retained(settings);
    this.sweeper = setInterval(() => this.sweep(), SWEEP_INTERVAL_MS).unref();
  }

  get maxPacketBytes(): number {
    return this.options.settings.plainMaxPacketBytes;
  }

  flow(connection: Duplex): Flow {
    const { plainPacketsPerSecond: rate } = this.options.settings;
    const bucket: Bucket = { tokens: rate * BURST_SECONDS, at: this.options.now() };
    this.buckets.set(connection, bucket);
    const allowance = () => {
      if (rate === 0) return Number.POSITIVE_INFINITY;
      const now = this.options.now();
      const gained = (Math.max(0, now - bucket.at) / 1000) * rate;
      bucket.tokens = Math.min(rate * BURST_SECONDS, bucket.tokens + gained);
      bucket.at = now;
      return Math.max(0, Math.floor(bucket.tokens));
    };
    const rated = { allowance };
    return {
      holds: () => {
        if (connection.writableNeedDrain) return true;
        const before = this.rateHolds.count;
        const holds = this.rateHolds.holds(connection, rated);
        if (this.rateHolds.count > before) this.limits.count('ERR_PLAIN_RATE', '');
        return holds;
      },
      allowance,
      onOthers: (packets) => this.spend(connection, packets),
      end: () => this.rateHolds.forget(connection),
    };
  }

  /** Takes over a guarded connection of which nothing was read. @returns whether it was let in. */
  handle(connection: Duplex, arrival: PlainArrival): boolean {
    const { connect, login } = arrival;
    const { settings } = this.options;
    const id = connect.clientId === '' ? `plain-${randomUUID()}` : connect.clientId;
    const refuse = (connack: 2 | 3 | 5): false => {
      this.options.refusals.count(`CONNACK ${connack}`);
      connection.end(encodeConnack(connack, false), () => connection.destroy());
      return false;
    };
    const problem = connect.will && judgeTopic(connect.will.topic, this.rights);
    if (problem) {
      this.limits.count(problem, id);
      return refuse(5);
    }
    const before = this.sessions.get(id);
    if (before !== undefined && before.owner !== login.name) {
      this.limits.count('ERR_PLAIN_CLIENT_ID', id);
      return refuse(2);
    }
    if (before === undefined && this.sessions.size >= settings.plainMaxSessions) {
      this.limits.count('ERR_PLAIN_SESSIONS', id);
      return refuse(3);
    }
    // [MQTT-3.1.4-2]: whoever has this id already is sent away.
    if (before !== undefined) this.clients.get(before)?.close('MQTT-3.1.4-2');
    const kept = this.sessions.get(id);
    const sessionPresent = !connect.clean && kept !== undefined;
    // [MQTT-3.1.2-6]
    if (kept !== undefined && !sessionPresent) this.endSession(kept);
    const session = sessionPresent ? kept : this.beginSession(id, arrival);
    this.enter(connection, { arrival, session, sessionPresent });
    return true;
  }

  /**
   * Publishes a message of the broker itself, such as the state of a device; the rights of clients do not concern it.
   *
   * @param retain - kept until the next of its topic; these are not limited, so topics must be few.
   */
  announce(topic: string, payload: Uint8Array, retain: boolean): void {
    const message = { topic, payload: Buffer.from(payload), qos: 0, retain } as const;
    if (retain) this.retained.keep(message, true);
    this.distribute(message);
  }

  status(): PlainStatus {
    let subscriptions = 0;
    for (const session of this.sessions.values()) subscriptions += session.subscriptions.size;
    return {
      sessions: this.sessions.size,
      online: this.clients.size,
      subscriptions,
      retained: this.retained.count,
      retainedBytes: this.retained.bytes,
      queued: this.totals.messages,
      queuedBytes: this.totals.bytes,
      overRate: this.rateHolds.count,
      received: this.received,
      delivered: this.delivered,
      refused: this.limits.values(),
    };
  }

  /**
   * Ends connections whose access token has ended and sessions that were offline for too long, and drops messages that
   * waited for too long.
   */
  sweep(): void {
    const { now, settings } = this.options;
    for (const client of [...this.clients.values()]) {
      if (!client.arrival.login.isGood()) client.close('access token');
    }
    for (const session of [...this.sessions.values()]) {
      const { offlineSince } = session;
      if (offlineSince !== null && now() - offlineSince > settings.plainSessionExpiryMs) {
        this.limits.count('ERR_PLAIN_SESSION_EXPIRED', session.clientId);
        this.endSession(session);
      } else session.pump();
    }
  }

  /** Ends every connection, without wills: nobody is there to read them. */
  stop(): void {
    clearInterval(this.sweeper);
    this.rateHolds.stop();
    const clients = [...this.clients];
    this.clients.clear();
    for (const [, client] of clients) client.close('stop');
  }

  private enter(
    connection: Duplex,
    entry: {
      readonly arrival: PlainArrival;
      readonly session: PlainSession;
      readonly sessionPresent: boolean;
    },
  ): void {
    const { arrival, session, sessionPresent } = entry;
    const { maxUnsentBytes, drainTimeoutMs } = this.options.settings;
    let { will } = arrival.connect;
    const client = new PlainClient(connection, {
      arrival,
      maxUnsentBytes,
      drainTimeoutMs,
      isHeld: () => connection.writableNeedDrain || this.rateHolds.has(connection),
      onPacket: (packet) => {
        // [MQTT-3.1.2-10]
        if (packet.type === 'disconnect') will = null;
        this.process(packet, { client, session, connection });
      },
      onDrain: () => session.pump(),
      onClosed: (reason) => this.leave(client, { session, will, reason }),
    });
    this.clients.set(session, client);
    client.write(encodeConnack(0, sessionPresent));
    client.start();
    session.attach(client);
  }

  private leave(
    client: PlainClient,
    end: {
      readonly session: PlainSession;
      readonly will: Will | null;
      readonly reason: string | null;
    },
  ): void {
    const { session, will, reason } = end;
    const { clientId } = session;
    if (reason !== null && reason !== 'stop') {
      this.options.refusals.count(reason);
      this.options.onNotice('connection-ended', {
        ...client.arrival.origin,
        client: clientId,
        clause: reason,
      });
    }
    // The broker stops.
    if (this.clients.get(session) !== client) return;
    this.clients.delete(session);
    session.detach();
    if (session.clean) this.endSession(session);
    // [MQTT-3.1.2-8]
    if (will !== null) this.publish(will, clientId);
  }

  private beginSession(id: string, { connect, login }: PlainArrival): PlainSession {
    const { settings, now } = this.options;
    const session = new PlainSession(
      { id, owner: login.name, clean: connect.clean },
      {
        limits: settings,
        totals: this.totals,
        now,
        onLimited: (code, clientId) => this.limits.count(code, clientId),
      },
    );
    this.sessions.set(id, session);
    return session;
  }

  private endSession(session: PlainSession): void {
    for (const filter of session.subscriptions.keys()) this.tree.delete(filter, session);
    session.end();
    this.sessions.delete(session.clientId);
  }

  private process(
    packet: ClientPacket,
    from: {
      readonly client: PlainClient;
      readonly session: PlainSession;
      readonly connection: Duplex;
    },
  ): void {
    const { client, session, connection } = from;
    switch (packet.type) {
      case 'publish':
        this.spend(connection, 1);
        this.takePublish(packet, client, session);
        return;
      case 'puback':
        session.acknowledge(packet.id);
        return;
      case 'pubrec':
        session.received(packet.id);
        return;
      case 'pubrel':
        session.incoming.delete(packet.id);
        client.write(encodeAck('pubcomp', packet.id));
        return;
      case 'pubcomp':
        session.complete(packet.id);
        return;
      case 'subscribe':
        this.spend(connection, this.subscribe(packet, client, session) / RETAINED_PER_PACKET);
        return;
      case 'unsubscribe':
        for (const filter of packet.filters) {
          if (session.subscriptions.delete(filter)) this.tree.delete(filter, session);
        }
        client.write(encodeAck('unsuback', packet.id));
        return;
      case 'pingreq':
        client.write(PINGRESP);
        return;
      case 'disconnect':
        client.close(null);
        return;
      case 'connect':
        // The desk has judged it.
        return;
    }
  }

  private takePublish(
    { message, id }: ClientPacket & { readonly type: 'publish' },
    client: PlainClient,
    session: PlainSession,
  ): void {
    if (message.qos === 2) {
      // [MQTT-4.3.3-2]: once, however often it is sent.
      if (!session.incoming.has(id)) {
        session.incoming.add(id);
        this.publish(message, session.clientId);
      }
      client.write(encodeAck('pubrec', id));
      return;
    }
    this.publish(message, session.clientId);
    if (message.qos === 1) client.write(encodeAck('puback', id));
  }

  /** A message of a client, or its will. */
  private publish(message: Message, clientId: string): void {
    this.received += 1;
    const problem = judgeTopic(message.topic, this.rights);
    if (problem !== null) {
      this.limits.count(problem, clientId);
      return;
    }
    if (message.retain && !this.retained.keep(message, false)) {
      this.limits.count('ERR_PLAIN_RETAINED', clientId);
    }
    this.distribute(message);
  }

  private distribute(message: Message): void {
    if (!isReadable(message.topic, this.rights)) return;
    for (const [session, granted] of this.tree.match(message.topic)) {
      // [MQTT-3.8.4-6]; [MQTT-3.3.1-9]: not as a retained one.
      this.delivered += 1;
      session.deliver(message, message.qos < granted ? message.qos : granted, false);
    }
  }

  /** @returns how many retained messages it brought. */
  private subscribe(
    { id, filters }: ClientPacket & { readonly type: 'subscribe' },
    client: PlainClient,
    session: PlainSession,
  ): number {
    const { subscriptions } = session;
    /** Each once, however often it is in the packet: one packet has room for 65,000 times `#`. */
    const granted = new Map<string, Qos>();
    const codes = filters.map(({ filter, qos }) => {
      const problem = judgeFilter(filter, this.rights);
      if (problem !== null) {
        this.limits.count(problem, session.clientId);
        return FAILURE;
      }
      const isNew = !subscriptions.has(filter);
      if (isNew && subscriptions.size >= this.options.settings.plainMaxSubscriptions) {
        this.limits.count('ERR_PLAIN_SUBSCRIPTIONS', session.clientId);
        return FAILURE;
      }
      subscriptions.set(filter, qos);
      this.tree.set(filter, session, qos);
      granted.set(filter, qos);
      return qos;
    });
    client.write(encodeSuback(id, codes));
    let brought = 0;
    for (const [filter, qos] of granted) {
      for (const message of this.retained.match(filter)) {
        brought += 1;
        if (!isReadable(message.topic, this.rights)) continue;
        this.delivered += 1;
        session.deliver(message, message.qos < qos ? message.qos : qos, true);
      }
    }
    return brought;
  }

  private spend(connection: Duplex, packets: number): void {
    const bucket = this.buckets.get(connection);
    if (bucket !== undefined) bucket.tokens -= packets;
  }
}
