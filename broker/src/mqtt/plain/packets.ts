/**
 * The packets of MQTT 3.1.1 between a server and its clients, CONNECT aside: those of a client decoded, those of the
 * server encoded. What is decoded has passed the guard (`packet-rules.ts`), so it is well-formed.
 */

import { Fields } from '../fields.ts';
import { PACKET } from '../packet-rules.ts';

export type Qos = 0 | 1 | 2;

/** What is published, as every receiver sees it. */
export interface Message {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
}

export type ClientPacket =
  | { readonly type: 'publish'; readonly message: Message; readonly id: number }
  | { readonly type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp'; readonly id: number }
  | {
      readonly type: 'subscribe';
      readonly id: number;
      readonly filters: readonly { readonly filter: string; readonly qos: Qos }[];
    }
  | { readonly type: 'unsubscribe'; readonly id: number; readonly filters: readonly string[] }
  | { readonly type: 'connect' | 'pingreq' | 'disconnect' };

export const PINGRESP = Buffer.of(0xd0, 0);

/** The packets in bytes that the guard has handed on: whole ones only. */
export function* decodePackets(bytes: Buffer): Generator<ClientPacket> {
  let at = 0;
  while (at < bytes.length) {
    const first = bytes[at]!;
    let length = 0;
    let shift = 1;
    let byte: number;
    do {
      at += 1;
      byte = bytes[at]!;
      length += (byte & 0x7f) * shift;
      shift *= 128;
    } while (byte >= 0x80);
    at += 1;
    yield decodePacket(first, bytes.subarray(at, at + length));
    at += length;
  }
}

function decodePacket(first: number, body: Buffer): ClientPacket {
  const fields = new Fields(body);
  switch (first >> 4) {
    case PACKET.publish: {
      const qos = ((first >> 1) & 3) as Qos;
      const topic = text(fields);
      const id = qos === 0 ? 0 : fields.uint16()!;
      const payload = ownCopy(fields.rest());
      return { type: 'publish', id, message: { topic, payload, qos, retain: (first & 1) === 1 } };
    }
    case PACKET.puback:
      return { type: 'puback', id: fields.uint16()! };
    case PACKET.pubrec:
      return { type: 'pubrec', id: fields.uint16()! };
    case PACKET.pubrel:
      return { type: 'pubrel', id: fields.uint16()! };
    case PACKET.pubcomp:
      return { type: 'pubcomp', id: fields.uint16()! };
    case PACKET.subscribe: {
      const id = fields.uint16()!;
      const filters: { filter: string; qos: Qos }[] = [];
      while (!fields.done) filters.push({ filter: text(fields), qos: fields.byte() as Qos });
      return { type: 'subscribe', id, filters };
    }
    case PACKET.unsubscribe: {
      const id = fields.uint16()!;
      const filters: string[] = [];
      while (!fields.done) filters.push(text(fields));
      return { type: 'unsubscribe', id, filters };
    }
    case PACKET.connect:
      return { type: 'connect' };
    case PACKET.pingreq:
      return { type: 'pingreq' };
    default:
      return { type: 'disconnect' };
  }
}

/** @param code - 0 lets in; [MQTT-3.2.2-4]: no session is present when it does not. */
export function encodeConnack(code: 0 | 2 | 3 | 5, sessionPresent: boolean): Buffer {
  return Buffer.of(0x20, 2, sessionPresent && code === 0 ? 1 : 0, code);
}

const ACK_FIRST = { puback: 0x40, pubrec: 0x50, pubrel: 0x62, pubcomp: 0x70, unsuback: 0xb0 };

export function encodeAck(type: keyof typeof ACK_FIRST, id: number): Buffer {
  return Buffer.of(ACK_FIRST[type], 2, id >> 8, id & 0xff);
}

/** @param codes - one for each filter, in their order: the granted QoS or 0x80. [MQTT-3.8.4-5] */
export function encodeSuback(id: number, codes: readonly number[]): Buffer {
  return encode(0x90, [Buffer.of(id >> 8, id & 0xff), Buffer.from(codes)]);
}

/** @param delivery.id - for QoS 1 and 2. */
export function encodePublish(
  message: Message,
  delivery: {
    readonly qos: Qos;
    readonly retain: boolean;
    readonly dup: boolean;
    readonly id: number;
  },
): Buffer {
  const { qos, retain, dup, id } = delivery;
  const topic = Buffer.from(message.topic, 'utf8');
  const head = [Buffer.of(topic.length >> 8, topic.length & 0xff), topic];
  if (qos > 0) head.push(Buffer.of(id >> 8, id & 0xff));
  const first = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  return encode(first, [...head, message.payload]);
}

function encode(first: number, parts: readonly Buffer[]): Buffer {
  const header = [first];
  let length = parts.reduce((sum, part) => sum + part.length, 0);
  do {
    const byte = length % 128;
    length = Math.floor(length / 128);
    header.push(length > 0 ? byte | 0x80 : byte);
  } while (length > 0);
  return Buffer.concat([Buffer.from(header), ...parts]);
}

/**
 * The bytes belong to the socket, and the message may be kept: with memory of its own, since a piece of Node's pool would
 * keep 8 kB for each.
 */
function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

function text(fields: Fields): string {
  return Buffer.from(fields.string()!).toString('utf8');
}
