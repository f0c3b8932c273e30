/**
 * Readers for saved state: each takes a CBOR value and gives it typed and checked, or throws ERR_EDGE_STATE.
 * Numbers that are measured are written as `Float`, since CBOR integers end at 2^53.
 */

import { type CborValue, Float } from '@fieldproof/protocol/cbor';
import { MAX_MAGNITUDE } from './edge-function.ts';
import { ComputeError } from './errors.ts';

export type StateReader<T> = (value: CborValue) => T;

/** As state holds a measured number. */
export function saveNumber(value: number): Float {
  return new Float(value);
}

/** A finite number within ±`max`. */
export function readNumber(value: CborValue, max: number = MAX_MAGNITUDE): number {
  if (typeof value !== 'number' || !(Math.abs(value) <= max) || Object.is(value, -0)) {
    throw stateError('a finite number', value);
  }
  return value;
}

/** A whole number from `min` to `max`. */
export function readInteger(value: CborValue, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
    throw stateError(`an integer from ${min} to ${max}`, value);
  }
  return value;
}

/** A time in µs. */
export function readTime(value: CborValue): number {
  return readInteger(value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
}

/** null, or what `reader` gives. */
export function readNullable<T>(value: CborValue, reader: StateReader<T>): T | null {
  return value === null ? null : reader(value);
}

/** An array of `length` items, or of at most `max`. */
export function readArray(
  value: CborValue,
  length: number | { readonly max: number },
): readonly CborValue[] {
  const fits =
    Array.isArray(value) &&
    (typeof length === 'number' ? value.length === length : value.length <= length.max);
  if (!fits) {
    const expected = typeof length === 'number' ? `${length}` : `at most ${length.max}`;
    throw stateError(`an array of ${expected} items`, value);
  }
  return value;
}

/** An error that says what was expected and what was found. */
export function stateError(expected: string, value: CborValue): ComputeError {
  const got = Array.isArray(value)
    ? `an array of ${value.length}`
    : typeof value === 'number'
      ? String(value)
      : value === null
        ? 'null'
        : typeof value;
  return new ComputeError('ERR_EDGE_STATE', `edge state: expected ${expected}, got ${got}`);
}
