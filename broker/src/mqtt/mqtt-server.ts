/** The broker of the devices: Aedes with its hooks, and the way down to devices. */

import type { Duplex } from 'node:stream';
import { type DownKind, formatTopic } from '@fieldproof/protocol/topics';
import type { Aedes, Client } from 'aedes';
import type { Gate } from '../gate/gate.ts';
import type { Rates } from '../gate/rates.ts';
import type { Session } from '../gate/session.ts';
import { type KeptAlive, slimParser, subscribedQos, watchSilence } from './aedes-client.ts';
import type { BackPressure } from './back-pressure.ts';
import type { Door } from './door.ts';
import type { DeviceDestination, Flow } from './front-desk.ts';
import { createAuthenticate } from './hooks/authenticate.ts';
import { createAuthorizeForward } from './hooks/authorize-forward.ts';
import { createAuthorizePublish } from './hooks/authorize-publish.ts';
import { createAuthorizeSubscribe } from './hooks/authorize-subscribe.ts';
import type { LoginVerdict } from './login.ts';
import { QuietAedes } from './quiet-aedes.ts';
import { RateHolds } from './rate-holds.ts';
import type { Refusals } from './refusals.ts';

export interface MqttServerOptions {
  readonly network: string;
  readonly gate: Pick<Gate, 'receive'>;
  readonly judgeLogin: (deviceId: string, password: Uint8Array | undefined) => LoginVerdict;
  /** Whether a session may begin whose login was good. */
  readonly mayBegin: (session: Session) => boolean;
  readonly backPressure: BackPressure;
  readonly rates: Pick<Rates, 'allowance' | 'spend'>;
  readonly refusals: Refusals;
  readonly door: Pick<Door, 'loggedIn' | 'loginFailed'>;
  readonly limits: {
    /** Longest packet. */
    readonly maxPacketBytes: number;
    readonly maxSubscriptions: number;
    readonly maxTopicLevels: number;
    readonly maxSessions: number;
    readonly connectTimeoutMs: number;
    /** Bytes that a client has not taken of what was sent to it, above which it is cut off. */
    readonly maxUnsentBytes: number;
    /** How long a client may take nothing of what was sent to it. */
    readonly drainTimeoutMs: number;
  };
  readonly now: () => number;
  readonly onSession: (session: Session) => void;
  readonly onSessionEnd: (session: Session) => void;
  /** Something worth a line in the log at debug level. */
  readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
}

export interface DeviceSessionsStatus {
  readonly sessions: number;
  /** Connections that are not read because of `maxPendingBytes`. */
  readonly paused: number;
  /** Connections that are not read because of their own `maxInFlight` or `maxInFlightBytes`. */
  readonly full: number;
  /** Bytes taken in and not settled. */
  readonly pendingBytes: number;
  /** Connections that are not read because their device or its owner has used up its rate. */
  readonly overRate: number;
}

/** Under `refused`: clients that did not take what was sent to them. */
const SLOW_READER = 'slow reader';
/** Under `refused`: subscriptions above `maxSubscriptions`, and topics above `maxTopicLevels`. */
const SUBSCRIPTIONS = 'subscriptions';
const TOPIC_LEVELS = 'topic levels';
/** Under `refused`: logins above `maxSessions`. */
const SESSIONS = 'sessions';
/** Filters in one packet of a device, which needs eight; Aedes takes them all at once. */
const MAX_FILTERS = 256;
/** Packets that may follow a CONNECT before its CONNACK; one read of the socket bounds their bytes. */
const QUEUE_LIMIT = 1000;

export class MqttServer implements DeviceDestination {
  private readonly options: MqttServerOptions;
  private readonly aedes: Aedes;
  private readonly sessions = new WeakMap<Client, Session>();
  private readonly clients = new Map<string, Client>();
  private readonly rateHolds = new RateHolds();
  private readonly flows: FlowContext;
  /** [MQTT-3.1.2-24], but who is not read is not silent. */
  private readonly onSilence = (client: KeptAlive): void => {
    const { conn } = client;
    if (this.options.backPressure.isHeld(conn) || this.rateHolds.has(conn)) {
      client._keepaliveTimer?.refresh();
    } else client.emit('error', new Error('keep alive timeout'));
  };
  /** Devices with a session that are no longer enrolled. */
  private readonly leaving = new Set<string>();
  private stateListener: (topic: string, payload: Uint8Array) => void = () => {};

