/** Checks of a document that people write: every mistake is found, with its place, what was expected and what is there. */

/** Reads a value; pushes `path: expected …, got …` for each mistake, and then returns something of the type. */
export type Shape<T> = (value: unknown, path: string, problems: string[]) => T;

export type Shaped<S> = S extends Shape<infer T> ? T : never;

export function uint({ min = 0, max = Number.MAX_SAFE_INTEGER } = {}): Shape<number> {
  return (value, path, problems) => {
    if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) {
      return value as number;
    }
    problems.push(mistake(path, `a whole number from ${min} to ${max}`, value));
    return min;
  };
}

/** A finite number; above 0 where asked for. */
export function number({ above }: { readonly above?: number } = {}): Shape<number> {
  return (value, path, problems) => {
    if (typeof value === 'number' && Number.isFinite(value) && !(value <= (above ?? -Infinity))) {
      return value;
    }
    problems.push(mistake(path, `a number${above === undefined ? '' : ` above ${above}`}`, value));
    return 1;
  };
}

export function text({
  min = 0,
  max,
}: {
  readonly min?: number;
  readonly max: number;
}): Shape<string> {
  return (value, path, problems) => {
    if (typeof value === 'string' && value.length >= min && value.length <= max) return value;
    problems.push(mistake(path, `text of ${min} to ${max} characters`, value));
    return '';
  };
}

export function oneOf<const T extends string>(words: readonly T[]): Shape<T> {
  return (value, path, problems) => {
    const found = words.find((word) => word === value);
    if (found === undefined) problems.push(mistake(path, `one of ${words.join(', ')}`, value));
    return found ?? words[0]!;
  };
}

export function bytes(length: number): Shape<Uint8Array> {
  return (value, path, problems) => {
    if (value instanceof Uint8Array && value.length === length) return value;
    problems.push(mistake(path, `${length} bytes`, value));
    return new Uint8Array(length);
  };
}

export function orNull<T>(shape: Shape<T>): Shape<T | null> {
  return (value, path, problems) => (value === null ? null : shape(value, path, problems));
}

export function list<T>(
  item: Shape<T>,
  { min = 0, max }: { readonly min?: number; readonly max: number },
): Shape<readonly T[]> {
  return (value, path, problems) => {
    if (!Array.isArray(value) || value.length < min || value.length > max) {
      problems.push(mistake(path, `a list of ${min} to ${max}`, value));
      return [];
    }
    return value.map((each, at) => item(each, `${path}[${at}]`, problems));
  };
}

export function pair<A, B>(first: Shape<A>, second: Shape<B>): Shape<readonly [A, B]> {
  return (value, path, problems) => {
    const items = Array.isArray(value) && value.length === 2 ? value : [];
    if (items.length === 0) problems.push(mistake(path, 'a list of two', value));
    const quiet = items.length === 0 ? [] : problems;
    return [first(items[0], `${path}[0]`, quiet), second(items[1], `${path}[1]`, quiet)];
  };
}

/** A map whose keys people choose. */
export function table<T>(
  item: Shape<T>,
  keys: {
    readonly expected: string;
    readonly allows: (key: string) => boolean;
    readonly max: number;
  },
): Shape<Readonly<Record<string, T>>> {
  return (value, path, problems) => {
    const entries = entriesOf(value);
    if (entries === undefined || entries.length > keys.max) {
      problems.push(mistake(path, `a map of at most ${keys.max}`, value));
      return {};
    }
    return Object.fromEntries(
      entries.map(([key, each]) => {
        const place = join(path, key);
        if (!keys.allows(key)) problems.push(mistake(place, keys.expected, key));
        return [key, item(each, place, problems)];
      }),
    );
  };
}

type Fields = Readonly<Record<string, Shape<unknown>>>;
type Whole<F extends Fields> = { readonly [K in keyof F]: Shaped<F[K]> };

/** A map with just these keys; those of `optional` may be absent. */
export function record<F extends Fields, O extends Fields = Record<never, never>>(
  fields: F,
  optional?: O,
): Shape<Whole<F> & Partial<Whole<O>>> {
  const all: Fields = { ...fields, ...optional };
  return (value, path, problems) => {
    const entries = entriesOf(value);
    if (entries === undefined) {
      problems.push(mistake(path, `a map of ${Object.keys(all).join(', ')}`, value));
    }
    const given = new Map(entries);
    for (const key of given.keys()) {
      if (Object.hasOwn(all, key)) continue;
      problems.push(`${join(path, key)}: unknown, expected ${Object.keys(all).join(', ')}`);
    }
    const found: [string, unknown][] = [];
    for (const [key, shape] of Object.entries(all)) {
      if (!given.has(key) && (!Object.hasOwn(fields, key) || entries === undefined)) continue;
      found.push([key, shape(given.get(key), join(path, key), problems)]);
    }
    return Object.fromEntries(found) as Whole<F> & Partial<Whole<O>>;
  };
}

function entriesOf(value: unknown): [string, unknown][] | undefined {
  if (value instanceof Map) return [...value] as [string, unknown][];
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value) || value instanceof Uint8Array) return undefined;
  return Object.entries(value);
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

function mistake(path: string, expected: string, value: unknown): string {
  return `${path === '' ? 'policy' : path}: expected ${expected}, got ${shown(value)}`;
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'a map';
  const said = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return said.length > 60 ? `${said.slice(0, 60)}…` : said;
}
