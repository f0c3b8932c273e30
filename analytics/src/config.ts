/**
 * Configuration of the control process: defaults < file < environment < flags.
 *
 * Unknown keys are refused and all problems are reported at once. The broker's token is a file path;
 * INFLUX_URL may hold a password and is never logged.
 */
import { AnalyticsError } from './errors.ts';

export interface ControlConfig {
  /** Tokens and the embedded store live here. */
  readonly dataDir: string;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** The embedded store when absent. */
  readonly influxUrl?: string;
  readonly brokerUrl?: string;
  readonly brokerTokenFile?: string;
  /** Folder with the role key `control`; without it devices cannot be set from afar. */
  readonly keysDir?: string;
  /** The network's id; asked from the broker when absent. */
  readonly network?: string;
  readonly maxSeries: number;
  /** HTTP connections. */
  readonly maxConnections: number;
  /** The same of one remote address; loopback may have all. */
  readonly maxConnectionsPerAddress: number;
  /** How long a client may take for the head of a request, ms. */
  readonly headersMs: number;
  /** How long a client may take nothing of its answer, ms. */
  readonly stallMs: number;
  readonly logLevel: LogLevel;
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

interface Key {
  readonly env: string;
  readonly help: string;
  readonly fallback?: string | number;
  /** The value from text or JSON, or what was expected instead. */
  readonly read: (value: unknown) => { readonly value: unknown } | { readonly expected: string };
}

const text: Key['read'] = (value) =>
  typeof value === 'string' && value !== '' ? { value } : { expected: 'text' };

const integer =
  (min: number, max: number): Key['read'] =>
  (value) => {
    const number = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value;
    return typeof number === 'number' && Number.isInteger(number) && number >= min && number <= max
      ? { value: number }
      : { expected: `an integer from ${min} to ${max}` };
  };

const httpUrl: Key['read'] = (value) =>
  typeof value === 'string' && /^https?:$/.test(URL.canParse(value) ? new URL(value).protocol : '')
    ? { value }
    : { expected: 'an http:// or https:// address' };

const logLevel: Key['read'] = (value) =>
  (LOG_LEVELS as readonly unknown[]).includes(value)
    ? { value }
    : { expected: `one of ${LOG_LEVELS.join(', ')}` };

/** Every key, with the variable that sets it; the flag is the key in kebab-case. */
export const CONTROL_KEYS: Readonly<Record<keyof ControlConfig, Key>> = {
  dataDir: {
    ...{ env: 'FIELDPROOF_CONTROL_DATA_DIR', fallback: './data/control', read: text },
    help: 'folder of tokens and embedded store',
  },
  host: {
    ...{ env: 'FIELDPROOF_CONTROL_HOST', fallback: '127.0.0.1', read: text },
    help: 'address to listen on',
  },
  port: {
    ...{ env: 'FIELDPROOF_CONTROL_PORT', fallback: 7881, read: integer(0, 65_535) },
    help: 'port to listen on; 0 for any',
  },
  influxUrl: {
    ...{ env: 'INFLUX_URL', read: httpUrl },
    help: 'InfluxDB instead of the embedded store',
  },
  brokerUrl: {
    ...{ env: 'FIELDPROOF_BROKER_URL', read: httpUrl },
    help: 'admin API of the broker, for names and presence',
  },
  brokerTokenFile: {
    ...{ env: 'FIELDPROOF_BROKER_TOKEN_FILE', read: text },
    help: 'file with a bearer token for it',
  },
  keysDir: {
    ...{ env: 'FIELDPROOF_CONTROL_KEYS_DIR', read: text },
    help: 'folder with control.key, to set devices from afar',
  },
  network: { env: 'FIELDPROOF_NETWORK', read: text, help: 'id of the network, for the header' },
  maxSeries: {
    ...{ env: 'FIELDPROOF_MAX_SERIES', fallback: 100_000, read: integer(1, 100_000_000) },
    help: 'most series the store takes',
  },
  maxConnections: {
    ...{ env: 'FIELDPROOF_CONTROL_MAX_CONNECTIONS', fallback: 1000, read: integer(1, 1_000_000) },
    help: 'most HTTP connections',
  },
  maxConnectionsPerAddress: {
    ...{ env: 'FIELDPROOF_CONTROL_MAX_CONNECTIONS_PER_ADDRESS', fallback: 256 },
    read: integer(1, 1_000_000),
    help: 'most HTTP connections of one address; loopback may have all',
  },
  headersMs: {
    ...{ env: 'FIELDPROOF_CONTROL_HEADERS_MS', fallback: 10_000, read: integer(100, 300_000) },
    help: 'ms in which the head of a request must have come',
  },
  stallMs: {
    ...{ env: 'FIELDPROOF_CONTROL_STALL_MS', fallback: 60_000, read: integer(100, 3_600_000) },
    help: 'ms after which a client that takes nothing of its answer is cut off',
  },
  logLevel: {
    ...{ env: 'FIELDPROOF_LOG_LEVEL', fallback: 'info', read: logLevel },
    help: LOG_LEVELS.join(', '),
  },
};

export interface ConfigSources {
  /** Content of the configuration file, parsed. */
  readonly file?: unknown;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** By key, not by flag name. */
  readonly flags?: Readonly<Record<string, unknown>>;
}

/**
 * The configuration that the sources give together. An empty variable counts as not set.
 *
 * @throws {AnalyticsError} ERR_CONFIG naming every problem.
 */
export function controlConfig({ file = {}, env = {}, flags = {} }: ConfigSources): ControlConfig {
  const problems: string[] = [];
  if (typeof file !== 'object' || file === null || Array.isArray(file)) {
    throw new AnalyticsError('ERR_CONFIG', 'file: expected a JSON object');
  }
  for (const [source, values] of [
    ['file', file],
    ['flag', flags],
  ] as const) {
    for (const key of Object.keys(values)) {
      if (!Object.hasOwn(CONTROL_KEYS, key)) problems.push(`${source} ${key}: no such key`);
    }
  }
  const config: Record<string, unknown> = {};
  for (const [key, { env: variable, fallback, read }] of Object.entries(CONTROL_KEYS)) {
    const given = [
      [`flag ${key}`, (flags as Record<string, unknown>)[key]],
      [variable, env[variable] === '' ? undefined : env[variable]],
      [`file ${key}`, (file as Record<string, unknown>)[key]],
      ['default', fallback],
    ].find(([, value]) => value !== undefined);
    if (given === undefined) continue;
    const result = read(given[1]);
    if ('value' in result) config[key] = result.value;
    else problems.push(`${given[0]}: expected ${result.expected}`);
  }
  if (problems.length > 0) throw new AnalyticsError('ERR_CONFIG', problems.join('; '));
  return config as unknown as ControlConfig;
}
