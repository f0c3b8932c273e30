/**
 * InfluxDB line protocol: the tokenizer.
 *
 * `LineReader` walks a body line by line and leaves byte ranges, so that a store can recognise the
 * same series and field names again without making strings. Strict where InfluxDB is lenient: a
 * control character outside a string field, invalid UTF-8 or a number out of range refuse the line. A
 * refused line ends at the next newline and the reader goes on behind it. Comments (`#`) and empty
 * lines are skipped. Objects are made by `line-protocol-decode.ts`.
 */
import { isUtf8 } from 'node:buffer';
import { MAX_TIME_NS, MIN_TIME_NS, NS_PER, type Precision } from './line-protocol.ts';
import { latin1, parseDecimal, parseInteger } from './number-text.ts';

/** Longest measurement with tags, bytes: InfluxDB's own limit, and it bounds the series index. */
export const MAX_SERIES_KEY_BYTES = 65_535;
/** Most fields in one line; bounds the arrays one line may grow. */
export const MAX_FIELDS_PER_LINE = 4_096;

export interface ReadLinesOptions {
  /** Unit of the timestamps. Default ns. */
  readonly precision?: Precision;
  /** For lines without a time; cut to the precision. Default 0. */
  readonly defaultTimeNs?: bigint;
}

export const KIND_FLOAT = 0;
export const KIND_INT = 1;
export const KIND_UINT = 2;
export const KIND_STRING = 3;
export const KIND_BOOLEAN = 4;

/** Walks a body; after `next()` the fields describe one line, or `error` says why it is refused. */
export class LineReader {
  readonly bytes: Uint8Array;
  /** One-based number of the line that `next()` found. */
  line = 0;
  /** Why the line is refused: `line 2, byte 5: expected …, got …`. */
  error: string | undefined;
  /** Raw range of `measurement[,tag=value…]`. */
  seriesStart = 0;
  seriesEnd = 0;
  /** Raw range of the measurement inside it. */
  measurementEnd = 0;
  /** Whether measurement and tags are, byte for byte, those of the line before that was read. */
  sameSeries = false;
  fieldCount = 0;
  /** Raw ranges of the field keys. */
  readonly keyStarts: number[] = [];
  readonly keyEnds: number[] = [];
  /** One of the KIND_ constants each. */
  readonly kinds: number[] = [];
  /** Floats, ints and uints as doubles, booleans as 0 and 1. */
  readonly numbers: number[] = [];
  /** Raw ranges of the values; strings without their quotes, still escaped. */
  readonly valueStarts: number[] = [];
  readonly valueEnds: number[] = [];
  timeNs = 0n;
  /** Whether the line had a time of its own. */
  hasTime = false;

  readonly #unit: bigint;
  readonly #defaultTimeNs: bigint;
  #at = 0;
  #nextLine = 1;
  #lineStart = 0;
  #high = false;

  constructor(bytes: Uint8Array, options: ReadLinesOptions = {}) {
    this.bytes = bytes;
    this.#unit = NS_PER[options.precision ?? 'ns'];
    const defaultTime = options.defaultTimeNs ?? 0n;
    this.#defaultTimeNs = (defaultTime / this.#unit) * this.#unit;
  }

  /** Offset behind the line that `next()` found, its newline included. */
  get offset(): number {
    return this.#at;
  }

