/** Listeners for MQTT over TCP and over TLS, not yet bound: what passes the door goes to the front desk. */

import { createServer, type Server, type Socket } from 'node:net';
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type Server as TlsServer,
} from 'node:tls';
import type { Door } from './door.ts';
import type { FrontDesk } from './front-desk.ts';
import type { Origin } from './route.ts';
import type { Slices } from './slices.ts';

export interface ListenerOptions {
  readonly door: Door;
  readonly desk: Pick<FrontDesk, 'accept'>;
  /** Has arrivals dealt with, a few at a time. */
  readonly slices: Pick<Slices, 'add'>;
}

export interface TlsListener {
  /** What is bound. */
  readonly listener: Server;
  /** What has the certificate. */
  readonly tls: TlsServer;
}

/** @param listener - `plain` for that of the plain profile. */
export function createTcpListener(
  { door, desk, slices }: ListenerOptions,
  listener: 'tcp' | 'plain',
): Server {
  return createArrivals(slices, (socket) => {
    if (door.admit(socket, 'login')) desk.accept(socket, originOf(socket, listener));
  });
}

/** The door is before TLS: who is refused costs no handshake. */
export function createTlsListener(
  { door, desk, slices }: ListenerOptions,
  options: {
    readonly material: SecureContextOptions;
    readonly handshakeTimeoutMs: number;
    readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
  },
): TlsListener {
  const { material, handshakeTimeoutMs, onNotice } = options;
  // The door ends handshakes that are late; this is for those that it does not know any more.
  const handshakeTimeout = 2 * handshakeTimeoutMs;
  const tls = createTlsServer({ ...material, handshakeTimeout }, (socket) => {
    door.secured(socket);
    desk.accept(socket, originOf(socket, 'tls'));
  });
  tls.on('tlsClientError', (error) => onNotice('tls-client-error', { error: error.message }));
  const listener = createArrivals(slices, (socket) => {
    if (!door.admit(socket, 'handshake')) return;
    socket.on('error', ignore);
    tls.emit('connection', socket);
  });
  return { listener, tls };
}

/** A listener that hands on who is still there when it is his turn. */
function createArrivals(slices: Pick<Slices, 'add'>, arrive: (socket: Socket) => void): Server {
  const listener = createServer({ noDelay: true, keepAlive: true }, (socket) => {
    socket.on('error', ignore);
    slices.add(() => {
      socket.removeListener('error', ignore);
      if (socket.destroyed) return;
      if (listener.listening) arrive(socket);
      else socket.destroy();
    });
  });
  return listener;
}

function ignore(): void {}

function originOf(socket: Socket, listener: Origin['listener']): Origin {
  return { address: socket.remoteAddress ?? '', listener };
}
