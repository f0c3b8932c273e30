/**
 * CBOR decoder (RFC 8949), strict by default: only core deterministic encodings (section 4.2.1) are taken.
 *
 * Byte strings are views on the input: copy what must outlive it. Maps come back as `Map`, tags as `Tagged`,
 * integers as numbers when safe and as bigints otherwise. Floats come back as numbers, or with `keepFloats` as
 * `Float`, so that `encode(decode(bytes, { keepFloats: true }))` gives the same bytes; inside map keys they are
 * always `Float`, so that 1 and 1.0 stay two keys. Nothing is allocated for a length that is only claimed.
 *
 * With `strict: false` the decoder also takes indefinite lengths, longer forms, unsorted maps and any NaN.
 * Leaves out the validity of tags (section 5.3.2): a tag 0 around an integer is passed on.
 */

import { compareRanges } from './bytes.ts';
import { CborCursor, INDEFINITE } from './cbor-cursor.ts';
import { encode } from './cbor-encode.ts';
import { bignumValue, type CborMap, type CborValue, Float, Simple, Tagged } from './cbor-values.ts';
import { ProtocolError } from './errors.ts';

/** Levels of arrays, maps and tags. Protects the stack. */
const DEFAULT_MAX_DEPTH = 32;
const HIGHEST_MAX_DEPTH = 1024;
/** Items of all levels, map keys and string chunks included. Protects memory: an item may take one byte. */
const DEFAULT_MAX_ITEMS = 1_000_000;

export interface DecodeOptions {
  /** Refuse what is not core deterministic. Default true. */
  readonly strict?: boolean;
  /** Give floats as `Float`. Default false: as numbers. */
  readonly keepFloats?: boolean;
  /** Give tags 2 and 3 as integers (number when safe, else bigint). Default false: as `Tagged`. */
  readonly bignums?: boolean;
  /** Levels of nesting, 0 to 1024. Default 32. */
  readonly maxDepth?: number;
  /** Items in all. Default 1,000,000. */
  readonly maxItems?: number;
}

/**
 * Decodes exactly one item that takes up all of the bytes.
 *
 * @throws {ProtocolError} ERR_CBOR_MALFORMED (also for duplicate map keys, invalid UTF-8 and trailing bytes),
 * ERR_CBOR_NOT_DETERMINISTIC in strict mode, ERR_CBOR_LIMIT; the message names the byte offset.
 */
export function decode(bytes: Uint8Array, options: DecodeOptions = {}): CborValue {
  const cursor = new CborCursor(bytes, { strict: options.strict ?? true });
  const value = new Decoder(cursor, options).item(0);
  if (!cursor.done) {
    const left = bytes.length - cursor.offset;
    throw cursor.malformed(`${left} bytes after the item`, cursor.offset);
  }
  return value;
}

/**
 * Decodes the item at the cursor and leaves the cursor behind it. Strictness is the cursor's.
 *
 * @throws {ProtocolError} as `decode`, trailing bytes excepted.
 */
export function decodeItem(
  cursor: CborCursor,
  options: Omit<DecodeOptions, 'strict'> = {},
): CborValue {
  return new Decoder(cursor, options).item(0);
}

class Decoder {
  private readonly cursor: CborCursor;
  private readonly maxDepth: number;
  private readonly bignums: boolean;
  private keepFloats: boolean;
  private itemsLeft: number;

  constructor(cursor: CborCursor, options: DecodeOptions) {
    this.cursor = cursor;
    this.maxDepth = options.maxDepth ?? DEFAULT_MAX_DEPTH;
    this.itemsLeft = options.maxItems ?? DEFAULT_MAX_ITEMS;
    this.keepFloats = options.keepFloats ?? false;
    this.bignums = options.bignums ?? false;
    if (!(this.maxDepth >= 0 && this.maxDepth <= HIGHEST_MAX_DEPTH)) {
      throw new ProtocolError(
        'ERR_ARGUMENT',
        `maxDepth: expected 0..${HIGHEST_MAX_DEPTH}, got ${this.maxDepth}`,
      );
    }
  }

  item(depth: number): CborValue {
    this.cursor.next();
    return this.rest(depth);
  }

  /** The item whose head was read. */
  private rest(depth: number): CborValue {
    const { cursor } = this;
    if (--this.itemsLeft < 0) throw cursor.fail('ERR_CBOR_LIMIT', 'too many items', cursor.start);
    const { argument } = cursor;
    switch (cursor.major) {
      case 0:
        return argument >= 0 ? argument : cursor.bigArgument();
      case 1:
        return argument >= 0 && argument < Number.MAX_SAFE_INTEGER
          ? -1 - argument
          : -1n - cursor.bigArgument();
      case 2:
        return cursor.info === INDEFINITE ? this.byteChunks() : cursor.byteString();
      case 3:
        return cursor.info === INDEFINITE ? this.textChunks() : cursor.text();
      case 4:
        return this.array(depth);
      case 5:
        return this.map(depth);
      case 6:
        return this.tagged(depth);
      default:
        return this.simple();
    }
  }

  private array(depth: number): CborValue[] {
    const { cursor } = this;
    this.enter(depth);
    const items: CborValue[] = [];
    if (cursor.info === INDEFINITE) {
      while (this.nextUnlessBreak()) items.push(this.rest(depth + 1));
      return items;
    }
    const count = this.claim(1);
    for (let i = 0; i < count; i++) items.push(this.item(depth + 1));
    return items;
  }

