/**
 * CBOR encoder (RFC 8949), always core deterministic (section 4.2.1): shortest integers, lengths and exact floats,
 * definite lengths, map keys sorted bytewise by their encoding, NaN as f97e00, -0 as f98000.
 *
 * Numbers that are safe integers become CBOR integers, all others floats; a bigint becomes an integer, or a bignum
 * (tags 2 and 3) where 64 bits do not suffice. `Tagged(2 | 3, bytes)` is rewritten to the preferred form of the same
 * integer. Properties of plain objects whose value is undefined are skipped, as JSON does; an undefined in an
 * array or a Map is f7. Leaves out indefinite lengths, NaN payloads and every class but those in `cbor-values.ts`.
 */

import { compareRanges } from './bytes.ts';
import { bignumValue, type CborValue, Float, Simple, Tagged } from './cbor-values.ts';
import { CborWriter } from './cbor-writer.ts';
import { ProtocolError } from './errors.ts';

/** Nesting that the encoder follows. Protects the stack from cyclic values. */
const MAX_DEPTH = 1024;
/** A larger work buffer is dropped after use, so that one big message does not stay in memory. */
const KEPT_BUFFER_BYTES = 1 << 16;

let spare: CborWriter | undefined;

/**
 * The deterministic encoding of a value.
 *
 * @returns a new array that the caller owns.
 * @throws {ProtocolError} ERR_ARGUMENT for duplicate map keys, functions, symbols, lone surrogates, integers beyond
 * 2^53 given as numbers (use a bigint or Float), objects of other classes, and cycles.
 */
export function encode(value: CborValue): Uint8Array {
  // A getter may call encode again, so the spare writer is taken, not shared.
  const writer = spare ?? new CborWriter();
  spare = undefined;
  writer.length = 0;
  try {
    writeItem(writer, value, 0);
    return writer.finish();
  } finally {
    if (writer.buffer.length <= KEPT_BUFFER_BYTES) spare = writer;
  }
}

function writeItem(writer: CborWriter, value: CborValue, depth: number): void {
  switch (typeof value) {
    case 'number':
      if (Number.isInteger(value) && !Object.is(value, -0)) writer.integer(value);
      else writer.float(value);
      return;
    case 'string':
      writer.text(value);
      return;
    case 'boolean':
      writer.byte(value ? 0xf5 : 0xf4);
      return;
    case 'undefined':
      writer.byte(0xf7);
      return;
    case 'bigint':
      writer.bigint(value);
      return;
    case 'object':
      if (value === null) writer.byte(0xf6);
      else if (value instanceof Uint8Array) writer.byteString(value);
      else writeObject(writer, value, depth);
      return;
    default:
      throw new ProtocolError('ERR_ARGUMENT', `cbor: cannot encode a ${typeof value}`);
  }
}

function writeObject(writer: CborWriter, value: object, depth: number): void {
  if (depth >= MAX_DEPTH) {
    throw new ProtocolError('ERR_ARGUMENT', `cbor: nested deeper than ${MAX_DEPTH}, or a cycle`);
  }
  if (Array.isArray(value)) {
    const { length } = value;
    writer.head(4, length);
    for (let i = 0; i < length; i++) writeItem(writer, value[i], depth + 1);
  } else if (value instanceof Map) {
    writeMap(writer, value, depth);
  } else if (value instanceof Float) {
    writer.float(value.value);
  } else if (value instanceof Simple) {
    if (value.value > 23) writer.byte(0xf8);
    writer.byte(value.value > 23 ? value.value : 0xe0 | value.value);
  } else if (value instanceof Tagged) {
    writeTagged(writer, value, depth);
  } else {
    checkPlain(value);
    writeRecord(writer, value as Record<string, CborValue>, depth);
  }
}

function writeTagged(writer: CborWriter, { tag, value }: Tagged, depth: number): void {
  const number = typeof tag === 'bigint' && tag < 4n ? Number(tag) : tag;
  if ((number === 2 || number === 3) && value instanceof Uint8Array) {
    writer.bigint(bignumValue(number, value));
    return;
  }
  if (typeof number === 'bigint') writer.bigHead(6, number);
  else writer.head(6, number);
  writeItem(writer, value, depth + 1);
}

function writeMap(writer: CborWriter, map: ReadonlyMap<CborValue, CborValue>, depth: number): void {
  writer.head(5, map.size);
  const entries = new Entries(writer);
  for (const [key, value] of map) {
    writeItem(writer, key, depth + 1);
    entries.keyWritten();
    writeItem(writer, value, depth + 1);
    entries.valueWritten();
  }
  entries.sort();
}

function writeRecord(writer: CborWriter, record: Record<string, CborValue>, depth: number): void {
  const keys = Object.keys(record);
  const values = new Array<CborValue>(keys.length);
  let count = 0;
  for (let i = 0; i < keys.length; i++) {
    // Read once: a getter may answer differently the second time.
    values[i] = record[keys[i]!];
    if (values[i] !== undefined) count++;
  }
  writer.head(5, count);
  const entries = new Entries(writer);
  for (let i = 0; i < keys.length; i++) {
    if (values[i] === undefined) continue;
    writer.text(keys[i]!);
    entries.keyWritten();
    writeItem(writer, values[i], depth + 1);
    entries.valueWritten();
  }
  entries.sort();
}

/** Plain objects of any realm are taken; class instances have a longer prototype chain. */
function checkPlain(value: object): void {
  const prototype = Object.getPrototypeOf(value);
  if (prototype === null || Object.getPrototypeOf(prototype) === null) return;
  const name = (value as { constructor?: { name?: unknown } }).constructor?.name;
  throw new ProtocolError('ERR_ARGUMENT', `cbor: cannot encode an object of class ${name}`);
}

/**
 * The entries of one map, written in the order given. `sort` brings them into bytewise order of their keys and
 * refuses duplicates; entries that came in order cost one comparison each and nothing is moved.
 */
class Entries {
  private readonly writer: CborWriter;
  /** Start, end of key and end of value of each entry. */
  private readonly marks: number[] = [];
  private sorted = true;

  constructor(writer: CborWriter) {
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
    // The entries are copied behind themselves and from there back in order.
    const start = marks[0]!;
    const shift = writer.length - start;
    writer.reserve(shift);
    const { buffer } = writer;
    buffer.copyWithin(writer.length, start, writer.length);
    let at = start;
    for (const i of order) {
      const from = marks[i]!;
      const end = marks[i + 2]!;
      buffer.copyWithin(at, from + shift, end + shift);
      at += end - from;
    }
  }

  /** Order of the keys of the entries whose first marks are a and b. */
  private compare(a: number, b: number): number {
    const { marks, writer } = this;
    return compareRanges(writer.buffer, marks[a]!, marks[a + 1]!, marks[b]!, marks[b + 1]!);
  }
}
