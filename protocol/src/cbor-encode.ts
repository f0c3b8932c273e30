/**
 * CBOR encoder (RFC 8949), always core deterministic (section 4.2.1): shortest integers, lengths and exact floats,
 * definite lengths, map keys sorted bytewise by their encoding, NaN as f97e00, -0 as f98000.
 *
 * Numbers that are safe integers become CBOR integers, all others floats; a bigint becomes an integer, or a bignum
 * (tags 2 and 3) where 64 bits do not suffice. `Tagged(2 | 3, bytes)` is rewritten to the preferred form of the same
 * integer. Properties of plain objects whose value is undefined are skipped, as JSON does; an undefined in an
 * array or a Map is f7. Leaves out indefinite lengths, NaN payloads and every class but those in `cbor-values.ts`.
 */

import { numberToHalf } from './cbor-float.ts';
import { bignumValue, type CborValue, Float, Simple, Tagged } from './cbor-values.ts';
import { ProtocolError } from './errors.ts';

/** Nesting that the encoder follows. Protects the stack from cyclic values. */
const MAX_DEPTH = 1024;
/** A larger work buffer is dropped after use, so that one big message does not stay in memory. */
const KEPT_BUFFER_BYTES = 1 << 16;
/** Up to this length a loop beats the call into TextEncoder. */
const SHORT_TEXT = 64;

const textEncoder = new TextEncoder();
const LONE_SURROGATE = /\p{Surrogate}/u;
const MAX_UINT64 = (1n << 64n) - 1n;
const MIN_INT64 = -(1n << 64n);

let spare: Writer | undefined;

/**
 * The deterministic encoding of a value.
 *
 * @returns a new array that the caller owns.
 * @throws {ProtocolError} ERR_ARGUMENT for duplicate map keys, functions, symbols, lone surrogates, integers beyond
 * 2^53 given as numbers (use a bigint or Float), objects of other classes, and cycles.
 */
export function encode(value: CborValue): Uint8Array {
  // A getter may call encode again, so the spare writer is taken, not shared.
  const writer = spare ?? new Writer();
  spare = undefined;
  writer.length = 0;
  try {
    writer.item(value, 0);
    return writer.buffer.slice(0, writer.length);
  } finally {
    if (writer.buffer.length <= KEPT_BUFFER_BYTES) spare = writer;
  }
}

class Writer {
  buffer = new Uint8Array(1024);
  length = 0;

  item(value: CborValue, depth: number): void {
    switch (typeof value) {
      case 'number':
        if (Number.isInteger(value) && !Object.is(value, -0)) this.integer(value);
        else this.float(value);
        return;
      case 'string':
        this.text(value);
        return;
      case 'boolean':
        this.byte(value ? 0xf5 : 0xf4);
        return;
      case 'undefined':
        this.byte(0xf7);
        return;
      case 'bigint':
        this.bigint(value);
        return;
      case 'object':
        if (value === null) this.byte(0xf6);
        else this.object(value, depth);
        return;
      default:
        throw new ProtocolError('ERR_ARGUMENT', `cbor: cannot encode a ${typeof value}`);
    }
  }

