/**
 * SenML in JSON (RFC 8428 section 5, application/senml+json).
 *
 * Strict on types: a known label with a value of another type is refused. Where the RFC leaves room: padded or
 * non-canonical base64url in `vd` is refused ("with padding omitted"), a byte order mark is refused (RFC 8259
 * section 8.1), and of a repeated label the last counts, as in JSON.parse. A JSON number means the double nearest
 * to it and, for adding bases, the shortest decimal of that double.
 */

import { fromBase64url, toBase64url } from './bytes.ts';
import { type Decimal, MAX_EXACT, numberToDecimal, POWERS_OF_TEN } from './decimal.ts';
import { ProtocolError } from './errors.ts';
import {
  checkRecord,
  checkUnknownLabel,
  malformed,
  SENML_FIELD_BY_LABEL,
  SENML_FIELDS,
  type SenmlFieldKind,
  type SenmlNumber,
  type SenmlPack,
  type SenmlRecord,
} from './senml-fields.ts';

/** Exponents a decimal may have, both ways (telemetry.md 1.7). */
export const MAX_DECIMAL_EXPONENT = 18;

/**
 * Parses a SenML JSON text. Base fields stay as they are; see `resolve`.
 *
 * @throws {ProtocolError} ERR_SENML_MALFORMED, naming record and field.
 */
export function parseSenmlJson(text: string): SenmlPack {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ProtocolError('ERR_SENML_MALFORMED', 'senml: the text is not JSON', { cause });
  }
  return senmlFromJson(value);
}

/** As `parseSenmlJson`, from the value that JSON.parse gave. */
export function senmlFromJson(value: unknown): SenmlPack {
  if (!Array.isArray(value) || value.length === 0) {
    throw new ProtocolError(
      'ERR_SENML_MALFORMED',
      'senml: expected an array of at least one record',
    );
  }
  return value.map(recordFromJson);
}

/** The pack as SenML JSON text, one line. Accepts resolved records too. */
export function formatSenmlJson(pack: readonly SenmlRecord[]): string {
  return `[${pack.map(recordToJson).join(',')}]`;
}

/**
 * A double as the SenML number to write: its shortest decimal where that is an exact one (telemetry.md 1.7), else
 * the double itself.
 */
export function senmlNumber(value: number): SenmlNumber {
  const decimal = numberToDecimal(value);
  return decimal !== undefined && fits(decimal) ? shiftToInteger(decimal) : value;
}

function fits({ mantissa, exponent }: Decimal): boolean {
  return typeof mantissa === 'number' && Math.abs(exponent) <= MAX_DECIMAL_EXPONENT;
}

/** 12·10^2 as the integer 1200 where that is exact, since integers are shorter on the wire. */
function shiftToInteger(decimal: Decimal): Decimal {
  if (decimal.exponent <= 0) return decimal;
  const whole = Number(decimal.mantissa) * POWERS_OF_TEN[decimal.exponent]!;
  return Math.abs(whole) < MAX_EXACT ? { mantissa: whole, exponent: 0 } : decimal;
}

function recordFromJson(value: unknown, index: number): SenmlRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed(index, 'expected an object');
  }
  const record: Record<string, unknown> = {};
  for (const [label, content] of Object.entries(value)) {
    const field = SENML_FIELD_BY_LABEL.get(label);
    if (field === undefined) checkUnknownLabel(label, index);
    else record[label] = fieldFromJson(content, field.kind, `record ${index}: ${label}`);
  }
  checkRecord(record, index);
  return record;
}

function fieldFromJson(value: unknown, kind: SenmlFieldKind, where: string): unknown {
  switch (kind) {
    case 'text':
      if (typeof value === 'string') return value;
      break;
    case 'boolean':
      if (typeof value === 'boolean') return value;
      break;
    case 'version':
      if (typeof value === 'number') return value;
      break;
    case 'number':
      // JSON.parse reads 1e999 as Infinity.
      if (typeof value === 'number' && Number.isFinite(value)) return senmlNumber(value);
      break;
    case 'data':
      if (typeof value === 'string') {
        const bytes = dataFromBase64url(value);
        if (bytes !== undefined) return bytes;
      }
      break;
  }
  const expected = {
    text: 'a string',
    boolean: 'true or false',
    version: 'a number',
    number: 'a finite number',
    data: 'base64url without padding',
  }[kind];
  throw new ProtocolError(
    'ERR_SENML_MALFORMED',
    `senml: ${where}: expected ${expected}, got ${JSON.stringify(value)}`,
  );
}

/** Undefined for anything but canonical base64url without padding. */
function dataFromBase64url(text: string): Uint8Array | undefined {
  try {
    return fromBase64url(text);
  } catch {
    return undefined;
  }
}

function recordToJson(record: SenmlRecord): string {
  const parts: string[] = [];
  for (const { label } of SENML_FIELDS) {
    const value = record[label];
    if (value !== undefined) parts.push(`"${label}":${valueToJson(value)}`);
  }
  return `{${parts.join(',')}}`;
}

function valueToJson(value: string | boolean | Uint8Array | SenmlNumber): string {
  if (value instanceof Uint8Array) return `"${toBase64url(value)}"`;
  if (typeof value === 'object') return formatDecimal(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) {
      throw new ProtocolError('ERR_ARGUMENT', `senml: expected a finite number, got ${value}`);
    }
    // JSON.stringify drops the sign of -0.
    return Object.is(value, -0) ? '-0.0' : JSON.stringify(value);
  }
  return JSON.stringify(value);
}

function formatDecimal({ mantissa, exponent }: Decimal): string {
  if (exponent === 0) return `${mantissa}`;
  if (exponent > 0 || exponent < -MAX_DECIMAL_EXPONENT) return `${mantissa}e${exponent}`;
  const digits = `${mantissa < 0 ? -mantissa : mantissa}`.padStart(1 - exponent, '0');
  const point = digits.length + exponent;
  return `${mantissa < 0 ? '-' : ''}${digits.slice(0, point)}.${digits.slice(point)}`;
}
