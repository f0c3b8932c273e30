/**
 * The `batch` entry of the evidence log (evidence-log.md section 1), written and read without building CBOR
 * values: one is made for every message that the broker accepts, and all are read when it starts.
 */

import { CborCursor } from './cbor.ts';
import { MAX_ENVELOPE_BYTES, MAX_RELAY_BYTES } from './envelope.ts';
import { ProtocolError } from './errors.ts';
import { isUpKind, UP_KINDS, type UpKind, upKindFromNumber } from './topics.ts';

const TYPE = 1;
const ITEMS = 10;
const KEY_BYTES = 32;
const SEED_BYTES = 4;
const DIGEST_BYTES = 32;
const MAX_BOOT_COUNTER = 0xffff_ffff;
/** array, type, device, counter, seed, seq, kind, gateway, at, size, digest at their longest. */
const MAX_BYTES = 1 + 1 + 34 + 5 + 5 + 9 + 1 + 34 + 9 + 3 + 34;

/** An accepted envelope. */
export interface BatchEntry {
  readonly type: 'batch';
  /** The key in the device id, 32 bytes. */
  readonly device: Uint8Array;
  readonly bootCounter: number;
  /** 4 bytes. */
  readonly bootSeed: Uint8Array;
  readonly seq: number;
  readonly kind: UpKind;
  /** The key of the gateway that carried it, 32 bytes, or null. */
  readonly gateway: Uint8Array | null;
  /** When the broker received it, Unix ms. */
  readonly at: number;
  /** Bytes of the envelope. */
  readonly size: number;
  /** SHA-256 of the envelope, 32 bytes. */
  readonly digest: Uint8Array;
}

const scratch = new Uint8Array(MAX_BYTES);

/**
 * The deterministic CBOR of a batch entry.
 *
 * @throws {ProtocolError} ERR_ENTRY_MALFORMED naming the field that is out of range.
 */
export function encodeBatchEntry(entry: BatchEntry): Uint8Array {
  if (!isUpKind(entry.kind)) throw malformed('kind', 'an up kind', entry.kind);
  let at = 0;
  scratch[at++] = 0x80 | ITEMS;
  scratch[at++] = TYPE;
  at = putBytes(at, 'device', entry.device, KEY_BYTES);
  at = putUint(at, 'bootCounter', entry.bootCounter, MAX_BOOT_COUNTER);
  at = putBytes(at, 'bootSeed', entry.bootSeed, SEED_BYTES);
  at = putUint(at, 'seq', entry.seq, Number.MAX_SAFE_INTEGER);
  scratch[at++] = UP_KINDS[entry.kind];
  if (entry.gateway === null) scratch[at++] = 0xf6;
  else at = putBytes(at, 'gateway', entry.gateway, KEY_BYTES);
  at = putUint(at, 'at', entry.at, Number.MAX_SAFE_INTEGER);
  at = putUint(at, 'size', entry.size, maxSize(entry.kind));
  at = putBytes(at, 'digest', entry.digest, DIGEST_BYTES);
  return scratch.slice(0, at);
}

/** Whether the bytes begin as a batch entry does; {@link decodeBatchEntry} may still refuse them. */
export function isBatchEntry(bytes: Uint8Array): boolean {
  return bytes[0] === (0x80 | ITEMS) && bytes[1] === TYPE;
}

/**
 * Reads a batch entry. Its byte strings are views of the bytes.
 *
 * @throws {ProtocolError} ERR_ENTRY_MALFORMED.
 */
