/**
 * Where every MQTT connection arrives: it is read until its CONNECT is whole, then handed to the broker that the
 * CONNECT is for, or refused.
 *
 * Until then a peer costs its socket, at most `maxConnectBytes` and a timer. After it nothing stands between the
 * connection and its broker but the guard, which the broker reads through.
 */

import type { Duplex } from 'node:stream';
import type { Client } from 'aedes';
import { type Connect, decodeConnect } from './connect-packet.ts';
import type { Door } from './door.ts';
import { type Following, type GuardHooks, type GuardLimits, guardConnection } from './guard.ts';
import type { HeldPackets, Holder, Holding } from './held-packets.ts';
import type { Violation } from './packet-rules.ts';
import type { Refusals } from './refusals.ts';
import {
  type Origin,
  type PlainLogin,
  type Route,
  type RouteRules,
  routeConnect,
} from './route.ts';
import type { Slices } from './slices.ts';

/** How fast one connection is read. */
export interface Flow {
  /** Whether it must not be read now; it emits `readable` when it may again. */
  readonly holds: () => boolean;
  /** How many packets may be handed on now. */
  readonly allowance: () => number;
  /** Told how many packets that are no PUBLISH were handed on; each filter counts as one. */
  readonly onOthers: (packets: number) => void;
  /** The connection has closed, or another flow takes over. */
  readonly end: () => void;
}

/** A broker behind the desk. */
export interface Destination extends Following {
  flow(connection: Duplex): Flow;
}

/** The broker of the devices. */
export interface DeviceDestination extends Destination {
  /** Takes over a guarded connection of which nothing was read. */
  handle(connection: Duplex): void;
}

/** The broker of everybody else. */
export interface PlainDestination extends Destination {
  /** Takes over a guarded connection of which nothing was read. @returns whether it was let in. */
  handle(connection: Duplex, arrival: PlainArrival): boolean;
}

export interface PlainArrival {
  readonly connect: Connect;
  readonly login: PlainLogin;
  readonly origin: Origin;
}

export interface FrontDeskOptions {
  readonly device: DeviceDestination;
  readonly plain: PlainDestination;
  readonly rules: RouteRules;
  readonly refusals: Refusals;
  /** Told who has logged in, and who has not; it lets in so many at a time. */
  readonly door: Pick<Door, 'loggedIn' | 'loginFailed'>;
  readonly held: HeldPackets;
  /** Has those ended who are late, a few at a time. */
  readonly slices: Pick<Slices, 'add'>;
  readonly limits: GuardLimits & {
    /** How long a peer may take to send its CONNECT. */
    readonly connectTimeoutMs: number;
  };
  /** Longest CONNECT at the plain listener, where that is of this machine; else as anywhere. */
  readonly maxPlainConnectBytes?: number;
  /** Something worth a line in the log at debug level. */
  readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
}

export class FrontDesk {
  private readonly options: FrontDeskOptions;
  private readonly connections = new Set<Duplex>();
  private readonly context: ArrivalContext;
  private ready = false;

  constructor(options: FrontDeskOptions) {
    this.options = options;
    const judge = (connect: Connect, origin: Origin) => this.judge(connect, origin);
    const { limits, maxPlainConnectBytes = limits.maxConnectBytes } = options;
    const plainLimits = { ...limits, maxConnectBytes: maxPlainConnectBytes };
    this.context = { ...options, plainLimits, connections: this.connections, judge };
  }

  /** Logins are judged from now on; before, they are answered with return code 3. */
  open(): void {
    this.ready = true;
  }

  /** Undoes {@link open}. */
  close(): void {
    this.ready = false;
  }

  /**
   * Takes a new connection: a TCP or TLS socket, or the stream of a WebSocket. It is destroyed when it is refused, and
   * forgotten when it closes.
   */
  accept(connection: Duplex, origin: Origin): void {
    new Arrival(connection, origin, this.context).start();
  }

  status(): { readonly connections: number; readonly refused: Readonly<Record<string, number>> } {
    return { connections: this.connections.size, refused: this.options.refusals.values() };
  }

  /** Ends every connection; listeners are their owner's to close. */
  stop(): void {
    this.close();
    for (const connection of this.connections) connection.destroy();
  }

  private judge(connect: Connect, origin: Origin): Judged {
    if (this.ready) return routeConnect(connect, origin, this.options.rules);
    return { to: 'nobody', connack: 3, reason: 'ERR_NOT_READY' } as const;
  }
}

type Judged =
  | Route
  /** Logins are not judged yet, or no more. */
  | { readonly to: 'nobody'; readonly connack: 3; readonly reason: string };

