/**
 * MQTT over WebSocket (MQTT 3.1.1 section 6) at the HTTP listeners: no port of its own, the same door, the same desk.
 *
 * Binary frames of subprotocol `mqtt`, no compression. Logins are in the CONNECT and never in cookies, so pages of
 * other origins gain nothing by opening one; the `Origin` header is not looked at.
 */

import { type IncomingMessage, type Server, ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { HttpBooks } from '@fieldproof/protocol/http-limits-node';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { BrokerError } from '../errors.ts';
import { problemOf } from '../http/problem.ts';
import { RateLimiter } from '../rate-limit.ts';
import type { Door } from './door.ts';
import type { FrontDesk } from './front-desk.ts';
import type { HeldPackets } from './held-packets.ts';
import type { Refusals } from './refusals.ts';

export const WEBSOCKET_PATH = '/mqtt';

export interface WebSocketOptions {
  readonly door: Door;
  readonly desk: Pick<FrontDesk, 'accept'>;
  /** Of the HTTP server, in which an upgraded connection counts no more. */
  readonly books: HttpBooks;
  readonly listener: 'ws' | 'wss';
  readonly limits: {
    readonly maxConnectBytes: number;
    readonly maxPacketBytes: number;
    readonly plainMaxPacketBytes: number;
    readonly maxUnsentBytes: number;
    readonly webSocketPingsPerSecond: number;
  };
  readonly held: HeldPackets;
  readonly isReady: () => boolean;
  readonly now: () => number;
  readonly refusals: Refusals;
  readonly onNotice: (event: string, detail: Readonly<Record<string, unknown>>) => void;
}

const SUBPROTOCOL = 'mqtt';
/** Pings that may come at once, in seconds of their rate. */
const PING_BURST_SECONDS = 10;
/** How long a client may take to answer a close frame. */
const CLOSE_TIMEOUT_MS = 2000;
/** The longest fixed header of MQTT and frame header of a WebSocket. */
const HEADERS_BYTES = 5 + 14;
/** What a client may send after its CONNECT without waiting for the answer. */
const EARLY_BYTES = 16_384;
/** RFC 6455 section 7.4.1: data of a type that is not accepted. */
const UNSUPPORTED_DATA = 1003;

/** The WebSocket URL of an HTTP one. */
export function webSocketUrl(httpUrl: string): string {
  return `${httpUrl.replace(/^http/, 'ws')}${WEBSOCKET_PATH}`;
}

/** Answers the upgrade requests of an HTTP server. */
export function serveWebSockets(server: Server, options: WebSocketOptions): void {
  const { door, books, limits, onNotice } = options;
  const settings = {
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    autoPong: false,
    // Its types do not know it yet.
    closeTimeout: CLOSE_TIMEOUT_MS,
    // A frame is kept until it is whole; clients send a packet in each.
    maxPayload: Math.max(limits.maxPacketBytes, limits.plainMaxPacketBytes) + HEADERS_BYTES,
    handleProtocols: () => SUBPROTOCOL,
  };
  const webSockets = new WebSocketServer(settings);
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => {});
    if (request.headers.upgrade?.toLowerCase() !== 'websocket') {
      answerAsHttp(server, { request, socket, head });
      return;
    }
    try {
      checkRequest(request, options.isReady());
    } catch (error) {
      sendProblem(socket, error);
      return;
    }
    books.release(socket);
    if (!door.admit(socket, 'login')) return;
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', ({ message }) => onNotice('websocket-error', { error: message }));
      take(webSocket, socket, options);
    });
  });
}

function checkRequest(request: IncomingMessage, isReady: boolean): void {
  const path = (request.url ?? '').split('?', 1)[0]!;
  if (path !== WEBSOCKET_PATH) {
    throw new BrokerError('ERR_NOT_FOUND', `WebSocket ${path.slice(0, 120)}`);
  }
  if (!isReady) throw new BrokerError('ERR_NOT_READY', 'broker: starting or stopping');
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',');
  // [MQTT-6.0.0-3]: the client MUST include "mqtt" in the list of subprotocols it offers.
  if (offered.some((name) => name.trim() === SUBPROTOCOL)) return;
  throw new BrokerError('ERR_REQUEST', 'Sec-WebSocket-Protocol: expected mqtt among those offered');
}

