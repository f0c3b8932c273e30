/**
 * A cursor over CBOR heads (RFC 8949 section 3): the decoder's lowest layer, and the primitive for code that walks
 * messages without building values. Nothing is allocated but the views and texts that are asked for.
 *
 * `next` checks what a head can show: reserved values, truncation, and (strict) shortest integers, lengths and
 * floats and no indefinite lengths. Order and uniqueness of map keys are up to whoever reads the map.
 */

import { doubleToNumber, halfToNumber, numberToHalf, singleToNumber } from './cbor-float.ts';
import { ProtocolError, type ProtocolErrorCode } from './errors.ts';

/** Up to this length a loop beats the call into TextDecoder. */
const SHORT_TEXT = 32;

// ignoreBOM keeps a leading U+FEFF: it is part of the text.
const textDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Additional information 31: an indefinite length, or the break that ends one. Only without `strict`. */
export const INDEFINITE = 31;

export class CborCursor {
  readonly bytes: Uint8Array;
  readonly strict: boolean;
  /** Where `next` reads; after it, the first byte behind the head. */
  offset: number;
  /** Where the head that was read last starts. */
  start = 0;
  /** Major type of the head, 0..7. */
  major = 0;
  /** Additional information of the head, 0..27, or INDEFINITE. */
  info = 0;
  /** Argument of the head; -1 above 2^53 - 1, where `bigArgument` has it. For floats see `float`. */
  argument = 0;
  private high = 0;
  private low = 0;

  /** @param options.strict - refuse everything that is not core deterministic; default true. */
  constructor(
    bytes: Uint8Array,
    options: { readonly strict?: boolean; readonly offset?: number } = {},
  ) {
    if (!(bytes instanceof Uint8Array)) {
      throw new ProtocolError('ERR_ARGUMENT', `cbor: expected a Uint8Array, got ${typeof bytes}`);
    }
    this.bytes = bytes;
    this.strict = options.strict ?? true;
    this.offset = options.offset ?? 0;
  }

  /** Whether all bytes are read. */
  get done(): boolean {
    return this.offset >= this.bytes.length;
  }

  /**
   * Reads one head into major, info and argument.
   *
   * @throws {ProtocolError} ERR_CBOR_MALFORMED or ERR_CBOR_NOT_DETERMINISTIC.
   */
  next(): void {
    const { bytes, offset } = this;
    if (offset >= bytes.length) throw this.malformed('expected an item, got the end', offset);
    const initial = bytes[offset]!;
    const major = initial >> 5;
    const info = initial & 31;
    this.start = offset;
    this.major = major;
    this.info = info;
    if (info < 24) {
      this.argument = info;
      this.offset = offset + 1;
    } else if (info === 24) {
      this.offset = this.behind(2);
      this.argument = bytes[offset + 1]!;
      if (major === 7 && this.argument < 32) {
        throw this.malformed(`simple value ${this.argument} in two bytes`, offset);
      }
      if (this.strict && this.argument < 24) throw this.notShortest();
    } else if (info < 28) {
      this.wide(info);
    } else if (info === INDEFINITE && major !== 0 && major !== 1 && major !== 6) {
      if (this.strict && major === 7)
        throw this.malformed('break outside an indefinite length', offset);
      if (this.strict) throw this.fail('ERR_CBOR_NOT_DETERMINISTIC', 'indefinite length', offset);
      this.argument = 0;
      this.offset = offset + 1;
    } else {
      throw this.malformed(`reserved additional information ${info}`, offset);
    }
  }

  /** The argument of the head as a bigint, any size. */
  bigArgument(): bigint {
    return this.argument >= 0
      ? BigInt(this.argument)
      : (BigInt(this.high) << 32n) | BigInt(this.low);
  }

  /** The number in a float head (major 7, info 25 to 27). */
  float(): number {
    if (this.info === 25) return halfToNumber(this.argument);
    if (this.info === 26) return singleToNumber(this.argument);
    return doubleToNumber(this.high, this.low);
  }

  /** Moves behind the content of a string head (major 2 or 3) and returns where the content starts. */
  skipContent(): number {
    const begin = this.offset;
    const left = this.bytes.length - begin;
    if (this.argument < 0 || this.argument > left) {
      throw this.malformed(`string of ${this.bigArgument()} bytes, ${left} left`, this.start);
    }
    this.offset = begin + this.argument;
    return begin;
  }

  /** The content of a byte string head: a view on the input, not a copy. */
  byteString(): Uint8Array {
    const { bytes, argument } = this;
    const begin = this.skipContent();
    return new Uint8Array(bytes.buffer, bytes.byteOffset + begin, argument);
  }

  /** The content of a text string head. Invalid UTF-8 is refused. */
  text(): string {
    const { bytes } = this;
    const begin = this.skipContent();
    const end = this.offset;
    if (end - begin <= SHORT_TEXT) {
      let text = '';
      let i = begin;
      for (; i < end; i++) {
        const byte = bytes[i]!;
        if (byte > 0x7f) break;
        text += String.fromCharCode(byte);
      }
      if (i === end) return text;
    }
    try {
      return textDecoder.decode(bytes.subarray(begin, end));
    } catch {
      throw this.malformed('text is not valid UTF-8', this.start);
    }
  }

  /** An error of this input; `at` is the offset it names. */
  fail(code: ProtocolErrorCode, what: string, at: number): ProtocolError {
    return new ProtocolError(code, `cbor: ${what}, at byte ${at}`);
  }

  malformed(what: string, at: number): ProtocolError {
    return this.fail('ERR_CBOR_MALFORMED', what, at);
  }

  /** Arguments of two, four and eight bytes, floats among them. */
  private wide(info: number): void {
    const { bytes, start } = this;
    if (info === 25) {
      this.offset = this.behind(3);
      this.argument = (bytes[start + 1]! << 8) | bytes[start + 2]!;
      if (!this.strict) return;
      if (this.major !== 7 ? this.argument < 0x100 : isOtherNaN(this.argument))
        throw this.notShortest();
    } else if (info === 26) {
      this.offset = this.behind(5);
      this.argument = this.word(start + 1);
      if (!this.strict) return;
      if (this.major !== 7 ? this.argument < 0x10000 : numberToHalf(this.float()) >= 0) {
        throw this.notShortest();
      }
    } else {
      this.offset = this.behind(9);
      this.high = this.word(start + 1);
      this.low = this.word(start + 5);
      this.argument = this.high < 0x200000 ? this.high * 0x100000000 + this.low : -1;
      if (!this.strict) return;
      if (this.major !== 7 ? this.high === 0 : fitsSingle(this.float())) throw this.notShortest();
    }
  }

  private word(at: number): number {
    const { bytes } = this;
    return (
      ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
    );
  }

  /** The offset behind a head of so many bytes. */
  private behind(size: number): number {
    const end = this.start + size;
    if (end > this.bytes.length) {
      throw this.malformed(
        `head of ${size} bytes, ${this.bytes.length - this.start} left`,
        this.start,
      );
    }
    return end;
  }

  private notShortest(): ProtocolError {
    const what = this.major === 7 ? 'float' : this.major < 2 ? 'integer' : 'length or tag';
    return this.fail('ERR_CBOR_NOT_DETERMINISTIC', `${what} not in its shortest form`, this.start);
  }
}

function isOtherNaN(half: number): boolean {
  return (half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0 && half !== 0x7e00;
}

function fitsSingle(value: number): boolean {
  return Number.isNaN(value) || Math.fround(value) === value;
}
