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
import type { Refusals } from '../refusals.ts';
import { answer } from './answer.ts';
import { Distribution } from './distribution.ts';
import { LimitCounter, type LimitCounterOptions } from './limit-counter.ts';
import { PacketRates } from './packet-rates.ts';
import { encodeConnack } from './packets.ts';
import { PlainClient } from './plain-client.ts';
import type { PlainStatus } from './plain-status.ts';
import type { PlainSession } from './session.ts';
import { PlainSessions } from './sessions.ts';
import type { PlainSettings } from './settings.ts';
import { Unsent } from './unsent.ts';

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

const SWEEP_INTERVAL_MS = 10_000;

export class PlainBroker implements PlainDestination {
  private readonly options: PlainBrokerOptions;
  private readonly limits: LimitCounter;
  private readonly sessions: PlainSessions;
  private readonly distribution: Distribution;
  private readonly rates: PacketRates;
  private readonly unsent: Unsent;
  private readonly clients = new Map<PlainSession, PlainClient>();
  private readonly sweeper: NodeJS.Timeout;

  constructor(options: PlainBrokerOptions) {
    const { network, settings, now, onLimit } = options;
    this.options = options;
    this.limits = new LimitCounter({ now, onLimit });
    this.sessions = new PlainSessions({ settings, limits: this.limits, now });
    this.distribution = new Distribution({ network, settings, limits: this.limits });
    this.rates = new PacketRates({
      packetsPerSecond: settings.plainPacketsPerSecond,
      now,
      onHeld: () => this.limits.count('ERR_PLAIN_RATE', ''),
    });
    this.unsent = new Unsent({
      limits: settings,
      now,
      onFull: () => this.limits.count('ERR_PLAIN_UNSENT', ''),
    });
    this.sweeper = setInterval(() => this.sweep(), SWEEP_INTERVAL_MS).unref();
  }

  get maxPacketBytes(): number {
    return this.options.settings.plainMaxPacketBytes;
  }

  flow(connection: Duplex): Flow {
    return this.rates.flow(connection);
  }

  /** Takes over a guarded connection of which nothing was read. @returns whether it was let in. */
  handle(connection: Duplex, arrival: PlainArrival): boolean {
    const { connect, login } = arrival;
    const { sessions } = this;
    const id = connect.clientId === '' ? `plain-${randomUUID()}` : connect.clientId;
    const will = connect.will && this.distribution.judgeWill(connect.will.topic);
    const declined = will ? { code: will, connack: 5 as const } : sessions.judge(id, login.name);
    if (declined !== null) {
      const { code, connack } = declined;
      this.limits.count(code, id);
      this.options.refusals.count(`CONNACK ${connack}`);
      connection.end(encodeConnack(connack, false), () => connection.destroy());
      return false;
    }
    // [MQTT-3.1.4-2]: whoever has this id already is sent away.
    const before = sessions.get(id);
    if (before !== undefined) this.clients.get(before)?.close('MQTT-3.1.4-2');
    const kept = sessions.get(id);
    const sessionPresent = !connect.clean && kept !== undefined;
    // [MQTT-3.1.2-6]
    if (kept !== undefined && !sessionPresent) this.endSession(kept);
    const session = sessionPresent
      ? kept
      : sessions.begin({ id, owner: login.name, clean: connect.clean });
    this.enter(connection, { arrival, session, sessionPresent });
    return true;
  }

  /**
   * Publishes a message of the broker itself, such as the state of a device; the rights of clients do not concern it.
   *
   * @param payload - not to be written to afterwards; of what is retained it is kept, with the memory that it is a piece of.
   * @param retain - kept until the next of its topic; these are not limited, so topics must be few.
   */
  announce(topic: string, payload: Uint8Array, retain: boolean): void {
    const { buffer, byteOffset, length } = payload;
    const view = Buffer.from(buffer, byteOffset, length);
    this.distribution.announce({ topic, payload: view, qos: 0, retain });
  }

  status(): PlainStatus {
    const { sessions, distribution } = this;
    let subscriptions = 0;
    for (const session of sessions.all()) subscriptions += session.subscriptions.size;
    return {
      sessions: sessions.count,
      online: this.clients.size,
      subscriptions,
      subscriptionBytes: distribution.subscriptionBytes,
      retained: distribution.retained.count,
      retainedBytes: distribution.retained.bytes,
      queued: sessions.totals.messages,
      queuedBytes: sessions.totals.bytes,
      unsentBytes: this.unsent.bytes,
      overRate: this.rates.held,
      received: distribution.received,
      delivered: distribution.delivered,
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
    for (const session of this.sessions.all()) {
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
    this.rates.stop();
    this.unsent.stop();
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
    let { will } = arrival.connect;
    const client = new PlainClient(connection, {
      arrival,
      unsent: this.unsent,
      drainTimeoutMs: this.options.settings.drainTimeoutMs,
      isHeld: () => connection.writableNeedDrain || this.rates.isHeld(connection),
      onPacket: (packet) => {
        // [MQTT-3.1.2-10]
        if (packet.type === 'disconnect') will = null;
        answer(packet, conversation);
      },
      onRoom: () => session.pump(),
      onClosed: (reason) => this.leave(client, { session, will, reason }),
    });
    const conversation = {
      ...{ client, session, distribution: this.distribution },
      spend: (packets: number) => this.rates.spend(connection, packets),
    };
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
    if (will !== null) this.distribution.publish(will, clientId);
  }

  private endSession(session: PlainSession): void {
    this.distribution.forget(session);
    this.sessions.end(session);
  }
}
