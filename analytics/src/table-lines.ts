/**
 * Reading tables as line protocol, straight into bytes: the hot path between projection and store.
 *
 * One line per device and instant with every metric of that instant (wide lines cost the server less
 * than half). Measurement = profile; tags cell, device, group, source in that order (sorted by key),
 * an empty one left out; numbers are always written as floats, so that an integer after a float never
 * drops a point. Times are whole microseconds: every body is written with {@link TABLE_PRECISION}, so
 * tables with and without fractions of a millisecond share one body and no microsecond is lost.
 */
import type { ReadingColumn, ReadingTable } from '@fieldproof/compute/readings';
import { AnalyticsError } from './errors.ts';
import { MAX_NUMBER_BYTES, writeFloat, writeInteger } from './float-text.ts';
import { encodeSeriesKey, escapeKey, isLineName, quoteString } from './line-protocol.ts';
import { fieldKeyOfMetric } from './store/field-keys.ts';

/** Unit of the timestamps in every body that a LineBuffer makes. */
export const TABLE_PRECISION = 'u';

/** Measured best: one write of about this many lines, the next one built meanwhile. */
export const DEFAULT_MAX_LINES = 10_000;
export const DEFAULT_MAX_BYTES = 4 << 20;

export interface LineBufferOptions {
  /** Full at this many lines. Default 10,000. */
  readonly maxLines?: number;
  /** Full at this many bytes; also the longest single line. Default 4 MiB. */
  readonly maxBytes?: number;
}

/** A body of line protocol that grows table by table, bounded by lines and by bytes. */
export class LineBuffer {
  readonly #maxLines: number;
  readonly #maxBytes: number;
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;
  #starts: number[] = [];

  constructor(options: LineBufferOptions = {}) {
    this.#maxLines = options.maxLines ?? DEFAULT_MAX_LINES;
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
  }

  /** Lines held. */
  get lines(): number {
    return this.#starts.length;
  }

  /** Offset of each line, since a text may hold newlines; `take()` begins another list. */
  get lineStarts(): readonly number[] {
    return this.#starts;
  }

  /** Bytes held. */
  get byteLength(): number {
    return this.#length;
  }

