/** Payloads of the kinds that devices send with content type 60. docs/spec/messages.md. */

import { type CborValue, decode, encode } from './cbor.ts';
import { BOOT_SEED_BYTES } from './envelope.ts';
import { ProtocolError } from './errors.ts';
import {
  anything,
  array,
  bytes,
  type Decoded,
  type Decoder,
  dictionary,
  finite,
  nullable,
  optional,
  record,
  text,
  tuple,
  uint,
} from './fields.ts';

/** Most gaps in one message, and most rejects that one birth acknowledges. */
export const MAX_GAPS = 256;
export const MAX_REJECTS_SEEN = 1024;
/** Limits of payloads of content type 60, as of the others (envelope.md 1.3). */
export const PAYLOAD_LIMITS = { maxDepth: 16, maxItems: 40_000 } as const;

const bootCounter = uint(0xffff_ffff);
const bootSeed = bytes(BOOT_SEED_BYTES);
const hash = bytes(32);

export const SOURCES = ['sensor', 'replay', 'simulated'] as const;
export type Source = (typeof SOURCES)[number];

const source: Decoder<Source> = (value, path) => {
  const name = text(16)(value, path) as Source;
  if (!SOURCES.includes(name)) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', `${path}: expected ${SOURCES.join(', ')}`);
  }
  return name;
};

const metricSpec = record({
  metric: text(64),
  unit: text(32),
  resolution: optional(finite),
  intervalMs: optional(uint()),
});

const birth = record({
  nonce: nullable(hash),
  agent: text(128),
  source,
  profiles: dictionary(array(metricSpec, 256), 64),
  capabilities: dictionary(anything, 64),
  rejectsSeen: array(tuple(bootCounter, bootSeed, uint()), MAX_REJECTS_SEEN),
  head: nullable(tuple(uint(), hash)),
  wall: optional(tuple(uint(), uint())),
});

const event = record({
  event: text(64, /^[a-z][a-z0-9-]*$/),
  detail: optional(dictionary(anything, 64)),
});

const gap = record({
  gaps: array(tuple(bootCounter, bootSeed, uint(), uint(), text(64)), MAX_GAPS),
});

/** Section 1. */
export type Birth = Decoded<typeof birth>;
/** Section 2. */
export type DeviceEvent = Decoded<typeof event>;
/** Section 3; each gap is [bootCounter, bootSeed, fromSeq, toSeq, reason], both ends included. */
export type Gap = Decoded<typeof gap>;
export type MetricSpec = Decoded<typeof metricSpec>;

/** @throws {ProtocolError} ERR_CBOR_… or ERR_MESSAGE_MALFORMED, as all decoders here. */
export function decodeBirth(payload: Uint8Array): Birth {
  return birth(decode(payload, PAYLOAD_LIMITS), '');
}

export function encodeBirth(message: Birth): Uint8Array {
  return encodeMessage(message);
}

export function decodeEvent(payload: Uint8Array): DeviceEvent {
  return event(decode(payload, PAYLOAD_LIMITS), '');
}

export function encodeEvent(message: DeviceEvent): Uint8Array {
  return encodeMessage(message);
}

export function decodeGap(payload: Uint8Array): Gap {
  const message = gap(decode(payload, PAYLOAD_LIMITS), '');
  if (message.gaps.length === 0) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'gaps: expected at least one');
  }
  for (const [, , from, to] of message.gaps) {
    if (from > to) {
      throw new ProtocolError(
        'ERR_MESSAGE_MALFORMED',
        `gaps: expected from ≤ to, got ${from}..${to}`,
      );
    }
  }
  return message;
}

export function encodeGap(message: Gap): Uint8Array {
  return encodeMessage(message);
}

/** Messages are plain objects whose shape their type states; undefined keys are left out. */
export function encodeMessage(message: object): Uint8Array {
  return encode(message as CborValue);
}
