/**
 * From a document that came from outside to a reading: a path for each metric, and how its value is written.
 *
 * A path is keys and positions: `ENERGY.Power`, `sensors[0].temp`, `["DS18B20-1"].Temperature`. An empty path is the
 * document itself.
 */

import { type Check, type Checks, numberAbove, oneOf, shown } from '../schema.ts';
import { anyNumber, METRIC_KEYS, type MetricKeys, parseDecimal } from './metric-keys.ts';
import type { Reading, SensorContext, Value } from './sensor.ts';

const MAX_STEPS = 16;
const TRUE = new Set(['on', 'true', '1', 'yes']);
const FALSE = new Set(['off', 'false', '0', 'no']);

export interface ValueKeys extends MetricKeys {
  readonly path: readonly string[];
  readonly type: 'number' | 'text' | 'boolean';
  readonly scale: number;
  readonly offset?: number | undefined;
}

/** A path as its steps; absent means the whole document. */
export const pathCheck: Check<readonly string[]> = (value, path, problems) => {
  const steps = value === undefined ? [] : parsePath(value);
  if (steps === undefined) {
    problems.push(`${path}: expected a path such as a.b[0].c, got ${shown(value)}`);
  }
  return steps ?? [];
};

export const VALUE_KEYS: Checks<ValueKeys> = {
  ...METRIC_KEYS,
  path: pathCheck,
  type: oneOf(['number', 'text', 'boolean'], 'number'),
  scale: numberAbove(Number.NEGATIVE_INFINITY, 1),
  offset: anyNumber,
};

/** What lies at a path, undefined where nothing does. */
export function atPath(document: unknown, steps: readonly string[]): unknown {
  let found = document;
  for (const step of steps) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, step)) {
      return undefined;
    }
    found = (found as Record<string, unknown>)[step];
  }
  return found;
}

/** The readings of a document. Metrics whose path leads to nothing, or to null, have none. */
export function readingsOf(
  document: unknown,
  metrics: readonly ValueKeys[],
  reject: SensorContext['reject'],
): Reading[] {
  const readings: Reading[] = [];
  for (const keys of metrics) {
    const found = atPath(document, keys.path);
    if (found === undefined || found === null) continue;
    const value = toValue(found, keys);
    if (value !== undefined) {
      readings.push({ metric: keys.metric, value });
      continue;
    }
    const isText = typeof found === 'string' && keys.type === 'number';
    const shown = JSON.stringify(
      typeof found === 'object' ? typeof found : String(found).slice(0, 40),
    );
    reject(isText ? 'not-a-number' : 'wrong-type', `${keys.metric}: ${shown}`);
  }
  return readings;
}

/** JSON, or undefined when it is none, which is counted. */
export function parseJson(text: string, reject: SensorContext['reject']): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    reject('malformed', `expected JSON, got ${JSON.stringify(text.slice(0, 40))}`);
    return undefined;
  }
}

function toValue(found: unknown, { type, scale, offset = 0 }: ValueKeys): Value | undefined {
  if (type === 'text') return typeof found === 'object' ? undefined : String(found);
  if (type === 'boolean') {
    const word = typeof found === 'object' ? '' : String(found).trim().toLowerCase();
    return TRUE.has(word) ? true : FALSE.has(word) ? false : undefined;
  }
  const number =
    typeof found === 'number'
      ? found
      : typeof found === 'string'
        ? parseDecimal(found)
        : Number.NaN;
  return Number.isFinite(number) ? number * scale + offset : undefined;
}

function parsePath(value: unknown): string[] | undefined {
  if (typeof value !== 'string' || value.length > 256) return undefined;
  const steps: string[] = [];
  const step = /(?:^|\.)([^.[\]"]+)|\[(\d{1,5})\]|\[("(?:[^"\\]|\\.)*")\]/y;
  while (step.lastIndex < value.length) {
    const match = step.exec(value);
    if (match === null) return undefined;
    const [, key, position, quoted] = match;
    try {
      steps.push(key ?? position ?? (JSON.parse(quoted!) as string));
    } catch {
      return undefined;
    }
  }
  return steps.length <= MAX_STEPS ? steps : undefined;
}
