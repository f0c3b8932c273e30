/**
 * The agent's configuration: defaults < agent.yaml < environment (FIELDPROOF_…) < flags.
 *
 * `agent.example.yaml` is the manual. All mistakes are reported at once; unknown keys are refused. Secrets
 * are files: the join line holds a token, so the configuration names the file that holds the line.
 */

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { readConfigSource } from './config-source.ts';
import {
  checkEdge,
  type EdgeSettings,
  RAW_SETTINGS,
  type RawSettings,
} from './edge/edge-settings.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import { GATEWAY_SETTINGS, type GatewaySettings } from './gateway/gateway-settings.ts';
import { LOG_LEVELS, type LogLevel } from './log.ts';
import { REMOTE_SETTINGS, type RemoteSettings } from './remote-settings.ts';
import { flag, integer, isMap, oneOf, type Problem, section, shown, text } from './schema.ts';
import { loadSensorDriver, SENSOR_DRIVERS } from './sensors/drivers.ts';
import type { Source } from './sensors/sensor.ts';

export interface SensorConfig {
  /** A name of `SENSOR_DRIVERS`. */
  readonly driver: string;
  /** Readings of this sensor are `<profile>/<metric>`. */
  readonly profile: string;
  /** Time between two samples of a pull sensor. */
  readonly intervalMs: number;
  /** The driver's own keys, checked by the driver. */
  readonly options: unknown;
}

export interface AgentSettings {
  readonly name: string;
  /** H3 cell that is published for this device, or absent. */
  readonly cell?: string | undefined;
  /** File with the join line, relative to the data folder. */
  readonly joinFile: string;
  readonly batch: {
    readonly sealEveryMs: number;
    readonly maxReadings: number;
    readonly format: 'columns' | 'senml';
  };
  readonly outbox: {
    readonly maxBytes: number;
    readonly maxEnvelopes: number;
    readonly segmentBytes: number;
    readonly fsync: 'always' | 'interval';
    readonly fsyncEveryMs: number;
    readonly maxParked: number;
    readonly maxAgeMs: number;
    readonly spillAfterMs: number;
    readonly spillBytes: number;
  };
  /** A memory-backed folder for what the network acknowledges before it is worth a write, or absent. */
  readonly memoryFolder?: string | undefined;
  readonly disk: { readonly budgetBytesPerDay: number };
  readonly link: {
    readonly window: number;
    readonly heartbeatMs: number;
    readonly keepAliveSeconds: number;
    readonly timeoutMs: number;
    readonly backoffMinMs: number;
    readonly backoffMaxMs: number;
  };
  readonly clock: {
    readonly maxErrorMs: number;
    readonly confirmEveryMs: number;
    readonly trustTimesyncd: boolean;
  };
  /** How long the readings behind results are kept. */
  readonly raw: RawSettings;
  /** What an operator may change from afar. */
  readonly remote: RemoteSettings;
  /** Carrying what other devices on the local network seal. */
  readonly gateway: GatewaySettings;
  readonly log: { readonly level: LogLevel; readonly format: 'text' | 'json' };
}