  /** Moves to the next line; false at the end of the body. */
  next(): boolean {
    this.error = undefined;
    this.#skipEmpty();
    if (this.error === undefined && this.#at >= this.bytes.length) return false;
    this.line = this.#nextLine;
    if (this.error === undefined) this.#readLine();
    if (this.error !== undefined) this.#skipToNewline();
    return true;
  }

  #readLine(): void {
    this.fieldCount = 0;
    const start = this.#at;
    this.sameSeries = this.#repeatsSeries();
    const measurementBytes = this.measurementEnd - this.seriesStart;
    const seriesBytes = this.seriesEnd - this.seriesStart;
    this.seriesStart = start;
    if (this.sameSeries) {
      this.measurementEnd = start + measurementBytes;
      this.#at = start + seriesBytes;
    } else {
      this.seriesEnd = start;
      if (!this.#readSeries()) return;
    }
    this.seriesEnd = this.#at;
    if (this.seriesEnd - this.seriesStart > MAX_SERIES_KEY_BYTES) {
      this.seriesEnd = this.seriesStart;
      this.#fail(this.seriesStart, `at most ${MAX_SERIES_KEY_BYTES} bytes of measurement and tags`);
      return;
    }
    while (this.bytes[this.#at] === SPACE) this.#at++;
    if (!this.#readFields()) return;
    this.#readTime();
  }

  /** The same bytes with the same space behind them parse the same. */
  #repeatsSeries(): boolean {
    const { bytes, seriesStart, seriesEnd } = this;
    const shift = this.#at - seriesStart;
    if (seriesEnd === seriesStart || bytes[seriesEnd + shift] !== SPACE) return false;
    // From the end: series differ in their last tags more often than in their measurement.
    for (let i = seriesEnd - 1; i >= seriesStart; i--) {
      if (bytes[i] !== bytes[i + shift]) return false;
    }
    return true;
  }

  #readSeries(): boolean {
    const { bytes } = this;
    const start = this.#at;
    this.#scan(MEASUREMENT_END, MEASUREMENT_ESCAPED);
    if (this.#at === start) return this.#fail(start, 'a measurement');
    if (bytes[start] === HASH) return this.#fail(start, 'a comment without control characters');
    if (!this.#utf8(start)) return false;
    this.measurementEnd = this.#at;
    while (bytes[this.#at] === COMMA) {
      const key = ++this.#at;
      this.#scan(KEY_END, KEY_ESCAPED);
      if (this.#at === key) return this.#fail(key, 'a tag key');
      if (!this.#utf8(key)) return false;
      if (bytes[this.#at] !== EQUALS) return this.#fail(this.#at, "'=' after the tag key");
      const value = ++this.#at;
      this.#scan(KEY_END, KEY_ESCAPED);
      if (this.#at === value) return this.#fail(value, 'a tag value');
      if (!this.#utf8(value)) return false;
    }
    if (bytes[this.#at] !== SPACE) return this.#fail(this.#at, 'a space and fields');
    return true;
  }

  #readFields(): boolean {
    const { bytes } = this;
    for (;;) {
      const key = this.#at;
      this.#scan(KEY_END, KEY_ESCAPED);
      if (this.#at === key) return this.#fail(key, 'a field key');
      if (!this.#utf8(key)) return false;
      if (bytes[this.#at] !== EQUALS) return this.#fail(this.#at, "'=' after the field key");
      const i = this.fieldCount;
      if (i === MAX_FIELDS_PER_LINE) return this.#fail(key, `at most ${i} fields`);
      this.keyStarts[i] = key;
      this.keyEnds[i] = this.#at++;
      if (!this.#readValue(i)) return false;
      this.fieldCount = i + 1;
      if (bytes[this.#at] !== COMMA) return true;
      this.#at++;
    }
  }

  #readValue(i: number): boolean {
    const { bytes } = this;
    const start = this.#at;
    const first = bytes[start];
    if (first === QUOTE) return this.#readString(i);
    while (this.#at < bytes.length && VALUE_END[bytes[this.#at]!] === 0) this.#at++;
    let end = this.#at;
    this.valueStarts[i] = start;
    const last = bytes[end - 1];
    if (first === undefined || VALUE_FIRST[first] === 0) return this.#fail(start, 'a field value');
    if (VALUE_FIRST[first] === LETTER) {
      const text = latin1(bytes, start, end);
      if (!BOOLEANS.has(text)) return this.#fail(start, 'true or false');
      this.kinds[i] = KIND_BOOLEAN;
      this.numbers[i] = first === UPPER_T || first === LOWER_T ? 1 : 0;
    } else if (last === LOWER_I || last === LOWER_U) {
      end--;
      const integer = parseInteger(bytes, start, end);
      const [min, max] = last === LOWER_I ? INT64 : UINT64;
      if (integer === undefined || (last === LOWER_U && first === MINUS)) {
        return this.#fail(start, 'an integer');
      }
      if (integer < min || integer > max) return this.#fail(start, 'a 64-bit integer');
      this.kinds[i] = last === LOWER_I ? KIND_INT : KIND_UINT;
      this.numbers[i] = Number(integer);
    } else {
      const number = parseDecimal(bytes, start, end);
      if (number === undefined) return this.#fail(start, 'a number');
      if (!Number.isFinite(number)) return this.#fail(start, 'a number a double can hold');
      this.kinds[i] = KIND_FLOAT;
      this.numbers[i] = number;
    }
    this.valueEnds[i] = end;
    return true;
  }

  #readString(i: number): boolean {
    const { bytes } = this;
    const start = this.#at + 1;
    let at = start;
    let high = 0;
    for (;;) {
      const byte = bytes[at];
      if (byte === undefined) {
        this.#at = at;
        return this.#fail(start - 1, 'a closing quote');
      }
      if (byte === QUOTE) break;
      high |= byte;
      if (byte === NEWLINE) this.#nextLine++;
      if (byte === BACKSLASH && (bytes[at + 1] === QUOTE || bytes[at + 1] === BACKSLASH)) at++;
      at++;
    }
    this.#at = at + 1;
    if (high >= 0x80 && !isUtf8(bytes.subarray(start, at))) return this.#fail(start, 'UTF-8 text');
    this.kinds[i] = KIND_STRING;
    this.numbers[i] = 0;
    this.valueStarts[i] = start;
    this.valueEnds[i] = at;
    const after = bytes[this.#at];
    if (after === undefined || VALUE_END[after] === 1) return true;
    return this.#fail(this.#at, "',', a space or the end after a string");
  }

  #readTime(): void {
    const { bytes } = this;
    this.timeNs = this.#defaultTimeNs;
    this.hasTime = false;
    while (bytes[this.#at] === SPACE) this.#at++;
    if (this.#takeEndOfLine()) return;
    const start = this.#at;
    while (this.#at < bytes.length && VALUE_END[bytes[this.#at]!] === 0) this.#at++;
    const time = parseInteger(bytes, start, this.#at);
    if (time === undefined) {
      this.#fail(start, 'a time');
      return;
    }
    const ns = time * this.#unit;
    if (ns < MIN_TIME_NS || ns > MAX_TIME_NS) {
      this.#fail(start, 'a time in 64-bit nanoseconds');
      return;
    }
    this.timeNs = ns;
    this.hasTime = true;
    while (bytes[this.#at] === SPACE) this.#at++;
    if (!this.#takeEndOfLine()) this.#fail(this.#at, 'the end of the line');
  }

  /** Takes LF, CR LF, a CR at the end of the body, or the end itself. */
  #takeEndOfLine(): boolean {
    const { bytes } = this;
    const byte = bytes[this.#at];
    if (byte === undefined) return true;
    const cr = byte === CARRIAGE_RETURN;
    if (cr && this.#at + 1 === bytes.length) {
      this.#at++;
      return true;
    }
    if (byte !== NEWLINE && !(cr && bytes[this.#at + 1] === NEWLINE)) return false;
    this.#at += cr ? 2 : 1;
    this.#nextLine++;
    this.#lineStart = this.#at;
    return true;
  }

  #skipEmpty(): void {
    const { bytes } = this;
    for (;;) {
      this.#lineStart = this.#at;
      while (bytes[this.#at] === SPACE) this.#at++;
      const byte = bytes[this.#at];
      if (byte === undefined) return;
      if (byte === HASH) {
        while (this.#at < bytes.length && CONTROL[bytes[this.#at]!] === 0) this.#at++;
        if (!this.#takeEndOfLine()) {
          this.#fail(this.#at, 'a comment without control characters');
          return;
        }
      } else if (byte === NEWLINE || byte === CARRIAGE_RETURN) {
        // A lone CR is left where it is; the measurement is then refused.
        if (!this.#takeEndOfLine()) return;
      } else return;
    }
  }

  #skipToNewline(): void {
    const end = this.bytes.indexOf(NEWLINE, this.#at);
    this.#at = end < 0 ? this.bytes.length : end + 1;
    if (end >= 0) this.#nextLine++;
  }

  /** Moves to the first unescaped byte of `ends`. */
  #scan(ends: Uint8Array, escaped: Uint8Array): void {
    const { bytes } = this;
    const { length } = bytes;
    let at = this.#at;
    let high = 0;
    while (at < length) {
      const byte = bytes[at]!;
      if (ends[byte] === 1) break;
      high |= byte;
      at += byte === BACKSLASH && at + 1 < length && escaped[bytes[at + 1]!] === 1 ? 2 : 1;
    }
    this.#at = at;
    this.#high = high >= 0x80;
  }

  #utf8(start: number): boolean {
    if (!this.#high || isUtf8(this.bytes.subarray(start, this.#at))) return true;
    return this.#fail(start, 'UTF-8 text');
  }

  #fail(at: number, expected: string): false {
    const byte = this.bytes[at];
    const got = byte === undefined ? 'the end' : JSON.stringify(String.fromCharCode(byte));
    this.error = `line ${this.#nextLine}, byte ${at - this.#lineStart + 1}: expected ${expected}, got ${got}`;
    return false;
  }
}

const [NEWLINE, CARRIAGE_RETURN, SPACE, QUOTE, HASH, COMMA] = [10, 13, 32, 34, 35, 44];
const [MINUS, EQUALS, BACKSLASH] = [45, 61, 92];
const [UPPER_T, LOWER_I, LOWER_T, LOWER_U] = [84, 105, 116, 117];
const CONTROL = byteSet((byte) => byte < 32 || byte === 127);
const MEASUREMENT_ESCAPED = byteSet((byte) => byte === COMMA || byte === SPACE);
export const KEY_ESCAPED = byteSet((byte) => byte === COMMA || byte === SPACE || byte === EQUALS);
const MEASUREMENT_END = byteSet((byte) => MEASUREMENT_ESCAPED[byte] === 1 || CONTROL[byte] === 1);
export const KEY_END = byteSet((byte) => KEY_ESCAPED[byte] === 1 || CONTROL[byte] === 1);
const VALUE_END = byteSet((byte) => [COMMA, SPACE, NEWLINE, CARRIAGE_RETURN].includes(byte));
const LETTER = 2;
const VALUE_FIRST = Uint8Array.from({ length: 256 }, (_, byte) => {
  const char = String.fromCharCode(byte);
  return 'tTfF'.includes(char) ? LETTER : '-.0123456789'.includes(char) ? 1 : 0;
});
const BOOLEANS = new Set('t T true True TRUE f F false False FALSE'.split(' '));
const INT64 = [-(2n ** 63n), 2n ** 63n - 1n] as const;
const UINT64 = [0n, 2n ** 64n - 1n] as const;

function byteSet(has: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (has(byte) ? 1 : 0));
}
