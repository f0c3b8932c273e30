/**
 * The port of a gateway on the local network: one for the hello, which is HTTP, and for MQTT; the first byte tells them
 * apart. Connections are bounded in number, in bytes before a login, and in time.
 */

import { createServer, type Server, type Socket } from 'node:net';
import { fromBase64url } from '@fieldproof/protocol/bytes';
import type { Clock, TimerHandle } from '../clock.ts';
import { AgentError, reasonOf } from '../errors.ts';
import { LeafConnection, type LeafConnectionHooks } from './leaf-connection.ts';

const MAX_HEAD_BYTES = 2048;
const HEAD_MS = 5000;
const CHECK_MS = 2000;
const HELLO = /^GET \/v1\/gateway\/hello\?nonce=([A-Za-z0-9_-]{22,43}) HTTP\/1\.[01]\r\n/;

export interface GatewayPortOptions {
  readonly listen: string;
  readonly maxConnections: number;
  readonly clock: Clock;
  /** The signed hello for a client nonce. */
  readonly hello: (clientNonce: Uint8Array) => Uint8Array;
  readonly hooks: LeafConnectionHooks;
  /** A connection was turned away for want of room. */
  readonly onFull: () => void;
}

export class GatewayPort {
  readonly #options: GatewayPortOptions;
  readonly #connections = new Set<LeafConnection>();
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #timer: TimerHandle | undefined;

  constructor(options: GatewayPortOptions) {
    this.#options = options;
  }

  get connections(): ReadonlySet<LeafConnection> {
    return this.#connections;
  }

  /** @returns the port. @throws {AgentError} ERR_AGENT_GATEWAY when it cannot listen. */
  async start(): Promise<number> {
    const { listen } = this.#options;
    const [, host = '', port = ''] = /^\[?([^\]]*)\]?:(\d+)$/.exec(listen) ?? [];
    const server = createServer((socket) => this.#accept(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) =>
        reject(new AgentError('ERR_AGENT_GATEWAY', `${listen}: ${reasonOf(cause)}`, { cause })),
      );
      server.listen({ host, port: Number(port) }, resolve);
    });
    server.on('error', () => {});
    this.#checkLater();
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : Number(port);
  }

  async stop(): Promise<void> {
    this.#options.clock.cancel(this.#timer);
    for (const connection of [...this.#connections]) connection.end('the gateway stops');
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => {
      if (this.#server === undefined) resolve();
      else this.#server.close(() => resolve());
    });
  }

  #accept(socket: Socket): void {
    const { maxConnections, clock, onFull } = this.#options;
    socket.on('error', () => {});
    if (this.#sockets.size >= maxConnections) {
      onFull();
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.setNoDelay(true);
    let head: Uint8Array = new Uint8Array(0);
    const timer = clock.after(HEAD_MS, () => socket.destroy());
    socket.on('close', () => clock.cancel(timer));
    const onData = (chunk: Uint8Array): void => {
      head = new Uint8Array(Buffer.concat([head, chunk]));
      if (head[0] === 0x10) {
        clock.cancel(timer);
        socket.removeListener('data', onData);
        this.#begin(socket, head);
      } else if (head[0] !== 0x47 || head.length > MAX_HEAD_BYTES) socket.destroy();
      else if (Buffer.from(head).includes('\r\n\r\n')) this.#answer(socket, head);
    };
    socket.on('data', onData);
  }

  #begin(socket: Socket, first: Uint8Array): void {
    const { hooks } = this.#options;
    const connection = new LeafConnection(socket, {
      ...hooks,
      onEnd: (ended, reason) => {
        this.#connections.delete(ended);
        hooks.onEnd(ended, reason);
      },
    });
    this.#connections.add(connection);
    connection.start(first);
  }

  #answer(socket: Socket, head: Uint8Array): void {
    const [, nonce] = HELLO.exec(Buffer.from(head).toString('latin1')) ?? [];
    let body: Uint8Array | undefined;
    try {
      body = nonce === undefined ? undefined : this.#options.hello(fromBase64url(nonce));
    } catch {
      // Answered below.
    }
    const status = body === undefined ? '404 Not Found' : '200 OK';
    const type = body === undefined ? 'text/plain' : 'application/cose; cose-type="cose-sign1"';
    const bytes = body ?? new Uint8Array(0);
    socket.end(
      Buffer.concat([
        Buffer.from(
          `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\ncontent-length: ${bytes.length}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n`,
        ),
        bytes,
      ]),
    );
  }

  #checkLater(): void {
    this.#timer = this.#options.clock.after(CHECK_MS, () => {
      for (const connection of [...this.#connections]) connection.checkSilence();
      this.#checkLater();
    });
  }
}