  private object(value: object, depth: number): void {
    if (value instanceof Uint8Array) {
      this.head(2, value.length);
      this.reserve(value.length);
      this.buffer.set(value, this.length);
      this.length += value.length;
      return;
    }
    if (value instanceof Float) {
      this.float(value.value);
      return;
    }
    if (value instanceof Simple) {
      if (value.value > 23) this.byte(0xf8);
      this.byte(value.value > 23 ? value.value : 0xe0 | value.value);
      return;
    }
    if (depth >= MAX_DEPTH) {
      throw new ProtocolError('ERR_ARGUMENT', `cbor: nested deeper than ${MAX_DEPTH}, or a cycle`);
    }
    if (Array.isArray(value)) {
      this.head(4, value.length);
      for (let i = 0; i < value.length; i++) this.item(value[i], depth + 1);
    } else if (value instanceof Map) {
      this.map(value, depth);
    } else if (value instanceof Tagged) {
      this.tagged(value, depth);
    } else {
      const prototype = Object.getPrototypeOf(value);
      // Plain objects of any realm; class instances have a longer chain.
      if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
        const name = (value as { constructor?: { name?: unknown } }).constructor?.name;
        throw new ProtocolError('ERR_ARGUMENT', `cbor: cannot encode an object of class ${name}`);
      }
      this.record(value as Record<string, CborValue>, depth);
    }
  }

  private tagged({ tag, value }: Tagged, depth: number): void {
    if ((tag === 2 || tag === 3 || tag === 2n || tag === 3n) && value instanceof Uint8Array) {
      this.bigint(bignumValue(Number(tag) as 2 | 3, value));
      return;
    }
    if (typeof tag === 'bigint') this.bigHead(6, tag);
    else this.head(6, tag);
    this.item(value, depth + 1);
  }

  private map(map: ReadonlyMap<CborValue, CborValue>, depth: number): void {
    this.head(5, map.size);
    const entries = new Entries(this);
    for (const [key, value] of map) {
      this.item(key, depth + 1);
      entries.keyWritten();
      this.item(value, depth + 1);
      entries.valueWritten();
    }
    entries.sort();
  }

  private record(record: Record<string, CborValue>, depth: number): void {
    const keys = Object.keys(record);
    const values = new Array<CborValue>(keys.length);
    let count = 0;
    for (let i = 0; i < keys.length; i++) {
      // Read once: a getter may answer differently the second time.
      values[i] = record[keys[i]!];
      if (values[i] !== undefined) count++;
    }
    this.head(5, count);
    const entries = new Entries(this);
    for (let i = 0; i < keys.length; i++) {
      if (values[i] === undefined) continue;
      this.text(keys[i]!);
      entries.keyWritten();
      this.item(values[i], depth + 1);
      entries.valueWritten();
    }
    entries.sort();
  }

  private integer(value: number): void {
    if (!Number.isSafeInteger(value)) {
      throw new ProtocolError(
        'ERR_ARGUMENT',
        `cbor: expected a safe integer, got ${value}; use a bigint, or Float for a float`,
      );
    }
    if (value >= 0) this.head(0, value);
    else this.head(1, -1 - value);
  }

  private bigint(value: bigint): void {
    if (value >= 0n && value <= MAX_UINT64) this.bigHead(0, value);
    else if (value < 0n && value >= MIN_INT64) this.bigHead(1, -1n - value);
    else {
      this.byte(value > 0n ? 0xc2 : 0xc3);
      let hex = (value > 0n ? value : -1n - value).toString(16);
      if (hex.length % 2) hex = `0${hex}`;
      this.head(2, hex.length / 2);
      this.reserve(hex.length / 2);
      for (let i = 0; i < hex.length; i += 2) {
        this.buffer[this.length++] = Number.parseInt(hex.slice(i, i + 2), 16);
      }
    }
  }

  private float(value: number): void {
    const half = numberToHalf(value);
    this.reserve(9);
    if (half >= 0) {
      this.buffer[this.length++] = 0xf9;
      this.buffer[this.length++] = half >> 8;
      this.buffer[this.length++] = half & 0xff;
      return;
    }
    const view = new DataView(this.buffer.buffer, this.length, 9);
    if (Math.fround(value) === value) {
      view.setUint8(0, 0xfa);
      view.setFloat32(1, value);
      this.length += 5;
    } else {
      view.setUint8(0, 0xfb);
      view.setFloat64(1, value);
      this.length += 9;
    }
  }

  private text(text: string): void {
    if (text.length > SHORT_TEXT) {
      this.longText(text);
      return;
    }
    this.reserve(3 * text.length + 9);
    const { buffer } = this;
    // The head of an all-ASCII text; corrected below if the text turns out longer.
    const start = this.length;
    const guess = text.length < 24 ? 1 : 2;
    let at = start + guess;
    for (let i = 0; i < text.length; i++) {
      let code = text.charCodeAt(i);
      if (code < 0x80) {
        buffer[at++] = code;
        continue;
      }
      if (code < 0x800) {
        buffer[at++] = 0xc0 | (code >> 6);
      } else {
        if ((code & 0xf800) === 0xd800) {
          const low = text.charCodeAt(++i);
          if (code > 0xdbff || (low & 0xfc00) !== 0xdc00) throw loneSurrogate();
          code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
          buffer[at++] = 0xf0 | (code >> 18);
          buffer[at++] = 0x80 | ((code >> 12) & 0x3f);
        } else {
          buffer[at++] = 0xe0 | (code >> 12);
        }
        buffer[at++] = 0x80 | ((code >> 6) & 0x3f);
      }
      buffer[at++] = 0x80 | (code & 0x3f);
    }
    const size = at - start - guess;
    const headSize = size < 24 ? 1 : 2;
    if (headSize !== guess) buffer.copyWithin(start + headSize, start + guess, at);
    this.head(3, size);
    this.length = start + headSize + size;
  }

  private longText(text: string): void {
    if (LONE_SURROGATE.test(text)) throw loneSurrogate();
    const bytes = textEncoder.encode(text);
    this.head(3, bytes.length);
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  private head(major: number, argument: number): void {
    this.reserve(9);
    const { buffer } = this;
    const top = major << 5;
    if (argument < 24) {
      buffer[this.length++] = top | argument;
    } else if (argument < 0x100) {
      buffer[this.length++] = top | 24;
      buffer[this.length++] = argument;
    } else if (argument < 0x10000) {
      buffer[this.length++] = top | 25;
      buffer[this.length++] = argument >> 8;
      buffer[this.length++] = argument & 0xff;
    } else if (argument < 0x100000000) {
      buffer[this.length++] = top | 26;
      this.word(argument);
    } else {
      buffer[this.length++] = top | 27;
      this.word(Math.floor(argument / 0x100000000));
      this.word(argument % 0x100000000);
    }
  }

  private bigHead(major: number, argument: bigint): void {
    if (argument <= 0xffffffffn) {
      this.head(major, Number(argument));
      return;
    }
    this.reserve(9);
    this.buffer[this.length++] = (major << 5) | 27;
    this.word(Number(argument >> 32n));
    this.word(Number(argument & 0xffffffffn));
  }

  private word(value: number): void {
    const { buffer } = this;
    buffer[this.length++] = value >>> 24;
    buffer[this.length++] = (value >>> 16) & 0xff;
    buffer[this.length++] = (value >>> 8) & 0xff;
    buffer[this.length++] = value & 0xff;
  }

  private byte(value: number): void {
    this.reserve(1);
    this.buffer[this.length++] = value;
  }

  private reserve(count: number): void {
    if (this.length + count <= this.buffer.length) return;
    const larger = new Uint8Array(Math.max(2 * this.buffer.length, this.length + count));
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
  }
}

