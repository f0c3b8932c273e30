/**
 * MQTT 3.1.1 as a gateway speaks it with its leaves: what a client sends is read, what a server sends is written. Small, so
 * that every length is bounded before anything is kept. Leaves out QoS 2, wills and retained messages, which end the
 * connection where a leaf sends them.
 */

import { AgentError } from '../errors.ts';

/** Longest packet of a leaf: an envelope with its topic. */
export const MAX_LEAF_PACKET_BYTES = 61_440;
const MAX_FILTERS = 16;

export type LeafPacket =
  /** A CONNECT of MQTT 5, or of another that is not 3.1.1: the rest of it is not read. */
  | { readonly cmd: 'foreign'; readonly level: number }
  | {
      readonly cmd: 'connect';
      readonly clientId: string;
      readonly username: string | undefined;
      readonly password: Uint8Array | undefined;
      readonly clean: boolean;
      readonly hasWill: boolean;
      readonly keepAliveSeconds: number;
    }
  | {
      readonly cmd: 'publish';
      readonly topic: string;
      readonly payload: Uint8Array;
      readonly qos: 0 | 1;
      /** Undefined with QoS 0. */
      readonly id: number | undefined;
    }
  | { readonly cmd: 'puback'; readonly id: number }
  | {
      readonly cmd: 'subscribe';
      readonly id: number;
      readonly filters: readonly { readonly filter: string; readonly qos: 0 | 1 }[];
    }
  | { readonly cmd: 'unsubscribe'; readonly id: number; readonly filters: readonly string[] }
  | { readonly cmd: 'pingreq' }
  | { readonly cmd: 'disconnect' };

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Takes the bytes of one connection, and gives its packets one by one. */
export class PacketReader {
  #chunks: Uint8Array[] = [];
  #length = 0;

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** The next whole packet. @throws {AgentError} ERR_AGENT_LEAF when it is no MQTT of a leaf, or too long. */
  next(): LeafPacket | undefined {
    const total = this.#announced();
    if (total === undefined || this.#length < total) return undefined;
    const bytes = this.#joined();
    const packet = readPacket(bytes.subarray(0, total));
    this.#chunks = bytes.length === total ? [] : [bytes.subarray(total)];
    this.#length = bytes.length - total;
    return packet;
  }

  /** Whole length of the packet at hand, undefined while its head is not there. */
  #announced(): number | undefined {
    if (this.#length < 2) return undefined;
    const head = this.#chunks[0]!.length >= 5 ? this.#chunks[0]! : this.#joined();
    let length = 0;
    for (let at = 1, factor = 1; at < 5; at += 1, factor *= 128) {
      const byte = head[at];
      if (byte === undefined) return undefined;
      length += (byte & 0x7f) * factor;
      if (byte >= 0x80) continue;
      const total = at + 1 + length;
      if (total > MAX_LEAF_PACKET_BYTES) throw bad(`a packet of ${total} bytes`);
      return total;
    }
    throw bad('a length of more than four bytes');
  }

  #joined(): Uint8Array {
    if (this.#chunks.length > 1) this.#chunks = [new Uint8Array(Buffer.concat(this.#chunks))];
    return this.#chunks[0]!;
  }
}

export function connack(returnCode: number): Uint8Array {
  return Uint8Array.of(0x20, 2, 0, returnCode);
}

export function puback(id: number): Uint8Array {
  return Uint8Array.of(0x40, 2, id >> 8, id & 0xff);
}

/** CONNACK of MQTT 5: unsupported protocol version. */
export const CONNACK_5 = Uint8Array.of(0x20, 3, 0, 0x84, 0);

/** @param codes - of each filter: the QoS that is granted, 0x80 refused. */
export function suback(id: number, codes: readonly number[]): Uint8Array {
  return Uint8Array.of(0x90, 2 + codes.length, id >> 8, id & 0xff, ...codes);
}

export function unsuback(id: number): Uint8Array {
  return Uint8Array.of(0xb0, 2, id >> 8, id & 0xff);
}

export const PINGRESP = Uint8Array.of(0xd0, 0);

/** @param id - of a PUBLISH with QoS 1; undefined for QoS 0. */
export function publish(topic: string, payload: Uint8Array, id?: number): Uint8Array {
  const name = Buffer.from(topic, 'utf8');
  const idBytes = id === undefined ? [] : [id >> 8, id & 0xff];
  const length = 2 + name.length + idBytes.length + payload.length;
  const head: number[] = [id === undefined ? 0x30 : 0x32];
  for (let left = length; ; ) {
    const byte = left % 128;
    left = Math.floor(left / 128);
    head.push(left > 0 ? byte | 0x80 : byte);
    if (left === 0) break;
  }
  const parts = [
    Uint8Array.from(head),
    Uint8Array.of(name.length >> 8, name.length & 0xff),
    name,
    Uint8Array.from(idBytes),
    payload,
  ];
  return new Uint8Array(Buffer.concat(parts));
}

function readPacket(bytes: Uint8Array): LeafPacket {
  let start = 2;
  while (bytes[start - 1]! >= 0x80) start += 1;
  const body = new Body(bytes.subarray(start));
  const type = bytes[0]! >> 4;
  const flags = bytes[0]! & 0x0f;
  const expected = type === 8 || type === 10 ? 2 : 0;
  if (type !== 3 && flags !== expected) throw bad(`flags ${flags} of packet type ${type}`);
  const packet = read(type, flags, body);
  if (packet.cmd !== 'foreign') body.end();
  return packet;
}

function read(type: number, flags: number, body: Body): LeafPacket {
  switch (type) {
    case 1:
      return readConnect(body);
    case 3: {
      const qos = (flags >> 1) & 3;
      if (qos > 1 || (flags & 1) === 1) throw bad('QoS 2 or a retain flag');
      const topic = body.text();
      const id = qos === 0 ? undefined : body.id();
      return { cmd: 'publish', topic, id, qos: qos as 0 | 1, payload: body.rest() };
    }
    case 4:
      return { cmd: 'puback', id: body.id() };
    case 8: {
      const id = body.id();
      const filters = listOf(body, () => {
        const filter = body.text();
        const qos = body.byte();
        if (qos > 2) throw bad('a QoS above 2');
        return { filter, qos: qos === 0 ? (0 as const) : (1 as const) };
      });
      return { cmd: 'subscribe', id, filters };
    }
    case 10:
      return { cmd: 'unsubscribe', id: body.id(), filters: listOf(body, () => body.text()) };
    case 12:
      return { cmd: 'pingreq' };
    case 14:
      return { cmd: 'disconnect' };
    default:
      throw bad(`packet type ${type}`);
  }
}

function listOf<T>(body: Body, read: () => T): readonly T[] {
  const items: T[] = [];
  while (!body.isAtEnd) {
    items.push(read());
    if (items.length > MAX_FILTERS) throw bad(`more than ${MAX_FILTERS} filters`);
  }
  if (items.length === 0) throw bad('no filter');
  return items;
}

function readConnect(body: Body): LeafPacket {
  const name = body.text();
  if (name !== 'MQTT' && name !== 'MQIsdp') throw bad('another protocol');
  const level = body.byte();
  if (name !== 'MQTT' || level !== 4) return { cmd: 'foreign', level };
  const flags = body.byte();
  if ((flags & 1) === 1) throw bad('a reserved flag');
  // [MQTT-3.1.2-11], [MQTT-3.1.2-14], [MQTT-3.1.2-22]
  const [will, user] = [flags & 0x3c, flags & 0xc0];
  if (((will & 0x04) === 0 && will !== 0) || (will & 0x18) === 0x18 || user === 0x40) {
    throw bad('flags of CONNECT that exclude each other');
  }
  const keepAliveSeconds = body.number();
  const clientId = body.text();
  const hasWill = (flags & 0x04) !== 0;
  if (hasWill) {
    body.text();
    body.binary();
  }
  const username = (flags & 0x80) === 0 ? undefined : body.text();
  const password = (flags & 0x40) === 0 ? undefined : body.binary();
  const clean = (flags & 0x02) !== 0;
  return { cmd: 'connect', clientId, username, password, clean, hasWill, keepAliveSeconds };
}

/** What follows the head of a packet. */
class Body {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#take(1)[0]!;
  }

  number(): number {
    const [high, low] = this.#take(2);
    return high! * 256 + low!;
  }

  id(): number {
    const id = this.number();
    if (id === 0) throw bad('packet id 0');
    return id;
  }

  binary(): Uint8Array {
    return this.#take(this.number());
  }

  text(): string {
    try {
      return utf8.decode(this.binary());
    } catch {
      throw bad('a text that is no UTF-8');
    }
  }

  /** A copy: the packet may lie in a larger buffer. */
  rest(): Uint8Array {
    return this.#take(this.#bytes.length - this.#at).slice();
  }

  end(): void {
    if (!this.isAtEnd) throw bad('bytes behind the end');
  }

  #take(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw bad('a packet that ends too early');
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}

function bad(what: string): AgentError {
  return new AgentError('ERR_AGENT_LEAF', `MQTT: ${what}`);
}
