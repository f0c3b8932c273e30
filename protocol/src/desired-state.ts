/**
 * What an operator wants of a device: payload of kind `config`, type `desired-state`. docs/spec/remote-config.md section 1.
 *
 * Who issues and who applies use the same check, which finds every mistake, not the first one. What a device
 * allows is the device's affair and judged there.
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { type CborValue, decode, encode, Float } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { isMetric, isProfile } from './readings-sink.ts';
import { cutText } from './well-formed.ts';

export const DESIRED_STATE_TYPE = 'desired-state';
/** Protects the device's memory and its card. */
export const MAX_DESIRED_STATE_BYTES = 16_384;
export const MAX_WANTED = 256;
export const MAX_INTERVALS = 64;
export const MAX_EDGE_STREAMS = 64;
export const MAX_EDGE_TEXT = 1000;
export const INTERVAL_LIMITS = { min: 100, max: 86_400_000 } as const;
export const SEAL_LIMITS = { min: 100, max: 600_000 } as const;
export const HEARTBEAT_LIMITS = { min: 1000, max: 55_000 } as const;
/** From `issued` to `expires` at most: ten years. */
export const MAX_LIFE_MS = 3660 * 86_400_000;
export const CONFIG_ID_BYTES = 16;

/** What the operator may ask for. Everything that is absent is as the device's owner has it. */
export interface Wishes {
  /** Profiles and `profile/metric` that are wanted; others are not sampled, or not kept. */
  readonly wanted?: readonly string[];
  /** Profile → ms between two samples. */
  readonly intervals?: Readonly<Record<string, number>>;
  /** `profile/metric` → definition of an edge function (docs/spec/edge-functions.md 3.2). */
  readonly edge?: Readonly<Record<string, string>>;
  readonly preferences?: {
    /** Longest time that readings wait for being sealed, ms. */
    readonly sealEveryMs?: number;
    /** Time between two signs of life, ms. */
    readonly heartbeatMs?: number;
  };
}

export interface DesiredState extends Wishes {
  /** 16 bytes. */
  readonly id: Uint8Array;
  /** Unix ms. */
  readonly issued: number;
  /** Ascends for each device. */
  readonly version: number;
  /** Unix ms; from then on the device is as its owner has it. */
  readonly expires: number;
}

/** One mistake: `intervals.air: expected …, got …`. */
export interface WishProblem {
  readonly path: string;
  readonly expected: string;
  readonly got: string;
}

export type CheckedState =
  | { readonly state: DesiredState; readonly problems: readonly [] }
  | { readonly state: undefined; readonly problems: readonly WishProblem[] };

type Problems = WishProblem[];
type Read<T> = (value: CborValue | undefined, path: string, problems: Problems) => T | undefined;

/** `intervals.air: expected …, got …` */
export function formatWishProblem({ path, expected, got }: WishProblem): string {
  return `${path}: expected ${expected}, got ${got}`;
}

/** The payload of a desired state. @throws {ProtocolError} ERR_CONFIG_INVALID with all mistakes. */
export function encodeDesiredState(state: DesiredState): Uint8Array {
  const payload = encode({ type: DESIRED_STATE_TYPE, ...state } as unknown as CborValue);
  const { problems } = checkDesiredState(payload);
  if (problems.length > 0) {
    throw new ProtocolError('ERR_CONFIG_INVALID', problems.map(formatWishProblem).join('; '));
  }
  return payload;
}

/** SHA-256 of the payload: what reports name it by. Section 1.3. */
export function digestOfState(payload: Uint8Array): Uint8Array {
  return sha256(payload);
}

/**
 * Reads a payload and finds all its mistakes. Keys that are not known are mistakes: what is asked for and not done
 * must not look done.
 *
 * @throws {ProtocolError} ERR_CBOR_… for bytes that are no deterministic CBOR.
 */
export function checkDesiredState(payload: Uint8Array): CheckedState {
  if (payload.length > MAX_DESIRED_STATE_BYTES) {
    return failed([problem('', `at most ${MAX_DESIRED_STATE_BYTES} bytes`, `${payload.length}`)]);
  }
  const value = decode(payload, { maxDepth: 8, maxItems: 4096, keepFloats: true });
  const problems: Problems = [];
  const state = stateOf(value, problems);
  return state === undefined || problems.length > 0 ? failed(problems) : { state, problems: [] };
}

