/**
 * SenML in CBOR (RFC 8428 section 6, application/senml+cbor): the plain decoder, and the encoder.
 *
 * The decoder takes any order of keys and any length form, unless `strict` asks for core deterministic encoding.
 * Numbers are integers, decimal fractions (tag 4) or floats; bignums, bigfloats, NaN and infinities are refused
 * (telemetry.md 1.7). Keys are the integers of table 4, or texts for extensions; a known label as text is refused.
 */

import { type CborValue, decode, encode, Float, Tagged } from './cbor.ts';
import { MAX_EXACT } from './decimal.ts';
import { ProtocolError } from './errors.ts';
import {
  checkRecord,
  checkUnknownLabel,
  malformed,
  SENML_FIELD_BY_KEY,
  SENML_FIELD_BY_LABEL,
  SENML_FIELDS,
  type SenmlFieldKind,
  type SenmlNumber,
  type SenmlPack,
  type SenmlRecord,
} from './senml-fields.ts';
import { MAX_DECIMAL_EXPONENT } from './senml-json.ts';

/** Limits of payloads (envelope.md 1.3). */
export const MAX_PAYLOAD_DEPTH = 16;
export const MAX_PAYLOAD_ITEMS = 40_000;

/** Decimal fraction, [exponent, mantissa] (RFC 8949 section 3.4.4). */
export const DECIMAL_FRACTION_TAG: number = 4;

/**
 * Decodes a SenML CBOR pack. Base fields stay as they are; see `resolve`.
 *
 * @param options.strict - refuse what is not core deterministic (as in our envelopes); default false.
 * @throws {ProtocolError} ERR_SENML_MALFORMED, ERR_CBOR_MALFORMED, ERR_CBOR_LIMIT, ERR_CBOR_NOT_DETERMINISTIC.
 */
export function decodeSenmlCbor(
  bytes: Uint8Array,
  options: { readonly strict?: boolean } = {},
): SenmlPack {
  const value = decode(bytes, {
    strict: options.strict ?? false,
    keepFloats: true,
    maxDepth: MAX_PAYLOAD_DEPTH,
    maxItems: MAX_PAYLOAD_ITEMS,
  });
  if (!Array.isArray(value) || value.length === 0) {
    throw new ProtocolError(
      'ERR_SENML_MALFORMED',
      'senml: expected an array of at least one record',
    );
  }
  return value.map(recordFromCbor);
}

/**
 * The pack in deterministic CBOR. Numbers are written as they are: a decimal as integer or tag 4, a double as the
 * shortest exact float; `senmlNumber` makes the decimal of a double.
 */
export function encodeSenmlCbor(pack: readonly SenmlRecord[]): Uint8Array {
  return encode(pack.map(recordToCbor));
}

function recordFromCbor(value: CborValue, index: number): SenmlRecord {
  if (!(value instanceof Map)) throw malformed(index, 'expected a map');
  const record: Record<string, unknown> = {};
  for (const [key, content] of value as Map<CborValue, CborValue>) {
    const field = SENML_FIELD_BY_KEY.get(key);
    if (field !== undefined) {
      record[field.label] = fieldFromCbor(content, field.kind, `${index}: ${field.label}`);
    } else if (typeof key === 'string') {
      if (SENML_FIELD_BY_LABEL.has(key))
        throw malformed(index, `label ${key}: expected its integer`);
      checkUnknownLabel(key, index);
    } else if (typeof key !== 'number' && typeof key !== 'bigint') {
      throw malformed(index, 'labels: expected integers and texts');
    }
  }
  checkRecord(record, index);
  return record;
}

function fieldFromCbor(value: CborValue, kind: SenmlFieldKind, where: string): unknown {
  switch (kind) {
    case 'text':
      if (typeof value === 'string') return value;
      break;
    case 'boolean':
      if (typeof value === 'boolean') return value;
      break;
    case 'version':
      // "only an unsigned integer is allowed" (section 6); checkRecord does the range.
      if (typeof value === 'number') return value;
      break;
    case 'data':
      if (value instanceof Uint8Array) return value;
      break;
    case 'number': {
      const number = numberFromCbor(value);
      if (number !== undefined) return number;
      break;
    }
  }
  const expected = {
    text: 'a text string',
    boolean: 'true or false',
    version: 'an unsigned integer',
    number: 'an integer, a decimal fraction or a finite float',
    data: 'a byte string',
  }[kind];
  throw new ProtocolError('ERR_SENML_MALFORMED', `senml: record ${where}: expected ${expected}`);
}

/** A number of telemetry.md 1.7 from a CBOR item decoded with `keepFloats`; undefined when it is none. */
export function numberFromCbor(value: CborValue): SenmlNumber | undefined {
  if (typeof value === 'number' || typeof value === 'bigint')
    return { mantissa: value, exponent: 0 };
  if (value instanceof Float) return Number.isFinite(value.value) ? value.value : undefined;
  if (!(value instanceof Tagged) || value.tag !== DECIMAL_FRACTION_TAG) return undefined;
  if (!Array.isArray(value.value) || value.value.length !== 2) return undefined;
  const [exponent, mantissa] = value.value as readonly CborValue[];
  if (typeof exponent !== 'number' || Math.abs(exponent) > MAX_DECIMAL_EXPONENT) return undefined;
  if (typeof mantissa !== 'number' && typeof mantissa !== 'bigint') return undefined;
  if (mantissa > MAX_EXACT || mantissa < -MAX_EXACT) return undefined;
  return { mantissa, exponent };
}

/** The CBOR item of a SenML number. */
export function numberToCbor(value: SenmlNumber): CborValue {
  if (typeof value === 'number') return new Float(value);
  if (value.exponent === 0) return value.mantissa;
  return new Tagged(DECIMAL_FRACTION_TAG, [value.exponent, value.mantissa]);
}

function recordToCbor(record: SenmlRecord): CborValue {
  const map = new Map<CborValue, CborValue>();
  for (const { label, key, kind } of SENML_FIELDS) {
    const value = record[label];
    if (value === undefined) continue;
    map.set(key, kind === 'number' ? numberToCbor(value as SenmlNumber) : (value as CborValue));
  }
  return map;
}
