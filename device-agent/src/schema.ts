/**
 * A small checker for configuration: every problem is collected with its path, unknown keys are refused,
 * defaults are filled in.
 */

/** What is wrong with one key, as one sentence: `outbox.maxBytes: expected …, got …`. */
export type Problem = string;

/** Checks `value` (undefined where absent), reports to `problems`, returns the value to use. */
export type Check<T> = (value: unknown, path: string, problems: Problem[]) => T;

export type Checks<T> = { readonly [K in keyof T]: Check<T[K]> };

/** A whole number within limits; `byDefault` null makes it required. Texts of digits are taken too: environment and flags are texts. */
export function integer(options: {
  readonly min: number;
  readonly max: number;
  readonly byDefault: number | null;
}): Check<number> {
  const { min, max, byDefault } = options;
  return (value, path, problems) => {
    if (value === undefined && byDefault !== null) return byDefault;
    const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
    if (typeof number === 'number' && Number.isInteger(number) && number >= min && number <= max) {
      return number;
    }
    problems.push(`${path}: expected a whole number from ${min} to ${max}, got ${shown(value)}`);
    return byDefault ?? min;
  };
}

/** A finite number greater than `above`; `byDefault` undefined makes it optional. */
export function numberAbove<D extends number | undefined>(
  above: number,
  byDefault: D,
): Check<number | D> {
  return (value, path, problems) => {
    if (value === undefined) return byDefault;
    const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
    if (typeof number === 'number' && Number.isFinite(number) && number > above) return number;
    const limit = above === Number.NEGATIVE_INFINITY ? '' : ` above ${above}`;
    problems.push(`${path}: expected a number${limit}, got ${shown(value)}`);
    return byDefault;
  };
}

/** true or false. */
export function flag(byDefault: boolean): Check<boolean> {
  return (value, path, problems) => {
    if (value === undefined) return byDefault;
    if (value === true || value === 'true') return true;
    if (value === false || value === 'false') return false;
    problems.push(`${path}: expected true or false, got ${shown(value)}`);
    return byDefault;
  };
}

/** One of a list of words. */
export function oneOf<const T extends string>(words: readonly T[], byDefault: T): Check<T> {
  return (value, path, problems) => {
    if (value === undefined) return byDefault;
    const word = words.find((candidate) => candidate === value);
    if (word !== undefined) return word;
    problems.push(`${path}: expected ${words.join(' or ')}, got ${shown(value)}`);
    return byDefault;
  };
}

/** A text of a given form; `byDefault` undefined makes it optional, null makes it required. */
export function text<D extends string | undefined | null>(options: {
  readonly pattern?: RegExp;
  readonly is?: string;
  readonly byDefault: D;
}): Check<D extends undefined ? string | undefined : string> {
  type Result = D extends undefined ? string | undefined : string;
  const { pattern = /^\P{Cc}{1,1024}$/u, is = 'a text', byDefault } = options;
  const fallback = (byDefault === null ? '' : byDefault) as Result;
  return (value, path, problems) => {
    if (value === undefined && byDefault !== null) return fallback;
    if (typeof value === 'string' && pattern.test(value)) return value as Result;
    problems.push(`${path}: expected ${is}, got ${shown(value)}`);
    return fallback;
  };
}

/** A list; absent means empty. */
export function list<T>(
  item: Check<T>,
  options: { readonly min?: number; readonly max: number },
): Check<readonly T[]> {
  const { min = 0 } = options;
  return (given, path, problems) => {
    const value = given ?? [];
    if (!Array.isArray(value)) {
      problems.push(`${path}: expected a list, got ${shown(value)}`);
      return [];
    }
    if (value.length < min) {
      problems.push(`${path}: expected at least ${min}, got ${value.length}`);
    }
    if (value.length > options.max) {
      problems.push(`${path}: expected at most ${options.max} items, got ${value.length}`);
    }
    return value.slice(0, options.max).map((each, at) => item(each, `${path}[${at}]`, problems));
  };
}

/** A map of known keys; absent means all defaults. */
export function section<T extends object>(checks: Checks<T>): Check<T> {
  return (value, path, problems) => {
    const given = value ?? {};
    const prefix = path === '' ? '' : `${path}.`;
    const result: Record<string, unknown> = {};
    if (!isMap(given)) {
      problems.push(`${path || 'configuration'}: expected keys and values, got ${shown(value)}`);
    }
    const map = isMap(given) ? given : {};
    for (const [key, check] of Object.entries<Check<unknown>>(checks)) {
      const checked = check(map[key] ?? undefined, prefix + key, problems);
      if (checked !== undefined) result[key] = checked;
    }
    for (const key of Object.keys(map)) {
      if (Object.hasOwn(checks, key)) continue;
      problems.push(
        `${prefix}${key}: unknown key, expected one of ${Object.keys(checks).join(', ')}`,
      );
    }
    return result as T;
  };
}

/** Whether a value from a YAML or JSON parser is a map. */
export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value as messages show it, short. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  const json = JSON.stringify(value) ?? String(value);
  return json.length > 60 ? `${json.slice(0, 57)}…` : json;
}
