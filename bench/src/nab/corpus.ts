/** The files of the benchmark as they lie in a folder: data/<kind>/<name>.csv, windows.json, profiles.json (see SOURCE.md there). */

import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { NabProfile, NabShape, NabWindow } from './scoring.ts';

/** One file of the corpus. Times are Unix ms, ascending; the files name no zone and are taken as UTC. */
export interface NabFile extends NabShape {
  /** Without folder and `.csv`. */
  readonly name: string;
  readonly timesMs: Float64Array;
  readonly values: Float64Array;
}

export interface NabCorpus {
  readonly files: readonly NabFile[];
  /** By their published names: standard, reward_low_FP_rate, reward_low_FN_rate. */
  readonly profiles: Readonly<Record<string, NabProfile>>;
}

type WindowsJson = Readonly<Record<string, readonly (readonly [from: string, to: string])[]>>;
type ProfilesJson = Readonly<Record<string, { readonly CostMatrix: NabProfile }>>;

/**
 * Reads the files that windows.json names.
 *
 * @throws {Error} of the file system where one is missing, RangeError for a row that is not `timestamp,value`.
 */
export function loadCorpus(folder: string): NabCorpus {
  const json = (name: string): unknown => JSON.parse(readFileSync(join(folder, name), 'utf8'));
  const files = Object.entries(json('windows.json') as WindowsJson).map(([path, windows]) => {
    const { timesMs, values } = parseRows(readFileSync(join(folder, 'data', path), 'utf8'), path);
    return {
      name: basename(path, '.csv'),
      rows: values.length,
      timesMs,
      values,
      windows: windows.map(([from, to]) => windowRows(timesMs, timeMs(from), timeMs(to))),
    };
  });
  const profiles = Object.entries(json('profiles.json') as ProfilesJson).map(
    ([name, { CostMatrix }]) => [name, CostMatrix] as const,
  );
  return { files, profiles: Object.fromEntries(profiles) };
}

/** `timestamp,value` rows behind one header line. */
export function parseRows(
  text: string,
  name: string,
): { readonly timesMs: Float64Array; readonly values: Float64Array } {
  const lines = text.trimEnd().split('\n').slice(1);
  const timesMs = new Float64Array(lines.length);
  const values = new Float64Array(lines.length);
  for (const [i, line] of lines.entries()) {
    const [time = '', value = ''] = line.trimEnd().split(',');
    timesMs[i] = timeMs(time);
    values[i] = value === '' ? Number.NaN : Number(value);
    if (Number.isFinite(timesMs[i]) && Number.isFinite(values[i])) continue;
    throw new RangeError(`${name} line ${i + 2}: expected a time and a number, got ${line}`);
  }
  return { timesMs, values };
}

/** `2014-04-01 00:05:00`, with or without a fraction. */
function timeMs(text: string): number {
  return Date.parse(`${text.slice(0, 19).replace(' ', 'T')}Z`);
}

function windowRows(timesMs: Float64Array, fromMs: number, toMs: number): NabWindow {
  return {
    first: timesMs.findIndex((time) => time >= fromMs),
    last: timesMs.findLastIndex((time) => time <= toMs),
  };
}
