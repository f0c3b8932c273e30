/**
 * InfluxDB line protocol: bodies as points.
 *
 * `decodePoints` takes a body whole or not at all; a store that keeps the good lines of a bad body
 * walks it with `LineReader` and makes what it needs of each line. A repeated tag key is refused.
 *
 * Vectors: influxdata/line-protocol-corpus, its fuzz cases included.
 */
import { AnalyticsError } from './errors.ts';
import type { LineField, LinePoint, LineTag, LineValue } from './line-protocol.ts';
import {
  KEY_END,
  KEY_ESCAPED,
  KIND_BOOLEAN,
  KIND_FLOAT,
  KIND_INT,
  KIND_STRING,
  LineReader,
  type ReadLinesOptions,
} from './line-reader.ts';
import { parseInteger } from './number-text.ts';

/**
 * All points of a body; tags sorted by key.
 *
 * @throws {AnalyticsError} ERR_LINE_SYNTAX at the first line that is not line protocol.
 */
export function decodePoints(body: Uint8Array, options: ReadLinesOptions = {}): LinePoint[] {
  const reader = new LineReader(body, options);
  const points: LinePoint[] = [];
  while (reader.next()) {
    if (reader.error !== undefined) throw new AnalyticsError('ERR_LINE_SYNTAX', reader.error);
    points.push(readPoint(reader));
  }
  return points;
}

/**
 * The reader's current line as an object.
 *
 * @throws {AnalyticsError} ERR_LINE_SYNTAX for a repeated tag key.
 */
export function readPoint(reader: LineReader): LinePoint {
  const fields: LineField[] = [];
  for (let i = 0; i < reader.fieldCount; i++) {
    fields.push({ key: fieldKey(reader, i), value: fieldValue(reader, i) });
  }
  return { ...readSeries(reader), fields, timeNs: reader.timeNs };
}

/**
 * Measurement and tags (sorted) of the reader's current line.
 *
 * @throws {AnalyticsError} ERR_LINE_SYNTAX for a repeated tag key.
 */
export function readSeries(reader: LineReader): { measurement: string; tags: LineTag[] } {
  const { bytes, seriesStart, measurementEnd, seriesEnd } = reader;
  const measurement = unescapeText(utf8(bytes, seriesStart, measurementEnd), /\\([, ])/g);
  const tags: LineTag[] = [];
  let at = measurementEnd;
  while (at < seriesEnd) {
    const keyEnd = scanKey(bytes, at + 1, seriesEnd);
    const valueEnd = scanKey(bytes, keyEnd + 1, seriesEnd);
    tags.push({
      key: unescapeText(utf8(bytes, at + 1, keyEnd), KEY_ESCAPES),
      value: unescapeText(utf8(bytes, keyEnd + 1, valueEnd), KEY_ESCAPES),
    });
    at = valueEnd;
  }
  tags.sort((a, b) => (a.key < b.key ? -1 : 1));
  for (let i = 1; i < tags.length; i++) {
    if (tags[i]!.key === tags[i - 1]!.key) {
      const message = `line ${reader.line}: expected each tag key once, got ${JSON.stringify(tags[i]!.key)} twice`;
      throw new AnalyticsError('ERR_LINE_SYNTAX', message);
    }
  }
  return { measurement, tags };
}

/** The key of field `i`, unescaped. */
export function fieldKey(reader: LineReader, i: number): string {
  return unescapeText(utf8(reader.bytes, reader.keyStarts[i]!, reader.keyEnds[i]!), KEY_ESCAPES);
}

/** The text of string field `i`, unescaped. */
export function fieldString(reader: LineReader, i: number): string {
  return unescapeText(
    utf8(reader.bytes, reader.valueStarts[i]!, reader.valueEnds[i]!),
    /\\(["\\])/g,
  );
}

function fieldValue(reader: LineReader, i: number): LineValue {
  const number = reader.numbers[i]!;
  switch (reader.kinds[i]) {
    case KIND_FLOAT:
      return { type: 'float', value: number };
    case KIND_BOOLEAN:
      return { type: 'boolean', value: number === 1 };
    case KIND_STRING:
      return { type: 'string', value: fieldString(reader, i) };
    default: {
      const value = parseInteger(reader.bytes, reader.valueStarts[i]!, reader.valueEnds[i]!)!;
      return { type: reader.kinds[i] === KIND_INT ? 'int' : 'uint', value };
    }
  }
}

const BACKSLASH = 92;
const KEY_ESCAPES = /\\([,= ])/g;

/** End of a tag key or value that the reader has accepted. */
function scanKey(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && KEY_END[bytes[at]!] === 0) {
    at += bytes[at] === BACKSLASH && at + 1 < end && KEY_ESCAPED[bytes[at + 1]!] === 1 ? 2 : 1;
  }
  return at;
}

function unescapeText(text: string, escapes: RegExp): string {
  return text.includes('\\') ? text.replace(escapes, '$1') : text;
}

function utf8(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
}
