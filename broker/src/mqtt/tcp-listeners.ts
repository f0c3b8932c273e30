/** Listeners for MQTT over TCP and over TLS, not yet bound; what they accept goes to the front desk. */

import { createServer, type Server, type Socket } from 'node:net';
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type Server as TlsServer,
} from 'node:tls';
import type { FrontDesk } from './front-desk.ts';
import type { Refusals } from './refusals.ts';
import type { Origin } from './route.ts';

export interface TlsListenerOptions {
  readonly material: SecureContextOptions;
  readonly maxConnections: number;
  readonly refusals: Refusals;
  readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
}

/** @param listener - `plain` for that of the plain profile. */
export function createTcpListener(desk: FrontDesk, listener: 'tcp' | 'plain'): Server {
  return createServer({ noDelay: true, keepAlive: true }, (socket) =>
    desk.accept(socket, originOf(socket, listener)),
  );
}

export function createTlsListener(desk: FrontDesk, options: TlsListenerOptions): TlsServer {
  const { material, maxConnections, refusals, onNotice } = options;
  const server = createTlsServer(
    { ...material, noDelay: true, keepAlive: true, handshakeTimeout: 10_000 },
    (socket) => desk.accept(socket, originOf(socket, 'tls')),
  );
  // The desk sees a connection after its handshake; those that never finish one count as well.
  server.maxConnections = maxConnections;
  server.on('drop', () => refusals.count('connections'));
  server.on('tlsClientError', (error) => onNotice('tls-client-error', { error: error.message }));
  return server;
}

function originOf(socket: Socket, listener: Origin['listener']): Origin {
  return { address: socket.remoteAddress ?? '', listener };
}
