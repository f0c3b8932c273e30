/**
 * Settings of the flows process: defaults < file < environment < flags. All problems are reported at once, unknown
 * keys are refused. The table in flows/README.md is the manual.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { FlowsError } from './errors.ts';

export interface FlowsConfig {
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  readonly brokerUrl: string;
  readonly tailTokenFile: string;
  readonly controlUrl: string;
  readonly controlTokenFile: string;
  readonly influxUrl: string;
  readonly influxDatabase: string;
  /** Rows of a window node that wait for a store, above which it takes nothing more. */
  readonly maxUnstoredRows: number;
  /** Readings from plain messages that a store or window node has in hand, above which it refuses more. */
  readonly maxWaitingReadings: number;
}

export const CONFIG_DEFAULTS: FlowsConfig = {
  dataDir: './data/flows',
  host: '127.0.0.1',
  port: 7882,
  brokerUrl: 'http://127.0.0.1:7880',
  tailTokenFile: '',
  controlUrl: 'http://127.0.0.1:7881',
  controlTokenFile: '',
  influxUrl: '',
  influxDatabase: '',
  maxUnstoredRows: 200_000,
  maxWaitingReadings: 200_000,
};

/** Least and greatest values of the numbers. */
const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  port: [0, 65_535],
  maxUnstoredRows: [1, 100_000_000],
  maxWaitingReadings: [1, 100_000_000],
};
const PATHS: ReadonlySet<string> = new Set(['dataDir', 'tailTokenFile', 'controlTokenFile']);
const URLS: ReadonlySet<string> = new Set(['brokerUrl', 'controlUrl', 'influxUrl']);

/**
 * The configuration of a process.
 *
 * @param args - `--config file.json` and `--port 7882`, `--data-dir …` for each key.
 * @throws {FlowsError} ERR_FLOWS_CONFIG listing every problem.
 */
export function loadConfig(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): FlowsConfig {
  const problems: string[] = [];
  const flags = readFlags(args, problems);
  const merged: Record<string, unknown> = { ...CONFIG_DEFAULTS };
  const file = typeof flags.config === 'string' ? readFile(flags.config, problems) : {};
  delete flags.config;
  for (const layer of [file, readEnvironment(env), flags]) {
    for (const [key, value] of Object.entries(layer)) {
      if (Object.hasOwn(CONFIG_DEFAULTS, key)) merged[key] = value;
      else problems.push(`${key}: no such setting`);
    }
  }
  for (const [key, value] of Object.entries(merged)) {
    const range = RANGES[key];
    const problem = range ? numberProblem(value, range) : textProblem(key, value);
    if (problem !== undefined) problems.push(`${key}: ${problem}`);
  }
  if (problems.length > 0) {
    throw new FlowsError('ERR_FLOWS_CONFIG', `configuration: ${problems.join('; ')}`);
  }
  for (const key of PATHS) if (merged[key] !== '') merged[key] = resolve(merged[key] as string);
  for (const key of Object.keys(RANGES)) merged[key] = Number(merged[key]);
  return merged as unknown as FlowsConfig;
}

function readFlags(args: readonly string[], problems: string[]): Record<string, unknown> {
  const flags: Record<string, unknown> = {};
  for (let i = 0; i < args.length; i++) {
    const [, name, inline] = /^--([a-z][a-z-]*)(?:=(.*))?$/s.exec(args[i]!) ?? [];
    const value = inline ?? args[i + 1];
    if (name === undefined || value === undefined) {
      problems.push(`${args[i]}: expected --name value`);
      continue;
    }
    if (inline === undefined) i++;
    flags[name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())] = value;
  }
  return flags;
}

/** `FIELDPROOF_FLOWS_BROKER_URL` is `brokerUrl`; INFLUX_URL too, as everywhere. */
function readEnvironment(env: Readonly<Record<string, string | undefined>>): object {
  const values: Record<string, string> = {};
  if (env.INFLUX_URL) values.influxUrl = env.INFLUX_URL;
  for (const key of Object.keys(CONFIG_DEFAULTS)) {
    const name = `FIELDPROOF_FLOWS_${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`;
    const value = env[name];
    if (value !== undefined && value !== '') values[key] = value;
  }
  return values;
}

function readFile(path: string, problems: string[]): object {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
    problems.push(`${path}: expected a JSON object`);
  } catch (error) {
    problems.push(`${path}: ${(error as Error).message}`);
  }
  return {};
}

function numberProblem(value: unknown, [min, max]: readonly [number, number]): string | undefined {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  if (Number.isInteger(number) && (number as number) >= min && (number as number) <= max)
    return undefined;
  return `expected an integer from ${min} to ${max}, got ${JSON.stringify(value)}`;
}

function textProblem(key: string, value: unknown): string | undefined {
  if (typeof value !== 'string') return `expected a text, got ${typeof value}`;
  if (value === '')
    return key === 'dataDir' || key === 'host' ? 'expected a text, got ""' : undefined;
  // Not quoted: it may hold a password.
  return URLS.has(key) && !isHttpUrl(value) ? 'expected http(s)://host:port' : undefined;
}

function isHttpUrl(text: string): boolean {
  try {
    return /^https?:$/.test(new URL(text).protocol);
  } catch {
    return false;
  }
}
