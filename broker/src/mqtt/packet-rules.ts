/**
 * What a client may send, byte for byte: the normative statements of MQTT 3.1.1 (OASIS) that Aedes leaves
 * unchecked, and those that it does check, so that nothing malformed reaches it.
 *
 * Pure. Rights, limits and sessions are judged elsewhere.
 */

import { isUtf8 } from 'node:buffer';
import { Fields } from './fields.ts';

/** Why the connection must end; `connack` is the return code to say first, where there is one. */
export interface Violation {
  /** The clause, such as MQTT-2.2.2-2. */
  readonly clause: string;
  readonly connack?: 1 | 2 | 3 | 4 | 5;
  /** How much later that is said, ms. */
  readonly delayMs?: number;
}

export const PACKET = {
  connect: 1,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  unsubscribe: 10,
  pingreq: 12,
  disconnect: 14,
} as const;

const HASH = 0x23;
const PLUS = 0x2b;
const SLASH = 0x2f;

/**
 * Checks one whole packet of a client.
 *
 * @param first - first byte of the fixed header.
 * @param body - what follows the Remaining Length.
 * @returns null when it is well-formed.
 */
export function checkPacket(first: number, body: Uint8Array): Violation | null {
  const flags = first & 0x0f;
  switch (first >> 4) {
    case PACKET.connect:
      return flags === 0 ? checkConnect(body) : bad('MQTT-2.2.2-2');
    case PACKET.publish:
      return checkPublish(flags, body);
    case PACKET.puback:
    case PACKET.pubrec:
    case PACKET.pubcomp:
      return flags === 0 ? checkIdOnly(body) : bad('MQTT-2.2.2-2');
    case PACKET.pubrel:
      return flags === 2 ? checkIdOnly(body) : bad('MQTT-3.6.1-1');
    case PACKET.subscribe:
      return flags === 2 ? checkFilters(body, 'subscribe') : bad('MQTT-3.8.1-1');
    case PACKET.unsubscribe:
      return flags === 2 ? checkFilters(body, 'unsubscribe') : bad('MQTT-3.10.1-1');
    case PACKET.pingreq:
      return flags === 0 && body.length === 0 ? null : bad('MQTT-2.2.2-2');
    case PACKET.disconnect:
      return flags === 0 && body.length === 0 ? null : bad('MQTT-3.14.1-1');
    default:
      return bad('2.2.1 packet type');
  }
}

/**
 * What a well-formed packet asks for: its filters, of which 256 kB have room for 65,000; else one.
 *
 * @param first - first byte of the fixed header.
 * @param body - what follows the Remaining Length.
 */
export function countAsked(first: number, body: Uint8Array): number {
  const type = first >> 4;
  if (type !== PACKET.subscribe && type !== PACKET.unsubscribe) return 1;
  const more = type === PACKET.subscribe ? 3 : 2;
  let filters = 0;
  for (let at = 2; at < body.length; filters += 1) at += more + (body[at]! << 8) + body[at + 1]!;
  return filters;
}

/** Whether a topic filter puts its wildcards where section 4.7.1 allows them. */
export function isFilter(filter: Uint8Array): boolean {
  for (let i = 0; i < filter.length; i++) {
    const byte = filter[i];
    if (byte !== HASH && byte !== PLUS) continue;
    // [MQTT-4.7.1-2], [MQTT-4.7.1-3]: a wildcard occupies an entire level; # the last one.
    if (i > 0 && filter[i - 1] !== SLASH) return false;
    const next = filter[i + 1];
    if (next !== undefined && (byte === HASH || next !== SLASH)) return false;
  }
  return filter.length > 0;
}

