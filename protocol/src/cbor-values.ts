/**
 * The CBOR data model in JavaScript values (RFC 8949 section 2), shared by the encoder, the decoder and the
 * diagnostic notation.
 *
 * Integers are numbers when safe and bigints otherwise. A JavaScript number cannot say whether it was an integer
 * or a float, so `Float` does: it forces a float on encoding and is what `keepFloats` decodes to.
 */

import { ProtocolError } from './errors.ts';

/** What `encode` takes and `decode` gives. Decoded maps are always `Map`, decoded byte strings `Uint8Array`. */
export type CborValue =
  | number
  | bigint
  | string
  | boolean
  | null
  | undefined
  | Uint8Array
  | Float
  | Simple
  | Tagged
  | readonly CborValue[]
  | ReadonlyMap<CborValue, CborValue>
  | { readonly [key: string]: CborValue };

/** A decoded map. */
export type CborMap = Map<CborValue, CborValue>;

/** A number that is a float in CBOR even where its value is an integer: `new Float(1)` is f93c00, not 01. */
export class Float {
  readonly value: number;

  constructor(value: number) {
    if (typeof value !== 'number') {
      throw new ProtocolError('ERR_ARGUMENT', `Float: expected a number, got ${typeof value}`);
    }
    this.value = value;
  }
}

/** A tagged item (RFC 8949 section 3.4). The tag number is a bigint above 2^53 - 1. */
export class Tagged {
  readonly tag: number | bigint;
  readonly value: CborValue;

  constructor(tag: number | bigint, value: CborValue) {
    const ok =
      typeof tag === 'bigint'
        ? tag >= 0n && tag < 1n << 64n
        : Number.isSafeInteger(tag) && tag >= 0;
    if (!ok) {
      throw new ProtocolError('ERR_ARGUMENT', `tag: expected an integer in 0..2^64-1, got ${tag}`);
    }
    this.tag = tag;
    this.value = value;
  }
}

/** A simple value without a JavaScript counterpart: 0..19 or 32..255 (RFC 8949 section 3.3). */
export class Simple {
  readonly value: number;

  constructor(value: number) {
    if (!Number.isInteger(value) || value < 0 || value > 255 || (value > 19 && value < 32)) {
      throw new ProtocolError('ERR_ARGUMENT', `simple: expected 0..19 or 32..255, got ${value}`);
    }
    this.value = value;
  }
}

/** The integer of a bignum's content: tag 2 gives n, tag 3 gives -1 - n (RFC 8949 section 3.4.3). */
export function bignumValue(tag: 2 | 3, content: Uint8Array): bigint {
  let n = 0n;
  if (content.length > 0) {
    let hex = '0x';
    for (const byte of content) hex += byte.toString(16).padStart(2, '0');
    n = BigInt(hex);
  }
  return tag === 2 ? n : -1n - n;
}
