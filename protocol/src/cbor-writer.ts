/**
 * Writes CBOR items one after the other into a growing buffer (RFC 8949 section 3), each in its shortest form.
 *
 * The encoder's lower layer, and a way to write messages of a known shape without building values. Order and
 * number of items are up to whoever writes.
 */

import { doubleHighBits, doubleLowBits, numberToHalf, singleBits } from './cbor-float.ts';
import { ProtocolError } from './errors.ts';

/** Up to this length a loop beats the call into TextEncoder. */
const SHORT_TEXT = 64;

const textEncoder = new TextEncoder();
const LONE_SURROGATE = /\p{Surrogate}/u;
const MAX_UINT64 = (1n << 64n) - 1n;
const MIN_INT64 = -(1n << 64n);

export class CborWriter {
  /** The bytes written, and room behind them. Replaced when it grows. */
  buffer = new Uint8Array(1024);
  /** How many bytes are written. */
  length = 0;

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }

  /** A byte string. */
  byteString(bytes: Uint8Array): void {
    this.head(2, bytes.length);
    this.raw(bytes);
  }

  /** Bytes as they are, for instance an item that is already encoded. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** A safe integer. */
  integer(value: number): void {
    if (!Number.isSafeInteger(value)) {
      throw new ProtocolError(
        'ERR_ARGUMENT',
        `cbor: expected a safe integer, got ${value}; use a bigint, or Float for a float`,
      );
    }
    if (value >= 0) this.head(0, value);
    else this.head(1, -1 - value);
  }

  /** An integer of any size: major type 0 or 1, beyond 64 bits tag 2 or 3. */
  bigint(value: bigint): void {
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

  /** A float in the shortest width that holds it exactly. */
  float(value: number): void {
    this.reserve(9);
    const { buffer } = this;
    const half = numberToHalf(value);
    if (half >= 0) {
      buffer[this.length++] = 0xf9;
      buffer[this.length++] = half >> 8;
      buffer[this.length++] = half & 0xff;
    } else if (Math.fround(value) === value) {
      buffer[this.length++] = 0xfa;
      this.word(singleBits(value));
    } else {
      buffer[this.length++] = 0xfb;
      this.word(doubleHighBits(value));
      this.word(doubleLowBits(value));
    }
  }

  /** A text string. */
  text(text: string): void {
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

  /** A head: major type 0..6 and an argument up to 2^53 - 1. */
  head(major: number, argument: number): void {
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

  /** A head with an argument up to 2^64 - 1. */
  bigHead(major: number, argument: bigint): void {
    if (argument <= 0xffffffffn) {
      this.head(major, Number(argument));
      return;
    }
    this.reserve(9);
    this.buffer[this.length++] = (major << 5) | 27;
    this.word(Number(argument >> 32n));
    this.word(Number(argument & 0xffffffffn));
  }

  /** One byte as it is: simple values, ready-made heads. */
  byte(value: number): void {
    this.reserve(1);
    this.buffer[this.length++] = value;
  }

  /** Makes room for so many more bytes. */
  reserve(count: number): void {
    if (this.length + count <= this.buffer.length) return;
    const larger = new Uint8Array(Math.max(2 * this.buffer.length, this.length + count));
    larger.set(this.buffer.subarray(0, this.length));
    this.buffer = larger;
  }

  private longText(text: string): void {
    if (LONE_SURROGATE.test(text)) throw loneSurrogate();
    const bytes = textEncoder.encode(text);
    this.head(3, bytes.length);
    this.raw(bytes);
  }

  private word(value: number): void {
    const { buffer } = this;
    buffer[this.length++] = value >>> 24;
    buffer[this.length++] = (value >>> 16) & 0xff;
    buffer[this.length++] = (value >>> 8) & 0xff;
    buffer[this.length++] = value & 0xff;
  }
}

function loneSurrogate(): ProtocolError {
  return new ProtocolError('ERR_ARGUMENT', 'cbor: text holds a lone surrogate, expected Unicode');
}