  /**
   * Appends the instants of `table` from index `from` on, until all are in or the buffer is full.
   * An instant without values makes no line.
   *
   * @returns the index of the first instant not appended; `table.timesMs.length` when all are in.
   *   When it returns less, `take()` the body and call again with that index.
   * @throws {AnalyticsError} ERR_LINE_ENCODE for a name, number or time that cannot be written, and
   *   ERR_LINE_BUFFER_FULL for one line longer than maxBytes; nothing of the table is appended then.
   */
  append(table: ReadingTable, from = 0): number {
    const prefix = prefixOf(table);
    const keys = table.columns.map((column) => keyOf(column, table));
    // Room for everything in a line except texts.
    let fixed = prefix.length + 2 * MAX_NUMBER_BYTES;
    for (const key of keys) fixed += key.length + MAX_NUMBER_BYTES;
    const startLength = this.#length;
    const startLines = this.#starts.length;
    let instant = from;
    try {
      for (; instant < table.timesMs.length; instant++) {
        if (this.#starts.length >= this.#maxLines) break;
        const lineStart = this.#length;
        this.#appendLine(table, instant, prefix, keys, fixed);
        if (this.#length <= this.#maxBytes) continue;
        if (lineStart === 0) {
          throw new AnalyticsError(
            'ERR_LINE_BUFFER_FULL',
            `line: expected at most ${this.#maxBytes} bytes, got ${this.#length}`,
          );
        }
        this.#length = lineStart;
        this.#starts.pop();
        break;
      }
    } catch (error) {
      this.#length = startLength;
      this.#starts.length = startLines;
      throw error;
    }
    return instant;
  }

  /** Gives the body away (the caller owns its bytes) and starts an empty one. */
  take(): Uint8Array {
    const body = this.#bytes.subarray(0, this.#length);
    // The next body will be about as long; it needs its own bytes while this one is being sent.
    this.#bytes = Buffer.allocUnsafeSlow(this.#length + (this.#length >> 4));
    this.#length = 0;
    this.#starts = [];
    return body;
  }

  #appendLine(
    table: ReadingTable,
    instant: number,
    prefix: Uint8Array,
    keys: readonly Uint8Array[],
    fixed: number,
  ): void {
    this.#reserve(fixed);
    let bytes = this.#bytes;
    let at = copy(prefix, bytes, this.#length);
    const firstField = at;
    const { columns } = table;
    for (let c = 0; c < columns.length; c++) {
      const column = columns[c]!;
      if (column.type === 'float') {
        const number = column.values[instant]!;
        // biome-ignore lint/suspicious/noSelfCompare: NaN is the only value unequal to itself
        if (number !== number) continue;
        if (number - number !== 0) throw refused(column, 'a finite number', String(number));
        at = writeFloat(bytes, copy(keys[c]!, bytes, at), number);
      } else {
        const value = column.values[instant];
        if (value === undefined) continue;
        const text = column.type === 'boolean' ? (value ? 't' : 'f') : quoteString(String(value));
        if (!isWellFormed(text)) throw refused(column, 'well-formed Unicode', 'a lone surrogate');
        this.#length = at;
        this.#reserve(fixed + text.length * 3);
        bytes = this.#bytes;
        at = copy(keys[c]!, bytes, at);
        at += bytes.write(text, at, 'utf8');
      }
      bytes[at++] = COMMA;
    }
    if (at === firstField) {
      this.#length = at - prefix.length;
      return;
    }
    this.#starts.push(firstField - prefix.length);
    bytes[at - 1] = SPACE;
    at = writeInteger(bytes, at, microseconds(table.timesMs[instant]!));
    bytes[at++] = NEWLINE;
    this.#length = at;
  }

  /** Makes room for `more` bytes behind the length. */
  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length, 4096));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

const [NEWLINE, SPACE, COMMA] = [10, 32, 44];
/** In a measurement or field key InfluxDB 1.x reads this as a quote alone: two names would be one. */
const LOST_BACKSLASH = '\\"';
/** Distinct keys and prefixes kept as bytes; a fleet that has more only pays for encoding again. */
const MAX_CACHED = 16_384;
const encoder = new TextEncoder();
const keyCache = new Map<string, Uint8Array>();
const prefixCache = new Map<string, { readonly table: ReadingTable; readonly bytes: Uint8Array }>();

/** Whole microseconds of a time in ms: exact until the year 2109, then a double of ms gets too coarse. */
function microseconds(timeMs: number): number {
  const time = Math.round(timeMs * 1000);
  if (Number.isSafeInteger(time)) return time;
  throw new AnalyticsError(
    'ERR_LINE_ENCODE',
    `time: expected ms whose µs are a safe integer, got ${timeMs}`,
  );
}

/** `profile,cell=…,device=…,group=…,source=… ` as bytes. */
function prefixOf(table: ReadingTable): Uint8Array {
  const cached = prefixCache.get(table.device);
  if (cached !== undefined && sameSeries(cached.table, table)) return cached.bytes;
  const { cell, device, group, source } = table;
  const tags = Object.entries({ cell, device, group, source })
    .filter(([, value]) => value !== '')
    .map(([key, value]) => ({ key, value }));
  if (table.profile.includes(LOST_BACKSLASH)) {
    throw new AnalyticsError(
      'ERR_LINE_ENCODE',
      `profile: expected no backslash before a quote, got ${JSON.stringify(table.profile)}`,
    );
  }
  const bytes = encoder.encode(`${encodeSeriesKey(table.profile, tags)} `);
  if (prefixCache.size >= MAX_CACHED) prefixCache.clear();
  const { profile } = table;
  const names = { profile, device, cell, group, source, timesMs: new Float64Array(0), columns: [] };
  prefixCache.set(device, { table: names, bytes });
  return bytes;
}

function sameSeries(a: ReadingTable, b: ReadingTable): boolean {
  return (
    a.profile === b.profile && a.cell === b.cell && a.group === b.group && a.source === b.source
  );
}

/** `metric=` as bytes. */
function keyOf(column: ReadingColumn, table: ReadingTable): Uint8Array {
  if (column.values.length !== table.timesMs.length) {
    throw refused(column, `${table.timesMs.length} values`, String(column.values.length));
  }
  const cached = keyCache.get(column.metric);
  if (cached !== undefined) return cached;
  const key = fieldKeyOfMetric(column.metric);
  if (!isLineName(key) || key.includes(LOST_BACKSLASH)) {
    throw refused(column, 'no control characters, final backslash or backslash-quote', 'this name');
  }
  const bytes = encoder.encode(`${escapeKey(key)}=`);
  if (keyCache.size >= MAX_CACHED) keyCache.clear();
  keyCache.set(column.metric, bytes);
  return bytes;
}

/** Copies `from` to `to` at `at`; a loop is faster than `set` for so few bytes. */
function copy(from: Uint8Array, to: Uint8Array, at: number): number {
  const { length } = from;
  if (length > 64) {
    to.set(from, at);
    return at + length;
  }
  for (let i = 0; i < length; i++) to[at + i] = from[i]!;
  return at + length;
}

function isWellFormed(text: string): boolean {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

function refused(column: ReadingColumn, expected: string, got: string): AnalyticsError {
  const what = `metric ${JSON.stringify(column.metric)}`;
  return new AnalyticsError('ERR_LINE_ENCODE', `${what}: expected ${expected}, got ${got}`);
}
