/**
 * The least MQTT 3.1.1 client that can load a broker: CONNECT, SUBSCRIBE, ready-made PUBLISH packets at QoS 1 with the
 * packet id patched in, and PUBACKs both ways. No keep-alive, no retransmission, no reconnecting.
 */

import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface WriterOptions {
  readonly port: number;
  /** Over TLS; whom it talks to is not checked. */
  readonly tls?: boolean;
  readonly clientId: string;
  readonly username?: string;
  readonly password?: string;
  /** Topic filter, at QoS 1. */
  readonly subscribe?: string;
  /** Called for each PUBACK, in the order of arrival. */
  readonly onPuback: (packetId: number) => void;
  /** Called when all PUBACKs of a chunk were handed on: the moment to send more. */
  readonly onIdle: () => void;
  readonly onError: (error: Error) => void;
}

export interface MqttWriter {
  /** Publishes brought by the broker; each was acknowledged. */
  readonly received: number;
  /** Writes a packet of {@link publishPacket}; the packet is changed. */
  publish(packet: Buffer, packetId: number): void;
  /** Keeps what is published until `release`, for one write. */
  hold(): void;
  release(): void;
  close(): void;
}

const CONNACK = 2;
const PUBLISH = 3;
const PUBACK = 4;
const SUBACK = 9;

/** A PUBLISH at QoS 1 without its packet id. */
export function publishPacket(topic: string, payload: Uint8Array): Buffer {
  const name = lengthPrefixed(topic);
  return packet(0x32, [name, Buffer.alloc(2), payload]);
}

/**
 * Connects and subscribes.
 *
 * @throws {Error} when the broker refuses or goes away.
 */
export async function openWriter(options: WriterOptions): Promise<MqttWriter> {
  const address = { port: options.port, host: '127.0.0.1', noDelay: true };
  const socket = options.tls
    ? connectTls({ ...address, rejectUnauthorized: false })
    : connect(address);
  const writer = new Writer(socket, options);
  await writer.login();
  return writer;
}

class Writer implements MqttWriter {
  received = 0;
  private readonly socket: Socket;
  private readonly options: WriterOptions;
  private rest: Buffer = Buffer.alloc(0);
  private greeted: (() => void) | null = null;
  private failed: ((error: Error) => void) | null = null;
  private closing = false;

  constructor(socket: Socket, options: WriterOptions) {
    this.socket = socket;
    this.options = options;
    socket.on('data', (chunk) => this.read(chunk));
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('connection: closed by the broker')));
  }

  login(): Promise<void> {
    const { clientId, username, password, subscribe } = this.options;
    const flags = 0x02 | (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40);
    const fields = [clientId, username, password].filter((text) => text !== undefined);
    const head = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, flags, 0, 0]);
    this.socket.write(packet(0x10, [head, ...fields.map(lengthPrefixed)]));
    if (subscribe !== undefined) {
      const body = [Buffer.from([0, 1]), lengthPrefixed(subscribe), Buffer.from([1])];
      this.socket.write(packet(0x82, body));
    }
    return new Promise((resolve, reject) => {
      this.greeted = resolve;
      this.failed = reject;
    });
  }

  publish(bytes: Buffer, packetId: number): void {
    bytes.writeUInt16BE(packetId, idOffset(bytes));
    this.socket.write(bytes);
  }

  hold(): void {
    this.socket.cork();
  }

  release(): void {
    this.socket.uncork();
  }

  close(): void {
    this.closing = true;
    this.socket.destroy();
  }

  private read(chunk: Buffer): void {
    const bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    let at = 0;
    for (;;) {
      const body = at + headLength(bytes, at);
      const end = body + bodyLength(bytes, at);
      if (Number.isNaN(end) || end > bytes.length) break;
      this.take(bytes[at]!, bytes.subarray(body, end));
      at = end;
    }
    this.rest = bytes.subarray(at);
    this.options.onIdle();
  }

  private take(first: number, body: Buffer): void {
    const type = first >> 4;
    if (type === PUBACK) this.options.onPuback(body.readUInt16BE(0));
    else if (type === PUBLISH) {
      this.received += 1;
      if ((first & 0x06) === 0) return;
      const id = 2 + body.readUInt16BE(0);
      this.socket.write(Buffer.from([0x40, 2, body[id]!, body[id + 1]!]));
    } else if (type === CONNACK) {
      if (body[1] !== 0) this.fail(new Error(`CONNACK: expected 0, got ${body[1]}`));
      else if (this.options.subscribe === undefined) this.greeted?.();
    } else if (type === SUBACK) {
      if (body[2] === 0x80)
        this.fail(
          new Error(
            'SUBACK: expected a grant' +
              body.toString('hex') +
              this.options.subscribe +
              ' as ' +
              this.options.clientId,
          ),
        );
      else this.greeted?.();
    }
  }

  private fail(error: Error): void {
    if (this.closing) return;
    this.closing = true;
    this.failed?.(error);
    this.options.onError(error);
  }
}

function packet(first: number, parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  for (let left = body.length; ; left >>>= 7) {
    length.push(left > 0x7f ? (left & 0x7f) | 0x80 : left);
    if (left <= 0x7f) break;
  }
  return Buffer.concat([Buffer.from([first, ...length]), body]);
}

function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function idOffset(bytes: Buffer): number {
  const topic = headLength(bytes, 0);
  return topic + 2 + bytes.readUInt16BE(topic);
}

/** Length of the fixed header; NaN when it is cut off. */
function headLength(bytes: Buffer, at: number): number {
  for (let i = 1; i <= 4; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return Number.NaN;
    if (byte < 0x80) return i + 1;
  }
  return Number.NaN;
}

function bodyLength(bytes: Buffer, at: number): number {
  let length = 0;
  for (let i = 0; i < 4; i++) {
    const byte = bytes[at + 1 + i];
    if (byte === undefined) return Number.NaN;
    length += (byte & 0x7f) << (7 * i);
    if (byte < 0x80) return length;
  }
  return Number.NaN;
}
