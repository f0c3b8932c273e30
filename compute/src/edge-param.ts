/**
 * Kinds of parameters of edge functions: how each is written in the configuration, checked, and shown again.
 *
 * A value is the same in the program and in CBOR: a number, a text or a list. Durations are whole µs.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { nearestWord } from './nearest-word.ts';

export interface ParamKind<T extends CborValue> {
  /** For messages: what a valid value looks like. */
  readonly expects: string;
  /** The value that a word of the configuration stands for, undefined for none. Need not be in range. */
  parse(text: string): CborValue | undefined;
  /** The canonical word. */
  format(value: T): string;
  isValid(value: CborValue): value is T;
  /** For messages: the part of a word that is wrong, and the one that was probably meant. */
  mistake?(text: string): { readonly part: string; readonly nearest: string | undefined };
}

export interface Param<T extends CborValue = CborValue, Required extends boolean = boolean> {
  readonly kind: ParamKind<T>;
  /** Written before the value; without one the value stands at its place. */
  readonly keyword?: string;
  readonly required: Required;
  /** What a text means that leaves it out; for one at its place. */
  readonly fallback?: T;
}

/** Parameters in the order in which they are written; those with keywords come last. */
// biome-ignore lint/suspicious/noExplicitAny: kinds of any value; ParamsOf gives each its type again
export type ParamShape = Readonly<Record<string, Param<any>>>;

export type ParamsOf<S extends ParamShape> = {
  readonly [K in keyof S]: S[K] extends Param<infer T, infer R>
    ? R extends true
      ? T
      : T | undefined
    : never;
};

const UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000_000],
  ['h', 3_600_000_000],
  ['m', 60_000_000],
  ['s', 1_000_000],
  ['ms', 1000],
  ['us', 1],
];
const NUMBER = /^[+-]?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?$/;
const DURATION = /^(\d{1,16})(us|ms|s|m|h|d)$/;

/** A parameter at its place, which a text may leave out where there is a `fallback`. */
export function positional<T extends CborValue>(kind: ParamKind<T>, fallback?: T): Param<T, true> {
  return { kind, required: true, ...(fallback === undefined ? {} : { fallback }) };
}

/** A parameter behind its keyword, which may be absent. */
export function optional<T extends CborValue>(
  keyword: string,
  kind: ParamKind<T>,
): Param<T, false> {
  return { kind, keyword, required: false };
}

/** A duration in whole µs, such as `1m`, of at least `min` and at most `max`. */
export function duration(min: string, max: string): ParamKind<number> {
  const from = parseDuration(min)!;
  const to = parseDuration(max)!;
  return {
    expects: `a duration from ${min} to ${max}, such as 10s, 1m or 1h`,
    parse: parseDuration,
    format: formatDuration,
    isValid: (value): value is number => isInteger(value) && value >= from && value <= to,
  };
}

/** A number within ±`max`; above zero with `positive`. */
export function number(max: number, sign: 'any' | 'positive' = 'any'): ParamKind<number> {
  return {
    expects: sign === 'positive' ? `a number above 0 and up to ${max}` : `a number within ±${max}`,
    parse: parseNumber,
    format: String,
    isValid: (value): value is number =>
      isNumber(value) && Math.abs(value) <= max && (sign === 'any' || value > 0),
  };
}

/** A power of two. */
export function powerOfTwo(min: number, max: number): ParamKind<number> {
  return {
    expects: `a power of two from ${min} to ${max}`,
    parse: parseNumber,
    format: String,
    isValid: (value): value is number =>
      isInteger(value) && value >= min && value <= max && (value & (value - 1)) === 0,
  };
}

/** One of a few words. */
export function choice<const W extends string>(...words: readonly W[]): ParamKind<W> {
  return {
    expects: words.join(' or '),
    parse: (text) => text,
    format: (value) => value,
    isValid: (value): value is W => words.some((word) => word === value),
    mistake: (text) => ({ part: text, nearest: nearestWord(text, words) }),
  };
}

/** One to `max` different words with commas between them; results come in their order. */
export function words(
  expects: string,
  {
    max,
    isWord,
    known = [],
    synonyms,
  }: {
    readonly max: number;
    readonly isWord: (word: string) => boolean;
    /** For messages: words that may be meant. */
    readonly known?: readonly string[];
    readonly synonyms?: ReadonlyMap<string, string>;
  },
): ParamKind<readonly string[]> {
  return {
    expects: `${expects}; 1 to ${max}, with commas and no spaces`,
    parse: (text) => text.split(','),
    format: (value) => value.join(','),
    mistake(text) {
      const part = text.split(',').find((word) => word !== '' && !isWord(word));
      const nearest = part && (synonyms?.get(part) ?? nearestWord(part, known));
      return { part: part ?? text, nearest };
    },
    isValid: (value): value is readonly string[] =>
      Array.isArray(value) &&
      value.length >= 1 &&
      value.length <= max &&
      new Set(value).size === value.length &&
      value.every((word) => typeof word === 'string' && isWord(word)),
  };
}

/** A finite number from a decimal text; −0 is 0. */
export function parseNumber(text: string): number | undefined {
  if (!NUMBER.test(text)) return undefined;
  const value = Number(text) + 0;
  return Number.isFinite(value) ? value : undefined;
}

/** Whole µs in the largest unit that divides them. */
export function formatDuration(us: number): string {
  const [unit, size] = UNITS.find(([, each]) => us % each === 0 && us > 0) ?? ['us', 1];
  return `${us / size}${unit}`;
}

function parseDuration(text: string): number | undefined {
  const [, digits, unit] = DURATION.exec(text) ?? [];
  const size = UNITS.find(([name]) => name === unit)?.[1];
  return size === undefined ? undefined : Number(digits) * size;
}

function isNumber(value: CborValue): value is number {
  return typeof value === 'number' && Number.isFinite(value) && !Object.is(value, -0);
}

function isInteger(value: CborValue): value is number {
  return isNumber(value) && Number.isSafeInteger(value);
}