/** A WebSocket that was opened. */
function take(webSocket: WebSocket, socket: Socket, options: WebSocketOptions): void {
  const { door, desk, listener, limits, refusals, onNotice } = options;
  const stream: Duplex = createWebSocketStream(webSocket);
  const end = (clause: string): void => {
    refusals.count(clause);
    onNotice('connection-ended', { address: socket.remoteAddress, listener, clause });
    stream.destroy();
  };
  door.follow(stream, socket);
  // [MQTT-6.0.0-1]: if any other type of data frame is received the recipient MUST close the connection. Before the
  // stream sees it.
  webSocket.prependListener('message', (_data, isBinary) => {
    if (isBinary) return;
    webSocket.close(UNSUPPORTED_DATA);
    end('MQTT-6.0.0-1');
  });
  webSocket.on('ping', (data) => {
    if (socket.destroyed) return;
    if (socket.writableLength > limits.maxUnsentBytes) end('slow reader');
    else webSocket.pong(data);
  });
  meterIdleFrames(webSocket, { ...options, socket, end });
  meterLogin(stream, { ...options, socket, end });
  meterFrames(webSocket, { held: options.held, socket, end });
  desk.accept(stream, { address: socket.remoteAddress ?? '', listener });
}

/** Ends a connection that sends many frames without a packet in them: pings, pongs, empty ones. No rate counts those. */
function meterIdleFrames(
  webSocket: WebSocket,
  options: Pick<WebSocketOptions, 'limits' | 'now'> & {
    readonly socket: Socket;
    readonly end: (clause: string) => void;
  },
): void {
  const { limits, now, socket, end } = options;
  const perSecond = limits.webSocketPingsPerSecond;
  let rate: RateLimiter | undefined;
  const onIdleFrame = (): void => {
    // The library goes on with what it has read already.
    if (socket.destroyed) return;
    rate ??= new RateLimiter({ perSecond, burst: perSecond * PING_BURST_SECONDS }, now);
    if (rate.take('') > 0) end('WebSocket pings');
  };
  webSocket.prependListener('ping', onIdleFrame);
  webSocket.on('pong', onIdleFrame);
  webSocket.on('message', (data: Buffer) => {
    if (data.length === 0) onIdleFrame();
  });
}

/** Ends a connection that has sent more than a CONNECT and has not logged in: the frame of a stranger may be long. */
function meterLogin(
  stream: Duplex,
  options: WebSocketOptions & {
    readonly socket: Socket;
    readonly end: (clause: string) => void;
  },
): void {
  const { door, socket, limits, end } = options;
  let bytes = 0;
  const onData = (chunk: Buffer): void => {
    if (!door.isPending(stream)) {
      socket.removeListener('data', onData);
    } else if (bytes > limits.maxConnectBytes + EARLY_BYTES) {
      socket.removeListener('data', onData);
      end('size');
    } else {
      bytes += chunk.length;
    }
  };
  socket.on('data', onData);
}

/**
 * Tells what is kept of a frame that is not whole. The beginning of one that comes together with the end of another is
 * not seen until more of it comes.
 */
function meterFrames(
  webSocket: WebSocket,
  options: {
    readonly held: HeldPackets;
    readonly socket: Socket;
    readonly end: (clause: string) => void;
  },
): void {
  const { held, socket, end } = options;
  const holder = { connection: socket, endHolder: end };
  let bytes = 0;
  const whole = (): void => {
    bytes = 0;
    held.forget(holder);
  };
  for (const event of ['message', 'ping', 'pong', 'close']) webSocket.prependListener(event, whole);
  // Before the library sees it, which says at once what is whole with it.
  socket.prependListener('data', (chunk: Buffer) => {
    bytes += chunk.length;
    held.tell(holder, { bytes, isNew: false });
  });
}

/**
 * An upgrade to something else, such as h2c, which clients of HTTP/2 offer with any request: a server may ignore it
 * (RFC 9110 section 7.8). Node has taken the connection from the HTTP parser, so it ends with this answer.
 */
function answerAsHttp(
  server: Server,
  {
    request,
    socket,
    head,
  }: { readonly request: IncomingMessage; readonly socket: Socket; readonly head: Buffer },
): void {
  const { headers } = request;
  const hasBody = headers['content-length'] ?? headers['transfer-encoding'];
  if (head.length > 0 || (hasBody !== undefined && hasBody !== '0')) {
    sendProblem(socket, new BrokerError('ERR_REQUEST', 'Upgrade: not with a body'));
    return;
  }
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => socket.end(() => socket.destroy()));
  server.emit('request', request, response);
}

function sendProblem(socket: Socket, error: unknown): void {
  const problem = problemOf(error);
  const body = JSON.stringify(problem);
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    'content-type: application/problem+json',
    'cache-control: no-store',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
