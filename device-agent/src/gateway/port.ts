/**
 * The port of a gateway on the local network: one for the hello, which is HTTP, and for MQTT; the first byte tells them
 * apart. Connections are bounded in number, in bytes before a login, and in time.
 */

import { STATUS_CODES } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { fromBase64url } from '@fieldproof/protocol/bytes';
import type { Clock, TimerHandle } from '../clock.ts';
import { AgentError, reasonOf } from '../errors.ts';
import { LeafConnection, type LeafConnectionHooks } from './leaf-connection.ts';
import { MAX_PASSED_BYTES, type Passed } from './pass-through.ts';

const MAX_HEAD_BYTES = 2048;
const HEAD_MS = 5000;
/** Connections of one address that are no leaf's yet: one machine must not keep the others out. */
const MIN_STRANGERS = 8;
const STRANGERS_PART = 0.25;
/** For an answer of the network. */
const ANSWER_MS = 30_000;
const CHECK_MS = 2000;
const REQUEST = /^(GET|POST) (\/[!-~]{1,300}) HTTP\/1\.[01]\r\n/;
const LENGTH = /\r\ncontent-length: *(\d{1,6})\r\n/i;
const HELLO = /^\/v1\/gateway\/hello\?nonce=([A-Za-z0-9_-]{22,43})$/;

export interface GatewayPortOptions {
  readonly listen: string;
  readonly maxConnections: number;
  readonly clock: Clock;
  /** The signed hello for a client nonce. */
  readonly hello: (clientNonce: Uint8Array) => Uint8Array;
  /** Passes a request of a leaf on to the network. */
  readonly pass: (method: string, path: string, body: Uint8Array) => Promise<Passed>;
  readonly hooks: LeafConnectionHooks;
  /** A connection was turned away for want of room. */
  readonly onFull: () => void;
}

export class GatewayPort {
  readonly #options: GatewayPortOptions;
  readonly #connections = new Set<LeafConnection>();
  readonly #sockets = new Map<Socket, LeafConnection | undefined>();
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
    for (const socket of this.#sockets.keys()) socket.destroy();
    await new Promise<void>((resolve) => {
      if (this.#server === undefined) resolve();
      else this.#server.close(() => resolve());
    });
  }

  #accept(socket: Socket): void {
    const { maxConnections, clock, onFull } = this.#options;
    socket.on('error', () => {});
    if (this.#sockets.size >= maxConnections || this.#hasManyStrangers(socket.remoteAddress)) {
      onFull();
      socket.destroy();
      return;
    }
    this.#sockets.set(socket, undefined);
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
        return;
      }
      const end = Buffer.from(head.subarray(0, MAX_HEAD_BYTES)).indexOf('\r\n\r\n');
      const isHttp = head[0] === 0x47 || head[0] === 0x50;
      if (!isHttp || (end < 0 && head.length >= MAX_HEAD_BYTES)) socket.destroy();
      if (!isHttp || end < 0) return;
      const text = Buffer.from(head.subarray(0, end + 2)).toString('latin1');
      const length = Number(LENGTH.exec(text)?.[1] ?? 0);
      if (length > MAX_PASSED_BYTES) socket.destroy();
      if (length > MAX_PASSED_BYTES || head.length < end + 4 + length) return;
      socket.removeListener('data', onData);
      clock.cancel(timer);
      const late = clock.after(ANSWER_MS, () => socket.destroy());
      socket.on('close', () => clock.cancel(late));
      void this.#answer(socket, text, head.slice(end + 4, end + 4 + length));
    };
    socket.on('data', onData);
  }

  #hasManyStrangers(address: string | undefined): boolean {
    const most = Math.max(MIN_STRANGERS, this.#options.maxConnections * STRANGERS_PART);
    let strangers = 0;
    for (const [socket, connection] of this.#sockets) {
      if (socket.remoteAddress === address && connection?.leaf === undefined) strangers += 1;
    }
    return strangers >= most;
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
    if (this.#sockets.has(socket)) this.#sockets.set(socket, connection);
    connection.start(first);
  }

  async #answer(socket: Socket, head: string, body: Uint8Array): Promise<void> {
    const [, method = '', path = ''] = REQUEST.exec(head) ?? [];
    const [, nonce] = (method === 'GET' && HELLO.exec(path)) || [];
    const answer =
      nonce === undefined ? await this.#options.pass(method, path, body) : this.#ownHello(nonce);
    const isCose = answer.status === 200 && method === 'GET';
    const type = isCose ? 'application/cose; cose-type="cose-sign1"' : 'application/octet-stream';
    const lines = [
      `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? 'Answer'}`,
      `content-type: ${answer.status >= 400 ? 'application/problem+json' : type}`,
      `content-length: ${answer.body.length}`,
      ...['cache-control: no-store', 'connection: close', '', ''],
    ];
    if (!socket.destroyed)
      socket.end(Buffer.concat([Buffer.from(lines.join('\r\n')), answer.body]));
  }

  #ownHello(nonce: string): Passed {
    try {
      const clientNonce = fromBase64url(nonce);
      if (clientNonce.length >= 16) return { status: 200, body: this.#options.hello(clientNonce) };
    } catch {
      // Answered below.
    }
    return { status: 400, body: new Uint8Array(0) };
  }

  #checkLater(): void {
    this.#timer = this.#options.clock.after(CHECK_MS, () => {
      for (const connection of [...this.#connections]) connection.checkSilence();
      this.#checkLater();
    });
  }
}
