/**
 * Decoders for the shapes of messages: from a decoded CBOR value to a typed, checked value.
 * Maps ignore unknown keys and tuples ignore items past their end (docs/spec/topics.md section 4).
 */

import type { CborValue } from './cbor.ts';
import { ProtocolError } from './errors.ts';

/** Checks `value` and returns it typed; `path` names it in the error. @throws ERR_MESSAGE_MALFORMED */
export type Decoder<T> = (value: CborValue, path: string) => T;

export type Decoded<D> = D extends Decoder<infer T> ? T : never;

interface OptionalDecoder<T> {
  readonly optional: Decoder<T>;
}

type Shape = Readonly<Record<string, Decoder<unknown> | OptionalDecoder<unknown>>>;

type ShapeOf<S extends Shape> = {
  readonly [K in keyof S as S[K] extends Decoder<unknown> ? K : never]: S[K] extends Decoder<
    infer T
  >
    ? T
    : never;
} & {
  readonly [K in keyof S as S[K] extends Decoder<unknown>
    ? never
    : K]?: S[K] extends OptionalDecoder<infer T> ? T : never;
};

/** Unsigned integer up to `max`, 2^53 − 1 at most. */
export function uint(max = Number.MAX_SAFE_INTEGER): Decoder<number> {
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) {
      throw mismatch(path, `an unsigned integer up to ${max}`, value);
    }
    return value;
  };
}

/** Integer in the safe range. */
export const integer: Decoder<number> = (value, path) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
    throw mismatch(path, 'an integer', value);
  }
  return value;
};

/** Finite number. */
export const finite: Decoder<number> = (value, path) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw mismatch(path, 'a finite number', value);
  }
  return value;
};

export const bool: Decoder<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw mismatch(path, 'true or false', value);
  return value;
};

/** Text of at most `max` UTF-16 units that matches `pattern`. */
export function text(max: number, pattern?: RegExp): Decoder<string> {
  return (value, path) => {
    if (typeof value !== 'string') throw mismatch(path, 'text', value);
    if (value.length > max) {
      throw malformed(`${path}: expected at most ${max} characters, got ${value.length}`);
    }
    if (pattern && !pattern.test(value)) {
      throw malformed(`${path}: expected text like ${pattern.source}`);
    }
    return value;
  };
}

/** Byte string; of exactly `length` bytes when a number is given, else of at most `max`. */
export function bytes(length: number | { readonly max: number }): Decoder<Uint8Array> {
  return (value, path) => {
    if (!(value instanceof Uint8Array)) throw mismatch(path, 'a byte string', value);
    const ok = typeof length === 'number' ? value.length === length : value.length <= length.max;
    if (!ok) {
      const expected = typeof length === 'number' ? `${length}` : `at most ${length.max}`;
      throw malformed(`${path}: expected ${expected} bytes, got ${value.length}`);
    }
    return value;
  };
}

export function nullable<T>(item: Decoder<T>): Decoder<T | null> {
  return (value, path) => (value === null ? null : item(value, path));
}

/** A key of a map that may be absent. */
export function optional<T>(item: Decoder<T>): OptionalDecoder<T> {
  return { optional: item };
}

export function array<T>(item: Decoder<T>, max: number): Decoder<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw mismatch(path, 'an array', value);
    if (value.length > max) {
      throw malformed(`${path}: expected at most ${max} items, got ${value.length}`);
    }
    return value.map((entry, index) => item(entry, `${path}[${index}]`));
  };
}

/** An array with at least the items given, each of its own type. */
export function tuple<T extends readonly unknown[]>(
  ...items: { readonly [K in keyof T]: Decoder<T[K]> }
): Decoder<T> {
  return (value, path) => {
    if (!Array.isArray(value)) throw mismatch(path, 'an array', value);
    if (value.length < items.length) {
      throw malformed(`${path}: expected ${items.length} items, got ${value.length}`);
    }
    return items.map((item, index) => item(value[index], `${path}[${index}]`)) as unknown as T;
  };
}

/** A map with text keys of the given shape. */
export function record<S extends Shape>(shape: S): Decoder<ShapeOf<S>> {
  const keys = Object.entries(shape);
  return (value, path) => {
    if (!(value instanceof Map)) throw mismatch(path, 'a map', value);
    const result: Record<string, unknown> = {};
    for (const [key, decoder] of keys) {
      const at = path === '' ? key : `${path}.${key}`;
      const present = value.has(key);
      if (typeof decoder === 'function') {
        if (!present) throw malformed(`${at}: expected a value, got none`);
        result[key] = decoder(value.get(key), at);
      } else if (present) {
        result[key] = decoder.optional(value.get(key), at);
      }
    }
    return result as ShapeOf<S>;
  };
}

/** A map from any text key to items of one type. */
export function dictionary<T>(item: Decoder<T>, max: number): Decoder<Readonly<Record<string, T>>> {
  return (value, path) => {
    if (!(value instanceof Map)) throw mismatch(path, 'a map', value);
    if (value.size > max)
      throw malformed(`${path}: expected at most ${max} keys, got ${value.size}`);
    const result: [string, T][] = [];
    for (const [key, entry] of value) {
      if (typeof key !== 'string') throw malformed(`${path}: expected text keys`);
      result.push([key, item(entry, `${path}.${key}`)]);
    }
    return Object.fromEntries(result);
  };
}

/** Any CBOR value, unchecked: for parts that a later layer reads. */
export const anything: Decoder<CborValue> = (value) => value;

function mismatch(path: string, expected: string, value: CborValue): ProtocolError {
  return malformed(`${path || 'payload'}: expected ${expected}, got ${nameOf(value)}`);
}

function malformed(message: string): ProtocolError {
  return new ProtocolError('ERR_MESSAGE_MALFORMED', message);
}

function nameOf(value: CborValue): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Map) return 'a map';
  return typeof value;
}