function checkConnect(body: Uint8Array): Violation | null {
  const fields = new Fields(body);
  const protocol = fields.string();
  const level = fields.byte();
  const flags = fields.byte();
  if (protocol === null || level === null || flags === null) return bad('3.1.2 too short');
  // [MQTT-3.1.2-1], [MQTT-3.1.2-2]; 3.1 calls itself MQIsdp.
  const name = Buffer.from(protocol).toString('latin1');
  if (name !== 'MQTT') return { clause: 'MQTT-3.1.2-1', ...(name === 'MQIsdp' && { connack: 1 }) };
  if (level !== 4) return { clause: 'MQTT-3.1.2-2', connack: 1 };
  if ((flags & 1) !== 0) return bad('MQTT-3.1.2-3');
  const will = (flags & 4) !== 0;
  if (!will && (flags & 0x38) !== 0) return bad('MQTT-3.1.2-11');
  if ((flags & 0x18) === 0x18) return bad('MQTT-3.1.2-14');
  // [MQTT-3.1.2-22]: no password without a user name.
  if ((flags & 0x40) !== 0 && (flags & 0x80) === 0) return bad('MQTT-3.1.2-22');
  if (fields.uint16() === null) return bad('3.1.2.10 keep alive');
  const clientId = fields.string();
  if (!isText(clientId)) return bad('MQTT-3.1.3-4');
  if (will) {
    const topic = fields.string();
    if (!isText(topic) || !isTopicName(topic) || fields.string() === null) {
      return bad('MQTT-3.1.3-10');
    }
  }
  if ((flags & 0x80) !== 0 && !isText(fields.string())) return bad('MQTT-3.1.3-11');
  if ((flags & 0x40) !== 0 && fields.string() === null) return bad('3.1.3.5 password');
  if (!fields.done) return bad('3.1.3 bytes after the payload');
  // [MQTT-3.1.3-8]: an empty client id needs a clean session.
  if (clientId.length === 0 && (flags & 2) === 0) return { clause: 'MQTT-3.1.3-8', connack: 2 };
  return null;
}

function checkPublish(flags: number, body: Uint8Array): Violation | null {
  const qos = (flags >> 1) & 3;
  if (qos === 3) return bad('MQTT-3.3.1-4');
  if (qos === 0 && (flags & 8) !== 0) return bad('MQTT-3.3.1-2');
  const fields = new Fields(body);
  const topic = fields.string();
  if (!isText(topic)) return bad('MQTT-3.3.2-1');
  if (!isTopicName(topic)) return bad('MQTT-3.3.2-2');
  // [MQTT-2.3.1-1]
  if (qos > 0 && !fields.uint16()) return bad('MQTT-2.3.1-1');
  return null;
}

function checkIdOnly(body: Uint8Array): Violation | null {
  return body.length === 2 && (body[0] !== 0 || body[1] !== 0) ? null : bad('MQTT-2.3.1-1');
}

function checkFilters(body: Uint8Array, kind: 'subscribe' | 'unsubscribe'): Violation | null {
  const fields = new Fields(body);
  if (!fields.uint16()) return bad('MQTT-2.3.1-1');
  if (fields.done) return bad(kind === 'subscribe' ? 'MQTT-3.8.3-3' : 'MQTT-3.10.3-2');
  while (!fields.done) {
    const filter = fields.string();
    if (!isText(filter)) return bad('MQTT-3.8.3-1');
    if (!isFilter(filter)) return bad('MQTT-4.7.1-2');
    if (kind === 'unsubscribe') continue;
    const qos = fields.byte();
    if (qos === null || qos > 2) return bad('MQTT-3-8.3-4');
  }
  return null;
}

/** [MQTT-3.3.2-2], [MQTT-4.7.3-1]: at least one character, no wildcards. */
function isTopicName(topic: Uint8Array): boolean {
  return topic.length > 0 && !topic.includes(HASH) && !topic.includes(PLUS);
}

/** [MQTT-1.5.3-1], [MQTT-1.5.3-2]: well-formed UTF-8 without U+0000. */
function isText(bytes: Uint8Array | null): bytes is Uint8Array {
  return bytes !== null && isUtf8(bytes) && !bytes.includes(0);
}

function bad(clause: string): Violation {
  return { clause };
}