/** The mistakes in wishes that are plain JSON, as a person writes them. */
export function checkWishes(wishes: unknown): readonly WishProblem[] {
  const problems: Problems = [];
  wishesOf(mapOf(wishes), problems);
  return problems;
}

/** Head of a state whose rest may be wrong: what a refusal names. */
export function headOfState(payload: Uint8Array): { id?: Uint8Array; version?: number } {
  try {
    const value = decode(payload, { maxDepth: 8, maxItems: 4096, keepFloats: true });
    if (!(value instanceof Map)) return {};
    const [id, version] = [value.get('id'), value.get('version')];
    return {
      ...(id instanceof Uint8Array && id.length === CONFIG_ID_BYTES ? { id } : {}),
      ...(typeof version === 'number' && version >= 1 ? { version } : {}),
    };
  } catch {
    return {};
  }
}

/** Whether a text names a profile, or a metric of one. */
export function isSelector(text: string): boolean {
  const at = text.indexOf('/');
  return at < 0 ? isProfile(text) : isStream(text);
}

function isStream(text: string): boolean {
  const at = text.indexOf('/');
  return at > 0 && isProfile(text.slice(0, at)) && isMetric(text.slice(at + 1));
}

const HEAD_KEYS = ['type', 'id', 'issued', 'version', 'expires'];
const WISH_KEYS = ['wanted', 'intervals', 'edge', 'preferences'];

function stateOf(value: CborValue, problems: Problems): DesiredState | undefined {
  if (!(value instanceof Map)) {
    problems.push(problem('', 'a map', shown(value)));
    return undefined;
  }
  if (value.get('type') !== DESIRED_STATE_TYPE) {
    problems.push(problem('type', `"${DESIRED_STATE_TYPE}"`, shown(value.get('type'))));
  }
  const id = value.get('id');
  if (!(id instanceof Uint8Array) || id.length !== CONFIG_ID_BYTES) {
    problems.push(problem('id', `${CONFIG_ID_BYTES} bytes`, shown(id)));
  }
  const safe = Number.MAX_SAFE_INTEGER;
  const issued = whole(0, safe)(value.get('issued'), 'issued', problems);
  const version = whole(1, safe)(value.get('version'), 'version', problems);
  const expires = whole(0, safe)(value.get('expires'), 'expires', problems);
  if (issued !== undefined && expires !== undefined) {
    if (expires <= issued || expires - issued > MAX_LIFE_MS) {
      const expected = `a time after issued, at most ${MAX_LIFE_MS} ms later`;
      problems.push(problem('expires', expected, `${expires - issued} ms`));
    }
  }
  const rest = new Map([...value].filter(([key]) => !HEAD_KEYS.includes(key as string)));
  const wishes = wishesOf(rest, problems);
  if (problems.length > 0) return undefined;
  return { id: id as Uint8Array, issued: issued!, version: version!, expires: expires!, ...wishes };
}

function wishesOf(map: Map<CborValue, CborValue> | undefined, problems: Problems): Wishes {
  if (map === undefined) {
    problems.push(problem('', 'keys and values', 'something else'));
    return {};
  }
  unknownKeys(map, { known: WISH_KEYS, path: '' }, problems);
  const optional = <T>(key: string, read: Read<T>): Record<string, T> => {
    if (!map.has(key)) return {};
    const result = read(map.get(key), key, problems);
    return result === undefined ? {} : { [key]: result };
  };
  return {
    ...optional('wanted', readWanted),
    ...optional('intervals', readIntervals),
    ...optional('edge', readEdge),
    ...optional('preferences', readPreferences),
  };
}

const readWanted: Read<readonly string[]> = (value, path, problems) => {
  if (!Array.isArray(value) || value.length > MAX_WANTED) {
    problems.push(problem(path, `a list of at most ${MAX_WANTED}`, shown(value)));
    return undefined;
  }
  const seen = new Set<string>();
  for (const [at, item] of value.entries()) {
    if (typeof item !== 'string' || !isSelector(item)) {
      problems.push(problem(`${path}[${at}]`, 'a profile or profile/metric', shown(item)));
    } else if (seen.has(item)) {
      problems.push(problem(`${path}[${at}]`, 'each once', shown(item)));
    } else seen.add(item);
  }
  return [...seen];
};

