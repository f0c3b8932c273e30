/** Settings for a device as a person writes them: a file (YAML or JSON) or flags, with durations such as 30s. */
import { AnalyticsError } from '../errors.ts';
import { DURATION_UNITS, type WishesInput } from '../wish-lines.ts';

/** Ms of `30s`, `5m`, `250ms`; undefined for other texts. */
export function parseDuration(text: string): number | undefined {
  const [, digits, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text.trim()) ?? [];
  return digits === undefined ? undefined : Number(digits) * DURATION_UNITS[unit!]!;
}

/**
 * The members of a file.
 *
 * @throws {AnalyticsError} ERR_USAGE when it is no YAML map, or has other keys.
 */
export async function wishesOfFile(text: string, path: string): Promise<WishesInput> {
  const { parse } = await import('yaml');
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch (error) {
    throw usage(`${path}: ${(error as Error).message.split('\n')[0]}`);
  }
  if (!isMap(value)) throw usage(`${path}: expected keys and values`);
  const { expires, ...rest } = value;
  const timed: Record<string, unknown> = { ...rest };
  for (const key of ['intervals', 'preferences']) {
    if (isMap(timed[key])) timed[key] = inMs(timed[key]);
  }
  if (expires !== undefined) timed.expiresInMs = durationOf(String(expires), `${path}: expires`);
  return timed;
}

/** The members that flags give. @throws {AnalyticsError} ERR_USAGE naming the flag. */
export function wishesOfFlags(options: Readonly<Record<string, unknown>>): WishesInput {
  const intervals = pairs(options.interval, '--interval', 'profile=30s');
  const edge = pairs(options.edge, '--edge', 'profile/metric=definition');
  const preferences: Record<string, number> = {};
  for (const [flag, name, key] of [
    ['sealEvery', '--seal-every', 'sealEveryMs'],
    ['heartbeat', '--heartbeat', 'heartbeatMs'],
  ] as const) {
    const text = options[flag];
    if (text !== undefined) preferences[key] = durationOf(String(text), name);
  }
  const timed = intervals.map(([profile, text]) => [
    profile,
    durationOf(text, `--interval ${profile}`),
  ]);
  const { streams, expires } = options;
  return {
    ...(streams === undefined ? {} : { wanted: listOf(String(streams)) }),
    ...(timed.length === 0 ? {} : { intervals: Object.fromEntries(timed) }),
    ...(edge.length === 0 ? {} : { edge: Object.fromEntries(edge) }),
    ...(Object.keys(preferences).length === 0 ? {} : { preferences }),
    ...(expires === undefined ? {} : { expiresInMs: durationOf(String(expires), '--expires') }),
  };
}

/** `more` on top of `base`: maps are joined, lists replaced. */
export function joinWishes(base: WishesInput, more: WishesInput): WishesInput {
  const joined: Record<string, unknown> = { ...base, ...more };
  for (const key of ['intervals', 'edge', 'preferences'] as const) {
    if (isMap(base[key]) && isMap(more[key])) joined[key] = { ...base[key], ...more[key] };
  }
  return joined;
}

/** `none` is an empty list: nothing is wanted. */
function listOf(text: string): readonly string[] {
  if (text.trim() === 'none') return [];
  return text.split(',').map((part) => part.trim());
}

function pairs(value: unknown, flag: string, form: string): [string, string][] {
  return ((value as readonly string[] | undefined) ?? []).map((text) => {
    const at = text.indexOf('=');
    if (at < 1) throw usage(`${flag}: expected ${form}, got ${text}`);
    return [text.slice(0, at).trim(), text.slice(at + 1).trim()];
  });
}

function durationOf(text: string, what: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  throw usage(`${what}: expected a duration such as 30s, 5m, 12h or 30d, got ${text}`);
}

/** Durations as ms; what is none stays, for the API to name. */
function inMs(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => [
      key,
      typeof value === 'string' ? (parseDuration(value) ?? value) : value,
    ]),
  );
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function usage(message: string): AnalyticsError {
  return new AnalyticsError('ERR_USAGE', message);
}