export function decodeBatchEntry(bytes: Uint8Array): BatchEntry {
  const cursor = new CborCursor(bytes);
  try {
    const items = take(cursor, 'entry', 4, 'an array of 10 items');
    if (items !== ITEMS) throw malformed('entry', `${ITEMS} items`, items);
    const type = takeUint(cursor, 'type', TYPE);
    if (type !== TYPE) throw malformed('type', '1 (batch)', type);
    const device = takeBytes(cursor, 'device', KEY_BYTES);
    const bootCounter = takeUint(cursor, 'bootCounter', MAX_BOOT_COUNTER);
    const bootSeed = takeBytes(cursor, 'bootSeed', SEED_BYTES);
    const seq = takeUint(cursor, 'seq', Number.MAX_SAFE_INTEGER);
    const number = takeUint(cursor, 'kind', Number.MAX_SAFE_INTEGER);
    const kind = upKindFromNumber(number);
    if (kind === undefined) throw malformed('kind', 'the number of an up kind', number);
    const gateway = takeGateway(cursor);
    const at = takeUint(cursor, 'at', Number.MAX_SAFE_INTEGER);
    const size = takeUint(cursor, 'size', maxSize(kind));
    if (size === 0) throw malformed('size', 'at least 1', size);
    const digest = takeBytes(cursor, 'digest', DIGEST_BYTES);
    if (!cursor.done) throw malformed('entry', `${cursor.offset} bytes`, bytes.length);
    return {
      type: 'batch',
      device,
      bootCounter,
      bootSeed,
      seq,
      kind,
      gateway,
      at,
      size,
      digest,
    };
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'ERR_ENTRY_MALFORMED') throw error;
    throw new ProtocolError('ERR_ENTRY_MALFORMED', 'batch entry: expected deterministic CBOR', {
      cause: error,
    });
  }
}

/** Envelopes are at most so long (envelope.md section 1.1). */
function maxSize(kind: UpKind): number {
  return kind === 'relay' ? MAX_RELAY_BYTES : MAX_ENVELOPE_BYTES;
}

function takeGateway(cursor: CborCursor): Uint8Array | null {
  if (cursor.bytes[cursor.offset] !== 0xf6) return takeBytes(cursor, 'gateway', KEY_BYTES);
  cursor.next();
  return null;
}

/** Reads a head of that major type and gives its argument. */
function take(cursor: CborCursor, name: string, major: number, expected: string): number {
  cursor.next();
  if (cursor.major !== major) throw malformed(name, expected, `major type ${cursor.major}`);
  return cursor.argument;
}

function takeUint(cursor: CborCursor, name: string, max: number): number {
  const value = take(cursor, name, 0, `an integer from 0 to ${max}`);
  // The argument is -1 above 2^53 - 1.
  if (value < 0 || value > max) throw malformed(name, `0 to ${max}`, cursor.bigArgument());
  return value;
}

function takeBytes(cursor: CborCursor, name: string, length: number): Uint8Array {
  if (take(cursor, name, 2, `${length} bytes`) !== length) {
    throw malformed(name, `${length} bytes`, cursor.bigArgument());
  }
  return cursor.byteString();
}

function putBytes(offset: number, name: string, value: Uint8Array, length: number): number {
  if (!(value instanceof Uint8Array) || value.length !== length) {
    throw malformed(name, `${length} bytes`, (value as Uint8Array | undefined)?.length);
  }
  let at = offset;
  if (length < 24) {
    scratch[at++] = 0x40 | length;
  } else {
    scratch[at++] = 0x58;
    scratch[at++] = length;
  }
  scratch.set(value, at);
  return at + length;
}

function putUint(offset: number, name: string, value: number, max: number): number {
  const min = name === 'size' ? 1 : 0;
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw malformed(name, `an integer from ${min} to ${max}`, value);
  }
  let at = offset;
  if (value < 24) {
    scratch[at++] = value;
  } else if (value < 0x100) {
    scratch[at++] = 0x18;
    scratch[at++] = value;
  } else if (value < 0x10000) {
    scratch[at++] = 0x19;
    scratch[at++] = value >>> 8;
    scratch[at++] = value;
  } else if (value < 2 ** 32) {
    scratch[at++] = 0x1a;
    at = putWord(at, value);
  } else {
    scratch[at++] = 0x1b;
    at = putWord(at, Math.floor(value / 2 ** 32));
    at = putWord(at, value % 2 ** 32);
  }
  return at;
}

function putWord(at: number, value: number): number {
  scratch[at] = value >>> 24;
  scratch[at + 1] = value >>> 16;
  scratch[at + 2] = value >>> 8;
  scratch[at + 3] = value;
  return at + 4;
}

function malformed(name: string, expected: string, got: unknown): ProtocolError {
  return new ProtocolError(
    'ERR_ENTRY_MALFORMED',
    `batch entry, ${name}: expected ${expected}, got ${String(got)}`,
  );
}