const readIntervals: Read<Readonly<Record<string, number>>> = (value, path, problems) =>
  dictionaryOf<number>(
    {
      max: MAX_INTERVALS,
      isKey: isProfile,
      key: 'a profile',
      item: whole(INTERVAL_LIMITS.min, INTERVAL_LIMITS.max),
    },
    { value, path, problems },
  );

const readEdge: Read<Readonly<Record<string, string>>> = (value, path, problems) =>
  dictionaryOf<string>(
    { max: MAX_EDGE_STREAMS, isKey: isStream, key: 'profile/metric', item: edgeText },
    { value, path, problems },
  );

const edgeText: Read<string> = (value, path, problems) => {
  if (typeof value === 'string' && value.length > 0 && value.length <= MAX_EDGE_TEXT) return value;
  problems.push(problem(path, `a text of 1 to ${MAX_EDGE_TEXT} characters`, shown(value)));
  return undefined;
};

const readPreferences: Read<NonNullable<Wishes['preferences']>> = (value, path, problems) => {
  const map = mapOf(value);
  if (map === undefined) {
    problems.push(problem(path, 'keys and values', shown(value)));
    return undefined;
  }
  const limits: Readonly<Record<string, { readonly min: number; readonly max: number }>> = {
    sealEveryMs: SEAL_LIMITS,
    heartbeatMs: HEARTBEAT_LIMITS,
  };
  unknownKeys(map, { known: Object.keys(limits), path }, problems);
  const result: Record<string, number> = {};
  for (const [key, { min, max }] of Object.entries(limits)) {
    if (!map.has(key)) continue;
    const number = whole(min, max)(map.get(key), `${path}.${key}`, problems);
    if (number !== undefined) result[key] = number;
  }
  return result;
};

function dictionaryOf<T>(
  rule: {
    readonly max: number;
    readonly isKey: (text: string) => boolean;
    readonly key: string;
    readonly item: Read<T>;
  },
  given: {
    readonly value: CborValue | undefined;
    readonly path: string;
    readonly problems: Problems;
  },
): Readonly<Record<string, T>> | undefined {
  const { value, path, problems } = given;
  const map = mapOf(value);
  if (map === undefined || map.size > rule.max) {
    const got = map === undefined ? shown(value) : `${map.size}`;
    problems.push(problem(path, `at most ${rule.max} keys and values`, got));
    return undefined;
  }
  const result: [string, T][] = [];
  for (const [key, item] of map) {
    if (typeof key !== 'string' || !rule.isKey(key)) {
      problems.push(problem(path, `keys that are ${rule.key}`, shown(key)));
      continue;
    }
    const read = rule.item(item, `${path}.${key}`, problems);
    if (read !== undefined) result.push([key, read]);
  }
  return Object.fromEntries(result);
}

function whole(min: number, max: number): Read<number> {
  return (value, path, problems) => {
    const isWhole = typeof value === 'number' && Number.isSafeInteger(value);
    if (isWhole && value >= min && value <= max) return value;
    problems.push(problem(path, `a whole number from ${min} to ${max}`, shown(value)));
    return undefined;
  };
}

function unknownKeys(
  map: Map<CborValue, CborValue>,
  { known, path }: { readonly known: readonly string[]; readonly path: string },
  problems: Problems,
): void {
  for (const key of map.keys()) {
    if (typeof key === 'string' && known.includes(key)) continue;
    problems.push(problem(path, `keys ${known.join(', ')}`, shown(key)));
  }
}

/** A map, or a plain object as JSON has it. */
function mapOf(value: unknown): Map<CborValue, CborValue> | undefined {
  if (value instanceof Map) return value;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  if (value instanceof Uint8Array || value instanceof Float) return undefined;
  return new Map(Object.entries(value as Record<string, CborValue>));
}

function failed(problems: readonly WishProblem[]): CheckedState {
  return { state: undefined, problems };
}

function problem(path: string, expected: string, got: string): WishProblem {
  return { path: path === '' ? 'state' : path, expected, got };
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null || typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof Float) return `the float ${value.value}`;
  if (value instanceof Map) return `a map of ${value.size}`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  const text = JSON.stringify(value) ?? typeof value;
  return cutText(text, 58);
}