  private map(depth: number): CborMap {
    const { cursor } = this;
    this.enter(depth);
    if (!cursor.strict) return this.lenientMap(depth);
    const count = this.claim(2);
    const map: CborMap = new Map();
    let before = 0;
    let beforeEnd = 0;
    for (let i = 0; i < count; i++) {
      const start = cursor.offset;
      const key = this.key(depth);
      const end = cursor.offset;
      if (i > 0) {
        const order = compareRanges(cursor.bytes, before, beforeEnd, start, end);
        if (order === 0) throw cursor.malformed('duplicate map key', start);
        if (order > 0) {
          throw cursor.fail('ERR_CBOR_NOT_DETERMINISTIC', 'map keys not sorted', start);
        }
      }
      before = start;
      beforeEnd = end;
      map.set(key, this.item(depth + 1));
    }
    return map;
  }

  /** Keys in any order and form: they are equal if their deterministic encodings are. */
  private lenientMap(depth: number): CborMap {
    const { cursor } = this;
    const map: CborMap = new Map();
    const count = cursor.info === INDEFINITE ? Number.POSITIVE_INFINITY : this.claim(2);
    const scalars = new Set<CborValue>();
    const encodings = new Set<string>();
    for (let i = 0; i < count; i++) {
      const start = cursor.offset;
      if (!this.nextUnlessBreak(count)) break;
      const key = this.key(depth, true);
      const scalar = isBignum(key) ? narrow(bignumValue(key.tag, key.value)) : key;
      const isScalar = typeof scalar !== 'object' || scalar === null;
      const seen: Set<unknown> = isScalar ? scalars : encodings;
      const identity = isScalar ? scalar : String(encode(scalar));
      if (seen.has(identity)) throw cursor.malformed('duplicate map key', start);
      seen.add(identity);
      map.set(key, this.item(depth + 1));
    }
    return map;
  }

  private key(depth: number, headRead = false): CborValue {
    const { keepFloats } = this;
    this.keepFloats = true;
    const key = headRead ? this.rest(depth + 1) : this.item(depth + 1);
    this.keepFloats = keepFloats;
    return key;
  }

  private tagged(depth: number): CborValue {
    const { cursor } = this;
    const { start } = cursor;
    this.enter(depth);
    const tag = cursor.argument >= 0 ? cursor.argument : cursor.bigArgument();
    const item = new Tagged(tag, this.item(depth + 1));
    if (!isBignum(item)) return item;
    // Section 3.4.3: preferred serialization has no leading zeros and prefers major types 0 and 1.
    if (cursor.strict && (item.value.length <= 8 || item.value[0] === 0)) {
      throw cursor.fail('ERR_CBOR_NOT_DETERMINISTIC', 'bignum not in its shortest form', start);
    }
    return this.bignums ? narrow(bignumValue(item.tag, item.value)) : item;
  }

  private simple(): CborValue {
    const { cursor } = this;
    switch (cursor.info) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
        return null;
      case 23:
        return undefined;
      case 25:
      case 26:
      case 27: {
        const value = cursor.float();
        return this.keepFloats ? new Float(value) : value;
      }
      case INDEFINITE:
        throw cursor.malformed('break outside an indefinite length', cursor.start);
      default:
        return new Simple(cursor.argument);
    }
  }

  private byteChunks(): Uint8Array {
    const chunks: Uint8Array[] = [];
    let length = 0;
    while (this.nextChunk(2)) {
      const chunk = this.cursor.byteString();
      chunks.push(chunk);
      length += chunk.length;
    }
    // Not concatBytes(...chunks): a hostile message has more chunks than a call takes arguments.
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }

  private textChunks(): string {
    // Section 3.2.3: each chunk is valid UTF-8 by itself.
    let text = '';
    while (this.nextChunk(3)) text += this.cursor.text();
    return text;
  }

  private nextChunk(major: number): boolean {
    if (!this.nextUnlessBreak()) return false;
    const { cursor } = this;
    if (cursor.major !== major || cursor.info === INDEFINITE) {
      throw cursor.malformed('chunk of another kind in an indefinite string', cursor.start);
    }
    if (--this.itemsLeft < 0) throw cursor.fail('ERR_CBOR_LIMIT', 'too many items', cursor.start);
    return true;
  }

  /** Reads a head; false if it is the break of an indefinite length. */
  private nextUnlessBreak(count = Number.POSITIVE_INFINITY): boolean {
    const { cursor } = this;
    cursor.next();
    return !(
      cursor.major === 7 &&
      cursor.info === INDEFINITE &&
      count === Number.POSITIVE_INFINITY
    );
  }

  private enter(depth: number): void {
    if (depth < this.maxDepth) return;
    const { cursor } = this;
    throw cursor.fail('ERR_CBOR_LIMIT', `nested deeper than ${this.maxDepth}`, cursor.start);
  }

  /** The count that a head claims, if so many entries of `size` items can follow at all. */
  private claim(size: number): number {
    const { cursor } = this;
    const { argument } = cursor;
    const left = cursor.bytes.length - cursor.offset;
    if (argument < 0 || argument * size > left) {
      const what = `${cursor.bigArgument()} ${size === 2 ? 'pairs' : 'items'}, ${left} bytes left`;
      throw cursor.malformed(what, cursor.start);
    }
    if (argument * size > this.itemsLeft) {
      throw cursor.fail('ERR_CBOR_LIMIT', 'too many items', cursor.start);
    }
    return argument;
  }
}

function isBignum(value: CborValue): value is Tagged & { tag: 2 | 3; value: Uint8Array } {
  if (!(value instanceof Tagged) || !(value.value instanceof Uint8Array)) return false;
  return value.tag === 2 || value.tag === 3;
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