interface ArrivalContext extends FrontDeskOptions {
  readonly plainLimits: GuardLimits;
  /** Those that are open. */
  readonly connections: Set<Duplex>;
  readonly judge: (connect: Connect, origin: Origin) => Judged;
}

/** One connection, from its arrival to its end. It has no closures: there are ten thousand of them that are idle. */
class Arrival implements GuardHooks, Holder {
  readonly connection: Duplex;
  private readonly origin: Origin;
  private readonly context: ArrivalContext;
  private flow: Flow;
  private guarded: { readonly giveBack: (packets: Buffer) => void } | null = null;
  private timer: NodeJS.Timeout | undefined;
  /** Where it goes to the plain broker, until it is there. */
  private plain: PlainArrival | null = null;
  private ended = false;

  constructor(connection: Duplex, origin: Origin, context: ArrivalContext) {
    this.connection = connection;
    this.origin = origin;
    this.context = context;
    this.flow = context.device.flow(connection);
  }

  start(): void {
    const { connection } = this;
    const { limits, plainLimits, connections } = this.context;
    const isPlain = this.origin.listener === 'plain';
    arrivals.set(connection, this);
    connections.add(connection);
    connection.on('error', ignore);
    connection.on('close', onClose);
    connection.on('end', onEnd);
    this.guarded = guardConnection(connection, isPlain ? plainLimits : limits, this);
    this.timer = setTimeout(tooLate, limits.connectTimeoutMs, this);
    connection.on('readable', onReadable);
  }

  onViolation({ clause }: { readonly clause: string }): void {
    if (this.ended) return;
    this.ended = true;
    this.context.refusals.count(clause);
    this.context.onNotice('connection-ended', { ...this.origin, clause });
  }

  holds(): boolean {
    return isLoggingIn(this.connection) || this.flow.holds();
  }

  allowance(): number {
    return this.flow.allowance();
  }

  onOthers(packets: number): void {
    this.flow.onOthers(packets);
  }

  onHeld(holding: Holding): void {
    this.context.held.tell(this, holding);
  }

  endHolder(clause: string): void {
    this.onViolation({ clause });
    this.connection.destroy();
  }

  onConnect(body: Buffer): Following | Violation {
    const { connection, origin } = this;
    const { judge, onNotice, device, plain, door } = this.context;
    const connect = decodeConnect(body);
    const route = judge(connect, origin);
    if (route.to === 'nobody') {
      const { connack, reason } = route;
      onNotice('login-refused', { client: connect.clientId, returnCode: connack, reason });
      const delayMs = connack === 3 ? 0 : door.loginFailed(connection);
      return { clause: `CONNACK ${connack}`, connack, delayMs };
    }
    if (route.to === 'device') return device;
    this.flow.end();
    this.flow = plain.flow(connection);
    this.plain = { connect, login: route.login, origin };
    return plain;
  }

  /** Reads until the CONNECT is there; then its broker does. */
  readOn(): void {
    const { connection, context } = this;
    const packets: unknown = connection.read();
    if (!Buffer.isBuffer(packets)) return;
    this.stopTimer();
    this.guarded?.giveBack(packets);
    // Its broker listens before the desk stops, so that the stream goes on as it is.
    if (this.plain === null) context.device.handle(connection);
    else if (context.plain.handle(connection, this.plain)) context.door.loggedIn(connection);
    this.plain = null;
    connection.removeListener('readable', onReadable);
    connection.removeListener('end', onEnd);
    connection.emit('readable');
  }

  /** Its time is over; it ends when it is its turn, unless its CONNECT has come meanwhile. */
  isLate(): void {
    this.context.slices.add(() => {
      if (this.timer !== undefined) this.endLate();
    });
  }

  private endLate(): void {
    this.onViolation({ clause: 'no CONNECT in time' });
    this.connection.destroy();
  }

  forget(): void {
    this.stopTimer();
    this.context.held.forget(this);
    this.flow.end();
    this.context.connections.delete(this.connection);
  }

  private stopTimer(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}

const arrivals = new WeakMap<Duplex, Arrival>();

function onReadable(this: Duplex): void {
  arrivals.get(this)?.readOn();
}

function onEnd(this: Duplex): void {
  this.destroy();
}

function onClose(this: Duplex): void {
  arrivals.get(this)?.forget();
}

function tooLate(arrival: Arrival): void {
  arrival.isLate();
}

function ignore(): void {}

/**
 * Whether Aedes has the CONNECT and has not answered it. It would take what comes then as if the client were in;
 * once it has answered, it reads on by itself.
 */
function isLoggingIn(connection: Duplex): boolean {
  const { client } = connection as Duplex & { readonly client?: Client };
  return client !== undefined && !client.connected;
}
