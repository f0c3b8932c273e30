/**
 * The fields that log entries are made of: for each what is allowed, and how it reads and writes as CBOR.
 * `log-entries.ts` puts them together.
 */

import type { CborValue } from './cbor.ts';

/** The greatest integer that a log entry's amounts may have either side of zero: 2^63 - 1. */
export const MAX_MICRO_CREDITS = 2n ** 63n - 1n;

/** One field. `read` and `write` return undefined for what is not allowed. */
export interface Field<T> {
  /** What is allowed, for messages. */
  readonly expected: string;
  readonly read: (value: CborValue) => T | undefined;
  readonly write: (value: unknown) => CborValue | undefined;
}

/** The value type of a field. */
export type FieldValue<F> = F extends Field<infer T> ? T : never;

/** A whole number from `min`, by default 0, to `max`, by default 2^53 - 1. */
export function uint(max = Number.MAX_SAFE_INTEGER, min = 0): Field<number> {
  return same(`an integer from ${min} to ${max}`, (value): value is number => {
    return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
  });
}

/** A whole number within ±(2^53 - 1). */
export const int: Field<number> = same('a safe integer', (value): value is number =>
  Number.isSafeInteger(value),
);

/** A byte string of exactly that length, or of any from 1 up when no length is given. */
export function bytes(length?: number): Field<Uint8Array> {
  const expected = length === undefined ? 'a byte string, not empty' : `${length} bytes`;
  return same(expected, (value): value is Uint8Array => {
    if (!(value instanceof Uint8Array)) return false;
    return length === undefined ? value.length > 0 : value.length === length;
  });
}

/** A text, not empty. */
export const text: Field<string> = same(
  'a text, not empty',
  (value): value is string => typeof value === 'string' && value !== '',
);

/** A map with text keys. */
export const textMap: Field<ReadonlyMap<string, CborValue>> = same(
  'a map with text keys',
  (value): value is ReadonlyMap<string, CborValue> =>
    value instanceof Map && [...value.keys()].every((key) => typeof key === 'string'),
);

/** An amount of micro-credits: always a bigint outside CBOR. */
export const microCredits: Field<bigint> = {
  expected: 'an integer within ±(2^63 - 1)',
  read: (value) =>
    typeof value === 'bigint' || Number.isSafeInteger(value)
      ? amount(BigInt(value as number))
      : undefined,
  write: (value) => (typeof value === 'bigint' ? amount(value) : undefined),
};

/** That field or null. */
export function orNull<T>(field: Field<T>): Field<T | null> {
  return {
    expected: `${field.expected}, or null`,
    read: (value) => (value === null ? null : field.read(value)),
    write: (value) => (value === null ? null : field.write(value)),
  };
}

/** One or more pairs. */
export function pairs<A, B>(
  first: Field<A>,
  second: Field<B>,
): Field<readonly (readonly [A, B])[]> {
  return {
    expected: `one or more pairs of ${first.expected} and ${second.expected}`,
    read: (value) => eachPair(value, first.read, second.read),
    write: (value) => eachPair(value, first.write, second.write),
  };
}

function eachPair<I, A, B>(
  value: I,
  first: (item: CborValue) => A | undefined,
  second: (item: CborValue) => B | undefined,
): (readonly [A, B])[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const result: (readonly [A, B])[] = [];
  for (const pair of value as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    const a = first(pair[0]);
    const b = second(pair[1]);
    if (a === undefined || b === undefined) return undefined;
    result.push([a, b]);
  }
  return result;
}

function amount(value: bigint): bigint | undefined {
  return value >= -MAX_MICRO_CREDITS && value <= MAX_MICRO_CREDITS ? value : undefined;
}

/** A field that is the same in CBOR and outside. */
function same<T>(expected: string, isAllowed: (value: unknown) => value is T): Field<T> {
  return {
    expected,
    read: (value) => (isAllowed(value) ? value : undefined),
    write: (value) => (isAllowed(value) ? (value as CborValue) : undefined),
  };
}
