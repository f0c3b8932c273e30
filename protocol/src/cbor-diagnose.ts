/**
 * CBOR diagnostic notation (RFC 8949 section 8), for documents, messages and vectors.
 *
 * Floats given as `Float` always show a point or an exponent, so decode with `keepFloats` to see what is there.
 * Bignums show as integers where they are in preferred form. Leaves out encoding indicators (section 8.1).
 */

import { toHex } from './bytes.ts';
import { bignumValue, type CborValue, Float, Simple, Tagged } from './cbor-values.ts';
import { ProtocolError } from './errors.ts';

/** The value on one line, e.g. `{1: [h'0102', "text", 1.5], "a": 18(null)}`. */
export function diagnose(value: CborValue): string {
  if (value === null || value === undefined || typeof value === 'boolean') return String(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) && !Object.is(value, -0) ? String(value) : float(value);
  }
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Uint8Array) return `h'${toHex(value)}'`;
  if (value instanceof Float) return float(value.value);
  if (value instanceof Simple) return `simple(${value.value})`;
  if (Array.isArray(value)) return `[${value.map(diagnose).join(', ')}]`;
  if (value instanceof Tagged) return tagged(value);
  if (value instanceof Map) return pairs([...value]);
  if (typeof value === 'object') {
    return pairs(Object.entries(value).filter(([, item]) => item !== undefined));
  }
  throw new ProtocolError('ERR_ARGUMENT', `cbor: cannot show a ${typeof value}`);
}

function pairs(entries: readonly (readonly [CborValue, CborValue])[]): string {
  return `{${entries.map(([key, item]) => `${diagnose(key)}: ${diagnose(item)}`).join(', ')}}`;
}

function tagged({ tag, value }: Tagged): string {
  if (
    (tag === 2 || tag === 3) &&
    value instanceof Uint8Array &&
    value.length > 8 &&
    value[0] !== 0
  ) {
    return String(bignumValue(tag, value));
  }
  return `${tag}(${diagnose(value)})`;
}

function float(value: number): string {
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  if (!Number.isFinite(value) || text.includes('.')) return text;
  const [digits, exponent] = text.split('e');
  return exponent === undefined ? `${digits}.0` : `${digits}.0e${exponent}`;
}