  private constructor(options: MqttServerOptions, aedes: (server: MqttServer) => Aedes) {
    this.options = options;
    const { rateHolds } = this;
    const sessionOn = (connection: Duplex) => this.sessionOn(connection);
    this.flows = { ...options, rateHolds, sessionOn };
    this.aedes = aedes(this);
  }

  static async create(options: MqttServerOptions): Promise<MqttServer> {
    const server = new MqttServer(options, (self) => new QuietAedes(self.aedesOptions()));
    await server.aedes.listen();
    server.watchSessions();
    return server;
  }

  get maxPacketBytes(): number {
    return this.options.limits.maxPacketBytes;
  }

  get maxFilters(): number {
    return MAX_FILTERS;
  }

  flow(connection: Duplex): Flow {
    return new DeviceFlow(connection, this.flows);
  }

  /** Takes over a guarded connection of which nothing was read. */
  handle(connection: Duplex): void {
    this.aedes.handle(connection);
  }

  isOnline(deviceId: string): boolean {
    return this.clients.has(deviceId);
  }

  /**
   * Publishes a down message, when its device is here and has subscribed.
   *
   * @returns whether it was sent.
   */
  publishDown(
    deviceId: string,
    kind: DownKind,
    { envelope, done }: { readonly envelope: Uint8Array; readonly done?: () => void },
  ): boolean {
    const client = this.clients.get(deviceId);
    const topic = formatTopic({ network: this.options.network, deviceId, kind });
    const qos = client === undefined ? null : subscribedQos(client, topic);
    if (client === undefined || qos === null) {
      done?.();
      return false;
    }
    // Straight to the client: the emitter shared by all would make one slow reader hold up the others.
    if (client.conn.writableLength > this.options.limits.maxUnsentBytes) {
      this.cutSlowReader(client);
      done?.();
      return false;
    }
    const payload = Buffer.from(envelope.buffer, envelope.byteOffset, envelope.length);
    client.publish({ cmd: 'publish', topic, payload, qos, retain: false, dup: false }, () =>
      done?.(),
    );
    return true;
  }

  /** Ends the session of a device, such as when it is suspended. */
  disconnect(deviceId: string): void {
    this.clients.get(deviceId)?.close();
  }

  status(): DeviceSessionsStatus {
    return {
      sessions: this.clients.size,
      paused: this.options.backPressure.pausedConnections,
      full: this.options.backPressure.fullConnections,
      pendingBytes: this.options.backPressure.pendingBytes,
      overRate: this.rateHolds.count,
    };
  }

  /** Ends every session. */
  async stop(): Promise<void> {
    this.rateHolds.stop();
    await new Promise<void>((resolve) => this.aedes.close(() => resolve()));
  }

  private aedesOptions() {
    const { network, gate, judgeLogin, limits, backPressure } = this.options;
    return {
      connectTimeout: limits.connectTimeoutMs,
      drainTimeout: limits.drainTimeoutMs,
      queueLimit: QUEUE_LIMIT,
      ...createAuthenticate({
        judgeLogin: (deviceId, password) => {
          const verdict = judgeLogin(deviceId, password);
          if (!('session' in verdict) || !this.isFullFor(deviceId)) return verdict;
          this.options.refusals.count(SESSIONS);
          return { returnCode: 3, reason: SESSIONS };
        },
        onSession: (client, session) => this.sessions.set(client, session),
        onRefused: (client, returnCode, reason) => {
          this.options.refusals.count(`CONNACK ${returnCode}`);
          this.options.onNotice('login-refused', { client: client.id, returnCode, reason });
          return this.options.door.loginFailed(client.conn);
        },
      }),
      authorizePublish: createAuthorizePublish({
        gate,
        sessionOf: (client) => this.sessions.get(client),
        enter: (connection, bytes) => backPressure.enter(connection, bytes),
      }),
      maxTopicLevels: limits.maxTopicLevels,
      authorizeSubscribe: createAuthorizeSubscribe({
        network,
        maxSubscriptions: limits.maxSubscriptions,
        onTooMany: (client) => {
          this.options.refusals.count(SUBSCRIPTIONS);
          this.options.onNotice('subscription-refused', { client: client.id });
        },
      }),
      authorizeForward: createAuthorizeForward(network),
    };
  }

