/**
 * InfluxDB line protocol: the point, its limits and the encoder.
 *
 * One line is `measurement[,tag=value…] field=value[,…] [time]`. Escapes: `,` and space in a
 * measurement; `,` `=` and space in tag keys, tag values and field keys; `"` and backslash in a
 * string field. A name with a control character, or ending in a backslash, cannot be written so that
 * it reads back, and is refused: nothing a device says may begin a line of its own. The hot path for
 * whole tables is `table-lines.ts`, the reader `line-protocol-decode.ts`.
 *
 * Vectors: influxdata/line-protocol-corpus.
 */
import { AnalyticsError } from './errors.ts';

/** Unit of a timestamp. */
export type Precision = 's' | 'ms' | 'u' | 'ns';

/** Nanoseconds in one unit. */
export const NS_PER: Readonly<Record<Precision, bigint>> = {
  s: 1_000_000_000n,
  ms: 1_000_000n,
  u: 1_000n,
  ns: 1n,
};

/** Times are signed 64-bit nanoseconds. */
export const MIN_TIME_NS = -(2n ** 63n);
export const MAX_TIME_NS = 2n ** 63n - 1n;

/** A field value; `int` and `uint` are 64-bit and kept exact. */
export type LineValue =
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'int'; readonly value: bigint }
  | { readonly type: 'uint'; readonly value: bigint }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'boolean'; readonly value: boolean };

export interface LineTag {
  readonly key: string;
  readonly value: string;
}

export interface LineField {
  readonly key: string;
  readonly value: LineValue;
}

export interface LinePoint {
  readonly measurement: string;
  readonly tags: readonly LineTag[];
  readonly fields: readonly LineField[];
  /** Absent: the reader's own time counts. */
  readonly timeNs?: bigint;
}

/**
 * Whether `name` can be a measurement, tag key, tag value or field key: well-formed Unicode, not
 * empty, no control character, no backslash at the end (it would escape what follows).
 */
export function isLineName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return name !== '' && !/[\u0000-\u001f\u007f]|\\$/.test(name) && !LONE_SURROGATE.test(name);
}

/**
 * One line without its newline.
 *
 * @param point - tags in any order; they are written sorted by code unit.
 * @param options.precision - unit of the written time, towards zero; default ns.
 * @throws {AnalyticsError} ERR_LINE_ENCODE.
 */
export function encodePoint(
  point: LinePoint,
  options: { readonly precision?: Precision } = {},
): string {
  if (point.fields.length === 0) throw refused('fields', 'at least one', 'none');
  const fields = point.fields.map((field) => {
    checkName('field key', field.key);
    return `${escapeKey(field.key)}=${formatValue(field.key, field.value)}`;
  });
  const line = `${encodeSeriesKey(point.measurement, point.tags)} ${fields.join(',')}`;
  if (point.timeNs === undefined) return line;
  if (point.timeNs < MIN_TIME_NS || point.timeNs > MAX_TIME_NS) {
    throw refused('time', 'signed 64-bit nanoseconds', String(point.timeNs));
  }
  return `${line} ${point.timeNs / NS_PER[options.precision ?? 'ns']}`;
}

/**
 * `measurement,tag=value…` with the tags sorted: what identifies a series.
 *
 * @throws {AnalyticsError} ERR_LINE_ENCODE for names that cannot be written and repeated tag keys.
 */
export function encodeSeriesKey(measurement: string, tags: readonly LineTag[]): string {
  checkName('measurement', measurement);
  // A line that begins with '#' is a comment, and no escape prevents it.
  if (measurement.startsWith('#')) throw refused('measurement', 'no # in front', measurement);
  const sorted = tags.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  let text = escapeMeasurement(measurement);
  for (const [i, { key, value }] of sorted.entries()) {
    checkName('tag key', key);
    checkName(`tag value of ${JSON.stringify(key)}`, value);
    if (i > 0 && sorted[i - 1]!.key === key) throw refused('tag keys', 'each once', key);
    text += `,${escapeKey(key)}=${escapeKey(value)}`;
  }
  return text;
}

/** A measurement with `,` and space escaped. The name must satisfy {@link isLineName}. */
export function escapeMeasurement(name: string): string {
  return name.replace(/[, ]/g, '\\$&');
}

/** A tag key, tag value or field key with `,` `=` and space escaped. */
export function escapeKey(name: string): string {
  return name.replace(/[,= ]/g, '\\$&');
}

/** A string field with its quotes. Newlines stay raw: inside quotes they are data. */
export function quoteString(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

function checkName(what: string, name: string): void {
  if (isLineName(name)) return;
  throw refused(what, 'text without control characters or a final backslash', JSON.stringify(name));
}

function formatValue(key: string, value: LineValue): string {
  switch (value.type) {
    case 'float':
      if (!Number.isFinite(value.value)) {
        throw refused(`field ${JSON.stringify(key)}`, 'a finite number', String(value.value));
      }
      return formatFloat(value.value);
    case 'int':
      if (BigInt.asIntN(64, value.value) !== value.value) {
        throw refused(`field ${JSON.stringify(key)}`, 'a signed 64-bit integer', `${value.value}`);
      }
      return `${value.value}i`;
    case 'uint':
      if (BigInt.asUintN(64, value.value) !== value.value) {
        throw refused(
          `field ${JSON.stringify(key)}`,
          'an unsigned 64-bit integer',
          `${value.value}`,
        );
      }
      return `${value.value}u`;
    case 'string':
      if (LONE_SURROGATE.test(value.value)) {
        throw refused(`field ${JSON.stringify(key)}`, 'well-formed Unicode', 'a lone surrogate');
      }
      return quoteString(value.value);
    case 'boolean':
      return value.value ? 'true' : 'false';
  }
}

/** Shortest digits that read back, laid out as the corpus has them (Go's %g). */
function formatFloat(value: number): string {
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const match = /^(-?[\d.]+)e([+-])(\d+)$/.exec(value.toExponential())!;
  const [, mantissa, sign, digits] = match;
  const exponent = Number(`${sign}${digits}`);
  // Between these, JavaScript's own text has no exponent.
  if (exponent >= -4 && exponent < 6) return String(value);
  return `${mantissa}e${sign}${digits!.padStart(2, '0')}`;
}

function refused(what: string, expected: string, got: string): AnalyticsError {
  return new AnalyticsError('ERR_LINE_ENCODE', `${what}: expected ${expected}, got ${got}`);
}
