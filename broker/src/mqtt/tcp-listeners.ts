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

export interface ListenerOptions {
  readonly door: Door;
  readonly desk: Pick<FrontDesk, 'accept'>;
}

export interface TlsListener {
  /** What is bound. */
  readonly listener: Server;
  /** What has the certificate. */
  readonly tls: TlsServer;
}

/** @param listener - `plain` for that of the plain profile. */
export function createTcpListener(
  { door, desk }: ListenerOptions,
  listener: 'tcp' | 'plain',
): Server {
  return createServer({ noDelay: true, keepAlive: true }, (socket) => {
    if (door.admit(socket, 'login')) desk.accept(socket, originOf(socket, listener));
  });
}

/** The door is before TLS: who is refused costs no handshake. */
export function createTlsListener(
  { door, desk }: ListenerOptions,
  options: {
    readonly material: SecureContextOptions;
    readonly handshakeTimeoutMs: number;
    readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
  },
): TlsListener {
  const { material, handshakeTimeoutMs, onNotice } = options;
  const tls = createTlsServer({ ...material, handshakeTimeout: handshakeTimeoutMs }, (socket) => {
    door.secured(socket);
    desk.accept(socket, originOf(socket, 'tls'));
  });
  tls.on('tlsClientError', (error) => onNotice('tls-client-error', { error: error.message }));
  const listener = createServer({ noDelay: true, keepAlive: true }, (socket) => {
    socket.on('error', () => {});
    if (door.admit(socket, 'handshake')) tls.emit('connection', socket);
  });
  return { listener, tls };
}

function originOf(socket: Socket, listener: Origin['listener']): Origin {
  return { address: socket.remoteAddress ?? '', listener };
}