/**
 * The entries of one map, written in the order given. `sort` brings them into bytewise order of their keys and
 * refuses duplicates; entries that came in order cost one comparison each and nothing is moved.
 */
class Entries {
  private readonly writer: Writer;
  /** Start, end of key and end of value of each entry. */
  private readonly marks: number[] = [];
  private sorted = true;

  constructor(writer: Writer) {
    this.writer = writer;
    this.marks.push(writer.length);
  }

  keyWritten(): void {
    const { marks } = this;
    marks.push(this.writer.length);
    const n = marks.length;
    if (n > 3 && this.sorted) this.sorted = this.compare(n - 4, n - 2) < 0;
  }

  valueWritten(): void {
    this.marks.push(this.writer.length);
  }

  sort(): void {
    if (this.sorted) return;
    const { marks, writer } = this;
    const order: number[] = [];
    for (let i = 0; i + 2 < marks.length; i += 2) order.push(i);
    order.sort((a, b) => this.compare(a, b));
    for (let i = 1; i < order.length; i++) {
      if (this.compare(order[i - 1]!, order[i]!) === 0) {
        throw new ProtocolError('ERR_ARGUMENT', 'cbor: duplicate map key');
      }
    }
    const start = marks[0]!;
    const copy = writer.buffer.slice(start, writer.length);
    let at = start;
    for (const i of order) {
      const end = marks[i + 2]!;
      writer.buffer.set(copy.subarray(marks[i]! - start, end - start), at);
      at += end - marks[i]!;
    }
  }

  /** Order of the keys of the entries whose first marks are a and b. */
  private compare(a: number, b: number): number {
    const { marks } = this;
    const { buffer } = this.writer;
    let i = marks[a]!;
    let j = marks[b]!;
    const endA = marks[a + 1]!;
    const endB = marks[b + 1]!;
    while (i < endA && j < endB) {
      const difference = buffer[i++]! - buffer[j++]!;
      if (difference !== 0) return difference;
    }
    return endA - i - (endB - j);
  }
}

function loneSurrogate(): ProtocolError {
  return new ProtocolError('ERR_ARGUMENT', 'cbor: text holds a lone surrogate, expected Unicode');
}