export interface AgentConfig extends AgentSettings {
  readonly sensors: readonly SensorConfig[];
  /** Functions of readings, by `<profile>/<metric>`. */
  readonly edge: EdgeSettings;
  /** What the births say: the one source of all sensors. */
  readonly source: Source;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const SETTINGS = {
  name: text({
    pattern: /^\P{Cc}{1,64}$/u,
    is: 'a name of 1 to 64 characters',
    byDefault: 'agent',
  }),
  cell: text({ pattern: /^[0-9a-f]{15}$/, is: 'an H3 cell, 15 hex digits', byDefault: undefined }),
  joinFile: text({ is: 'a file name', byDefault: 'join-line' }),
  batch: section<AgentSettings['batch']>({
    sealEveryMs: integer({ min: 100, max: 10 * MINUTE, byDefault: 10_000 }),
    maxReadings: integer({ min: 1, max: 5000, byDefault: 2000 }),
    format: oneOf(['columns', 'senml'], 'columns'),
  }),
  outbox: section<AgentSettings['outbox']>({
    maxBytes: integer({ min: 256 * KIB, max: 2 ** 40, byDefault: 256 * MIB }),
    maxEnvelopes: integer({ min: 16, max: 2 ** 31, byDefault: 1_000_000 }),
    segmentBytes: integer({ min: 64 * KIB, max: 64 * MIB, byDefault: MIB }),
    fsync: oneOf(['interval', 'always'], 'interval'),
    fsyncEveryMs: integer({ min: 10, max: MINUTE, byDefault: 1000 }),
    maxParked: integer({ min: 1, max: 10_000, byDefault: 256 }),
    maxAgeMs: integer({ min: HOUR, max: 3660 * DAY, byDefault: 90 * DAY }),
    spillAfterMs: integer({ min: 1000, max: HOUR, byDefault: MINUTE }),
    spillBytes: integer({ min: 128 * KIB, max: 64 * MIB, byDefault: MIB }),
  }),
  memoryFolder: text({
    pattern: /^\/\P{Cc}{1,1000}$/u,
    is: 'an absolute path',
    byDefault: undefined,
  }),
  disk: section<AgentSettings['disk']>({
    budgetBytesPerDay: integer({ min: 1_000_000, max: 2 ** 50, byDefault: 40_000_000 }),
  }),
  link: section<AgentSettings['link']>({
    window: integer({ min: 1, max: 1000, byDefault: 16 }),
    heartbeatMs: integer({ min: 1000, max: 55_000, byDefault: 50_000 }),
    keepAliveSeconds: integer({ min: 5, max: 600, byDefault: 30 }),
    timeoutMs: integer({ min: 1000, max: 5 * MINUTE, byDefault: 20_000 }),
    backoffMinMs: integer({ min: 10, max: MINUTE, byDefault: 1000 }),
    backoffMaxMs: integer({ min: 1000, max: 60 * MINUTE, byDefault: 60_000 }),
  }),
  clock: section<AgentSettings['clock']>({
    maxErrorMs: integer({ min: 10, max: 86_400_000, byDefault: 2000 }),
    confirmEveryMs: integer({ min: MINUTE, max: 1440 * MINUTE, byDefault: 60 * MINUTE }),
    trustTimesyncd: flag(true),
  }),
  raw: RAW_SETTINGS,
  remote: REMOTE_SETTINGS,
  gateway: GATEWAY_SETTINGS,
  log: section<AgentSettings['log']>({
    level: oneOf(LOG_LEVELS, 'info'),
    format: oneOf(['text', 'json'], 'text'),
  }),
} as const;

const PROFILE = text({
  pattern: /^[a-z][a-z0-9_-]{0,31}$/,
  is: 'a profile name, [a-z][a-z0-9_-]{0,31}',
  byDefault: null,
});
const INTERVAL = integer({ min: 100, max: 86_400_000, byDefault: 10_000 });

/**
 * Reads and checks a configuration.
 *
 * @param yaml - the text of agent.yaml.
 * @param env - the process environment; FIELDPROOF_OUTBOX_MAX_BYTES sets `outbox.maxBytes`.
 * @param flags - `outbox.maxBytes` → value, the strongest.
 * @param name - of the file, for messages.
 * @throws {AgentError} ERR_AGENT_CONFIG with all problems, one a line, each with where it comes from: the line of the
 * file, the variable or the flag.
 */
export async function parseConfig(
  yaml: string,
  env: Readonly<Record<string, string | undefined>> = {},
  flags: Readonly<Record<string, string>> = {},
  name = 'agent.yaml',
): Promise<AgentConfig> {
  const source = await readConfigSource(yaml, name);
  const { value: document } = source;
  if (source.problems.length > 0) throw configError(source.problems);
  if (document !== null && !isMap(document)) {
    throw configError([`${name}: expected keys and values, got ${shown(document)}`]);
  }
  const tree = copyTree(document ?? {});
  const known = settingPaths();
  /** Of settings that do not come from the file: where they come from. */
  const origins = new Map<string, string>();
  for (const path of known) {
    const variable = environmentName(path);
    const value = env[variable];
    if (value === undefined) continue;
    setPath(tree, path, value);
    origins.set(path, variable);
  }
  const problems: Problem[] = [];
  for (const [path, value] of Object.entries(flags)) {
    if (known.includes(path)) setPath(tree, path, value);
    else problems.push(`--set ${path}: unknown key, expected one of ${known.join(', ')}`);
    origins.set(path, '--set');
  }
  const checked = await checkTree(tree);
  const located = checked.problems.map((problem) => {
    const origin = origins.get(problem.split(': ', 1)[0]!);
    return origin === undefined ? source.located(problem) : `${origin}: ${problem}`;
  });
  problems.push(...located.sort(byLine));
  if (problems.length > 0) throw configError(problems);
  return checked.config;
}

/**
 * Checks a configuration that is an object already; what is absent gets its default.
 *
 * @throws {AgentError} ERR_AGENT_CONFIG with all problems, one a line.
 */
export async function checkConfig(tree: unknown): Promise<AgentConfig> {
  const { config, problems } = await checkTree(tree);
  if (problems.length > 0) throw configError(problems);
  return config;
}

async function checkTree(
  tree: unknown,
): Promise<{ readonly config: AgentConfig; readonly problems: readonly Problem[] }> {
  const problems: Problem[] = [];
  const given = isMap(tree) ? tree : {};
  if (!isMap(tree)) problems.push('configuration: expected keys and values');
  const { sensors: sensorTrees = [], edge: edgeTree, ...rest } = given;
  const settings = section<AgentSettings>(SETTINGS)(rest, '', problems);
  const sensors: SensorConfig[] = [];
  const sources = new Set<Source>();
  const profiles = new Set<string>();
  if (!Array.isArray(sensorTrees))
    problems.push(`sensors: expected a list, got ${shown(sensorTrees)}`);
  else if (sensorTrees.length > 64)
    problems.push(`sensors: expected at most 64, got ${sensorTrees.length}`);
  for (const [at, sensorTree] of (Array.isArray(sensorTrees) ? sensorTrees : []).entries()) {
    const sensor = await checkSensor(sensorTree, `sensors[${at}]`, problems);
    if (sensor === undefined) continue;
    sensors.push(sensor.config);
    sources.add(sensor.source);
    if (profiles.has(sensor.config.profile)) {
      const used = shown(sensor.config.profile);
      problems.push(`sensors[${at}].profile: expected a profile of its own, got ${used} as above`);
    }
    profiles.add(sensor.config.profile);
  }
  const edge = await checkEdge(edgeTree, namedProfiles(sensorTrees), problems);
  if (sources.size > 1) {
    problems.push(
      `sensors: expected one source, got ${[...sources].join(' and ')}; run a second agent for the rest`,
    );
  }
  if (settings.link.backoffMaxMs < settings.link.backoffMinMs) {
    const { backoffMinMs, backoffMaxMs } = settings.link;
    problems.push(
      `link.backoffMaxMs: expected at least link.backoffMinMs, ${backoffMinMs}, got ${backoffMaxMs}`,
    );
  }
  if (settings.remote.maxSealEveryMs < settings.remote.minSealEveryMs) {
    problems.push(
      `remote.maxSealEveryMs: expected at least remote.minSealEveryMs, ${settings.remote.minSealEveryMs}, got ${settings.remote.maxSealEveryMs}`,
    );
  }
  if (settings.remote.maxIntervalMs < settings.remote.minIntervalMs) {
    const { minIntervalMs, maxIntervalMs } = settings.remote;
    problems.push(
      `remote.maxIntervalMs: expected at least remote.minIntervalMs, ${minIntervalMs}, got ${maxIntervalMs}`,
    );
  }
  if (
    settings.gateway.listen !== 'off' &&
    settings.gateway.maxBytes * 2 > settings.outbox.maxBytes
  ) {
    const most = Math.floor(settings.outbox.maxBytes / 2);
    problems.push(
      `gateway.maxBytes: expected at most half of outbox.maxBytes, ${most}, got ${settings.gateway.maxBytes}`,
    );
  }
  if (settings.outbox.segmentBytes * 4 > settings.outbox.maxBytes) {
    const most = Math.floor(settings.outbox.maxBytes / 4);
    problems.push(
      `outbox.segmentBytes: expected at most a quarter of outbox.maxBytes, ${most}, got ${settings.outbox.segmentBytes}`,
    );
  }
  return { config: { ...settings, sensors, edge, source: [...sources][0] ?? 'sensor' }, problems };
}

/**
 * Reads and checks a configuration file.
 *
 * @throws {AgentError} ERR_AGENT_NOT_INITIALISED, ERR_AGENT_CONFIG.
 */
export async function loadConfig(
  path: string,
  env: Readonly<Record<string, string | undefined>> = {},
  flags: Readonly<Record<string, string>> = {},
): Promise<AgentConfig> {
  let yaml: string;
  try {
    yaml = await readFile(path, 'utf8');
  } catch (cause) {
    const code = codeOf(cause) === 'ENOENT' ? 'ERR_AGENT_NOT_INITIALISED' : 'ERR_AGENT_CONFIG';
    throw new AgentError(code, `${path}: ${reasonOf(cause)}`, { cause });
  }
  return await parseConfig(yaml, env, flags, basename(path));
}

/** The name of the environment variable of a key: `outbox.maxBytes` → FIELDPROOF_OUTBOX_MAX_BYTES. */
export function environmentName(path: string): string {
  return `FIELDPROOF_${path
    .replace(/([A-Z])/g, '_$1')
    .replace('.', '_')
    .toUpperCase()}`;
}

/** Also of sensors that have mistakes, so that these are told once. */
function namedProfiles(sensorTrees: unknown): string[] {
  const trees = Array.isArray(sensorTrees) ? sensorTrees.slice(0, 64) : [];
  return trees.flatMap((tree) =>
    isMap(tree) && typeof tree.profile === 'string' ? [tree.profile] : [],
  );
}

async function checkSensor(
  tree: unknown,
  path: string,
  problems: Problem[],
): Promise<{ config: SensorConfig; source: Source } | undefined> {
  if (!isMap(tree)) {
    problems.push(`${path}: expected keys and values, got ${shown(tree)}`);
    return undefined;
  }
  const { driver: driverName, profile, intervalMs, ...own } = tree;
  const names = Object.keys(SENSOR_DRIVERS).join(', ');
  const driver = typeof driverName === 'string' ? await loadSensorDriver(driverName) : undefined;
  const config = {
    driver: String(driverName),
    profile: PROFILE(profile, `${path}.profile`, problems),
    intervalMs: INTERVAL(intervalMs, `${path}.intervalMs`, problems),
  };
  if (driver === undefined) {
    problems.push(`${path}.driver: expected one of ${names}, got ${shown(driverName)}`);
    return undefined;
  }
  return {
    config: { ...config, options: driver.options(own, path, problems) },
    source: driver.source,
  };
}

/** The dotted paths of all settings that are not lists. */
export function settingPaths(): string[] {
  const settings = section<AgentSettings>(SETTINGS)(
    { cell: '0'.repeat(15), memoryFolder: '/run' },
    '',
    [],
  );
  return Object.entries(settings).flatMap(([key, value]) =>
    isMap(value) ? Object.keys(value).map((inner) => `${key}.${inner}`) : [key],
  );
}

function configError(problems: readonly Problem[]): AgentError {
  return new AgentError('ERR_AGENT_CONFIG', problems.join('\n'));
}

/** In the order of the file; what no line says comes first. */
function byLine(a: Problem, b: Problem): number {
  const line = (problem: Problem) => Number(/^[^:]+:(\d+): /.exec(problem)?.[1] ?? 0);
  return line(a) - line(b);
}

function copyTree(document: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const tree: Record<string, unknown> = { ...document };
  for (const [key, value] of Object.entries(tree)) if (isMap(value)) tree[key] = { ...value };
  return tree;
}

function setPath(tree: Record<string, unknown>, path: string, value: string): void {
  const [key = '', inner] = path.split('.');
  if (inner === undefined) {
    tree[key] = value;
    return;
  }
  const section = isMap(tree[key]) ? tree[key] : {};
  tree[key] = { ...section, [inner]: value };
}