  /** Whether there is no place for one more session; that of the same device makes room. */
  private isFullFor(deviceId: string): boolean {
    return this.clients.size >= this.options.limits.maxSessions && !this.clients.has(deviceId);
  }

  /** The session of a connection that has logged in. */
  private sessionOn(connection: Duplex): Session | undefined {
    const { client } = connection as Duplex & { readonly client?: Client };
    return client === undefined ? undefined : this.sessions.get(client);
  }

  private watchSessions(): void {
    this.aedes.on('clientReady', (client) => {
      const session = this.sessions.get(client);
      if (session === undefined || client.closed) return;
      if (!this.options.mayBegin(session)) {
        client.close();
        return;
      }
      this.options.door.loggedIn(client.conn);
      slimParser(client);
      watchSilence(client, this.onSilence);
      this.clients.set(client.id, client);
      this.leaving.delete(client.id);
      this.publishState(client.id, true);
      this.options.onSession(session);
    });
    this.aedes.on('clientDisconnect', (client) => {
      const session = this.sessions.get(client);
      if (session === undefined || this.clients.get(client.id) !== client) return;
      this.clients.delete(client.id);
      if (this.leaving.delete(client.id)) this.announceState(client.id, '');
      else this.publishState(client.id, false);
      this.options.onSessionEnd(session);
    });
    const notice = (event: string) => (client: Client, error: Error) =>
      this.options.onNotice(event, { client: client.id, error: error.message });
    this.aedes.on('clientError', notice('client-error'));
    this.aedes.on('clientError', (_client, { message }) => {
      if (message === 'drain timeout') this.options.refusals.count(SLOW_READER);
      if (message === 'topic has too many levels') this.options.refusals.count(TOPIC_LEVELS);
    });
    this.aedes.on('connectionError', notice('connection-error'));
  }

  /** Tells what is published as the state of a device, from now on. */
  onState(listener: (topic: string, payload: Uint8Array) => void): void {
    this.stateListener = listener;
  }

  /** Takes back what is retained as the state of a device, when its session has ended: it is the network's no more. */
  clearState(deviceId: string): void {
    if (this.clients.has(deviceId)) this.leaving.add(deviceId);
    else this.announceState(deviceId, '');
  }

  /** docs/spec/messages.md section 7: retained, unsigned, advisory. */
  private publishState(deviceId: string, online: boolean): void {
    this.announceState(deviceId, JSON.stringify({ online, since: this.options.now() }));
  }

  private announceState(deviceId: string, text: string): void {
    const topic = formatTopic({ network: this.options.network, deviceId, kind: 'state' });
    // It is kept as long as the device: with memory of its own, not a piece of a pool of 8 kB that stays with it.
    const payload = Buffer.alloc(text.length, text, 'latin1');
    const packet = { cmd: 'publish', topic, payload, qos: 0, retain: true, dup: false } as const;
    if (this.aedes.closed) return;
    this.aedes.publish(packet, () => {});
    this.stateListener(topic, payload);
  }

  private cutSlowReader(client: Client): void {
    if (client.conn.destroyed) return;
    this.options.refusals.count(SLOW_READER);
    this.options.onNotice('connection-ended', { client: client.id, clause: SLOW_READER });
    client.conn.destroy();
  }
}

interface FlowContext extends Pick<MqttServerOptions, 'backPressure' | 'rates'> {
  readonly rateHolds: RateHolds;
  readonly sessionOn: (connection: Duplex) => Session | undefined;
}

/** How fast a device is read: as far as what it sent is settled, and as its rate allows. */
class DeviceFlow implements Flow {
  private readonly connection: Duplex;
  private readonly context: FlowContext;

  constructor(connection: Duplex, context: FlowContext) {
    this.connection = connection;
    this.context = context;
  }

  holds(): boolean {
    const { backPressure, rateHolds } = this.context;
    return backPressure.holds(this.connection) || rateHolds.holds(this.connection, this);
  }

  allowance(): number {
    const session = this.context.sessionOn(this.connection);
    if (session === undefined) return Number.POSITIVE_INFINITY;
    return this.context.rates.allowance(session);
  }

  onOthers(packets: number): void {
    const session = this.context.sessionOn(this.connection);
    if (session !== undefined) this.context.rates.spend(session, packets);
  }

  end(): void {
    this.context.rateHolds.forget(this.connection);
  }
}
