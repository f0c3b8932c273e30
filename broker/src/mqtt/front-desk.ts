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
import { type GuardLimits, guardConnection } from './guard.ts';
import type { Refusals } from './refusals.ts';
import { type Origin, type PlainLogin, type RouteRules, routeConnect } from './route.ts';

/** How fast one connection is read. */
export interface Flow {
  /** Whether it must not be read now; it emits `readable` when it may again. */
  readonly holds: () => boolean;
  /** How many packets may be handed on now. */
  readonly allowance: () => number;
  /** Told how many packets that are no PUBLISH were handed on. */
  readonly onOthers: (packets: number) => void;
  /** The connection has closed, or another flow takes over. */
  readonly end: () => void;
}

/** A broker behind the desk. */
export interface Destination {
  /** Longest packet that a client of it may send. */
  readonly maxPacketBytes: number;
  flow(connection: Duplex): Flow;
}

/** The broker of the devices. */
export interface DeviceDestination extends Destination {
  /** Takes over a guarded connection of which nothing was read. */
  handle(connection: Duplex): void;
}

/** The broker of everybody else. */
export interface PlainDestination extends Destination {
  /** Takes over a guarded connection of which nothing was read. */
  handle(connection: Duplex, arrival: PlainArrival): void;
}

export interface PlainArrival {
  readonly connect: Connect;
  readonly login: PlainLogin;
  readonly origin: Origin;
}

export interface FrontDeskOptions {
  readonly device: DeviceDestination;
  /** Null: there is none. */
  readonly plain: PlainDestination | null;
  readonly rules: RouteRules;
  readonly refusals: Refusals;
  /** Told who has logged in, and who has not; it lets in so many at a time. */
  readonly door: Pick<Door, 'loggedIn' | 'loginFailed'>;
  readonly limits: GuardLimits & {
    /** How long a peer may take to send its CONNECT. */
    readonly connectTimeoutMs: number;
  };
  /** Something worth a line in the log at debug level. */
  readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
}

export class FrontDesk {
  private readonly options: FrontDeskOptions;
  private readonly connections = new Set<Duplex>();
  private ready = false;

  constructor(options: FrontDeskOptions) {
    this.options = options;
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
    const { limits, refusals, onNotice, device, plain, door } = this.options;
    connection.on('error', () => {});
    let ended = false;
    const end = (clause: string): void => {
      if (ended) return;
      ended = true;
      refusals.count(clause);
      onNotice('connection-ended', { ...origin, clause });
    };
    let flow = device.flow(connection);
    let handOver = (): void => device.handle(connection);
    const { giveBack } = guardConnection(connection, limits, {
      onViolation: ({ clause }) => end(clause),
      holds: () => isLoggingIn(connection) || flow.holds(),
      allowance: () => flow.allowance(),
      onOthers: (packets) => flow.onOthers(packets),
      onConnect: (body) => {
        const connect = decodeConnect(body);
        const route = this.judge(connect, origin);
        if (route.to === 'nobody') {
          const { connack, reason } = route;
          onNotice('login-refused', { client: connect.clientId, returnCode: connack, reason });
          const delayMs = connack === 3 ? 0 : door.loginFailed(connection);
          return { clause: `CONNACK ${connack}`, connack, delayMs };
        }
        if (route.to === 'device' || plain === null) return device;
        door.loggedIn(connection);
        flow.end();
        flow = plain.flow(connection);
        handOver = () => plain.handle(connection, { connect, login: route.login, origin });
        return plain;
      },
    });
    const timer = setTimeout(() => {
      end('no CONNECT in time');
      connection.destroy();
    }, limits.connectTimeoutMs);
    const forget = (): void => {
      clearTimeout(timer);
      flow.end();
      this.connections.delete(connection);
    };
    const onEnd = (): void => void connection.destroy();
    const onReadable = (): void => {
      const packets: unknown = connection.read();
      if (!Buffer.isBuffer(packets)) return;
      clearTimeout(timer);
      giveBack(packets);
      // Its broker listens before the desk stops, so that the stream goes on as it is.
      handOver();
      connection.removeListener('readable', onReadable);
      connection.removeListener('end', onEnd);
      connection.emit('readable');
    };
    this.connections.add(connection);
    connection.once('close', forget);
    connection.once('end', onEnd);
    connection.on('readable', onReadable);
  }

  status(): { readonly connections: number; readonly refused: Readonly<Record<string, number>> } {
    return { connections: this.connections.size, refused: this.options.refusals.values() };
  }

  /** Ends every connection; listeners are their owner's to close. */
  stop(): void {
    this.close();
    for (const connection of this.connections) connection.destroy();
  }

  private judge(connect: Connect, origin: Origin) {
    if (this.ready) return routeConnect(connect, origin, this.options.rules);
    return { to: 'nobody', connack: 3, reason: 'ERR_NOT_READY' } as const;
  }
}

/**
 * Whether Aedes has the CONNECT and has not answered it. It would take what comes then as if the client were in;
 * once it has answered, it reads on by itself.
 */
function isLoggingIn(connection: Duplex): boolean {
  const { client } = connection as Duplex & { readonly client?: Client };
  return client !== undefined && !client.connected;
}
