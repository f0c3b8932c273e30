/**
 * Settings of the broker: defaults < file < environment < flags. All problems are reported at once, unknown keys are
 * refused. The table in broker/README.md is the manual.
 */

import { readFileSync } from 'node:fs';
import { isAddressOrSubnet, LOOPBACK } from '@fieldproof/protocol/address-share-node';
import { BrokerError } from './errors.ts';
import { SIGNATURE_LIBRARIES, type SignatureLibrary } from './gate/signature-verifier.ts';
import { isFilter } from './mqtt/packet-rules.ts';
import { PLAIN_DEFAULTS, PLAIN_RANGES, type PlainSettings } from './mqtt/plain/settings.ts';
import { redactConfig } from './observe/redacted-config.ts';
import { Scrubber } from './observe/scrubber.ts';
import { TLS_VERSIONS, type TlsVersion } from './tls/secure-options.ts';

export interface BrokerConfig extends PlainSettings {
  /** Everything durable lies below this folder. */
  readonly dataDir: string;
  /** Address of the plain listeners. Anything but loopback is for test networks. */
  readonly host: string;
  /** Ports; 0 takes any free one. */
  readonly httpPort: number;
  readonly mqttPort: number;
  /** Opens the TLS listeners to other machines. */
  readonly lan: boolean;
  readonly lanHost: string;
  readonly httpsPort: number;
  readonly mqttsPort: number;
  /** Names and addresses in the server certificate, besides those of this machine. */
  readonly names: readonly string[];
  /** Certificates of the operator's, as PEM files; empty: those of the network's own CA. */
  readonly tlsCert: string;
  readonly tlsKey: string;
  /** The CA whose key devices pin; empty: the last that `tlsCert` leads to. */
  readonly tlsCa: string;
  /** How often these files are looked at. */
  readonly tlsPollMs: number;
  readonly tlsMinVersion: TlsVersion;
  /** Port of the control process on this machine, for the network descriptor. */
  readonly controlPort: number;
  /** PostgreSQL URL of the registry; empty: SQLite in the data folder. */
  readonly databaseUrl: string;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** Where events about devices are sent; empty: nowhere. */
  readonly webhookUrl: string;
  /** The secret that signs them; empty: `webhook.secret` in the data folder, made on first use. */
  readonly webhookSecretFile: string;
  /** Most of them in a second. */
  readonly webhookPerSecond: number;
  /** How often counters are published over MQTT where they have changed. */
  readonly countersIntervalMs: number;
  /** How long a device has no session before that is told. */
  readonly offlineAfterMs: number;
  /** Threads that verify; 0 verifies on the main thread, which is for tests. */
  readonly verifierThreads: number;
  /** What they verify with: `auto` is libsodium where its binding loads, else OpenSSL. The verdicts are the same. */
  readonly signatureLibrary: SignatureLibrary;
  /** MQTT connections, logged in or not. */
  readonly maxConnections: number;
  /** The same of one address (IPv6: of one network of 64 bits). */
  readonly maxConnectionsPerAddress: number;
  /** MQTT connections that have not logged in yet. */
  readonly maxPending: number;
  readonly maxPendingPerAddress: number;
  /** TLS handshakes under way on the MQTT listener, and how long one may take. */
  readonly maxHandshakes: number;
  readonly handshakeTimeoutMs: number;
  /** New MQTT connections, ten times as many at once; 0 lifts the limit. */
  readonly connectsPerSecond: number;
  readonly connectsPerSecondPerAddress: number;
  /** Refused logins of one address, after which further ones are told late; 0 lifts the limit. */
  readonly failedLoginsPerMinute: number;
  /** Frames without a packet of one WebSocket, such as pings; ten times as many at once; 0 lifts the limit. */
  readonly webSocketPingsPerSecond: number;
  readonly maxConnectBytes: number;
  /** Longest MQTT packet after login; a longer one ends the connection. Envelopes above 60,000 bytes are rejected. */
  readonly maxPacketBytes: number;
  readonly connectTimeoutMs: number;
  /** How long an MQTT packet may take from its first byte to its last. */
  readonly packetTimeoutMs: number;
  /** Bytes of packets that have not come whole, over all connections. */
  readonly maxHeldBytes: number;
  /** Bytes taken in and not settled (a message counts 1 KiB more than it has) above which no socket is read. */
  readonly maxPendingBytes: number;
  /** The same for one connection. */
  readonly maxInFlightBytes: number;
  /** Messages of one connection not settled, above which it is not read. */
  readonly maxInFlight: number;
  /** Devices logged in at the same time. */
  readonly maxSessions: number;
  /** Messages per second of a device, ten times as much in a burst; 0 lifts the limit, here and in the next two. */
  readonly deviceMessagesPerSecond: number;
  /** Bytes of envelopes per second of a device, sixteen times as much in a burst. */
  readonly deviceBytesPerSecond: number;
  /** Messages per second of all devices of one owner, ten times as much in a burst. */
  readonly ownerMessagesPerSecond: number;
  /** Subscriptions of one device; it needs eight at most. */
  readonly maxSubscriptions: number;
  /** Levels of a topic; a packet with more ends the connection of a device. */
  readonly maxTopicLevels: number;
  /** Bytes that a device has not taken of what was sent to it, above which it is cut off. */
  readonly maxUnsentBytes: number;
  /** How long a device may take nothing of what was sent to it. */
  readonly drainTimeoutMs: number;
  /** Addresses and subnets to which the limits of single addresses do not apply. */
  readonly trustedAddresses: readonly string[];
  /** HTTP connections, of each listener. */
  readonly maxHttpConnections: number;
  /** The same of one remote address (IPv6: of one network of 64 bits). */
  readonly maxHttpConnectionsPerAddress: number;
  /** How long an HTTP client may take to send the head of a request, and to end the TLS handshake before it. */
  readonly httpHeadersMs: number;
  /** How long an HTTP client may take nothing of an answer. */
  readonly httpStallMs: number;
  /** Tails read at the same time. */
  readonly maxTails: number;
  /** Least time between two receipts of a device. */
  readonly receiptIntervalMs: number;
  /** A receipted entry is in a published checkpoint after at most this. */
  readonly mergeDelayMs: number;
  /** How often checkpoints are written while the log grows. */
  readonly publishIntervalMs: number;
  readonly credentialDays: number;
  /** How long before the end of a credential that its device has not renewed that is told; 0: never. */
  readonly credentialWarnDays: number;
  /** How long after a suspension its device's owner may appeal; 0: not at all. */
  readonly appealDays: number;
  /** Free space of the data folder below which `/readyz` says no; 0: any will do. */
  readonly minFreeBytes: number;
  /** How long what a replaced key of a device has signed is taken. */
  readonly rotationGraceDays: number;
  /** Most keys of one device that it replaces in a day, and its owner as many; 0 lifts the limit. */
  readonly rotationsPerDay: number;
  /** Most gateways that one device names in a day; 0 lifts the limit. */
  readonly delegationsPerDay: number;
  /** Requests per second and address to `hello` and to `enrol`; 0 lifts the limit. */
  readonly helloPerSecond: number;
  readonly enrolPerSecond: number;
}

export type BrokerOptions = Partial<BrokerConfig> & Pick<BrokerConfig, 'dataDir'>;

export const CONFIG_DEFAULTS: BrokerConfig = {
  dataDir: './data/broker',
  host: '127.0.0.1',
  httpPort: 7880,
  mqttPort: 7883,
  lan: false,
  lanHost: '0.0.0.0',
  httpsPort: 7885,
  mqttsPort: 7884,
  names: [],
  tlsCert: '',
  tlsKey: '',
  tlsCa: '',
  tlsPollMs: 10_000,
  tlsMinVersion: 'TLSv1.2',
  controlPort: 7881,
  databaseUrl: '',
  logLevel: 'info',
  webhookUrl: '',
  webhookSecretFile: '',
  webhookPerSecond: 5,
  countersIntervalMs: 10_000,
  offlineAfterMs: 300_000,
  verifierThreads: 2,
  signatureLibrary: 'auto',
  maxConnections: 20_000,
  maxConnectionsPerAddress: 5000,
  maxPending: 2000,
  maxPendingPerAddress: 500,
  maxHandshakes: 500,
  handshakeTimeoutMs: 10_000,
  connectsPerSecond: 1000,
  connectsPerSecondPerAddress: 100,
  failedLoginsPerMinute: 60,
  webSocketPingsPerSecond: 10,
  maxConnectBytes: 4096,
  maxPacketBytes: 262_144,
  connectTimeoutMs: 10_000,
  packetTimeoutMs: 60_000,
  maxHeldBytes: 64 * 1024 * 1024,
  maxPendingBytes: 32 * 1024 * 1024,
  maxInFlightBytes: 4 * 1024 * 1024,
  maxInFlight: 2000,
  maxSessions: 20_000,
  deviceMessagesPerSecond: 1000,
  deviceBytesPerSecond: 4 * 1024 * 1024,
  ownerMessagesPerSecond: 5000,
  maxSubscriptions: 16,
  maxTopicLevels: 16,
  maxUnsentBytes: 1024 * 1024,
  drainTimeoutMs: 30_000,
  trustedAddresses: LOOPBACK,
  maxHttpConnections: 10_000,
  maxHttpConnectionsPerAddress: 1000,
  httpHeadersMs: 10_000,
  httpStallMs: 60_000,
  maxTails: 64,
  receiptIntervalMs: 2000,
  mergeDelayMs: 10_000,
  publishIntervalMs: 1000,
  credentialDays: 90,
  credentialWarnDays: 14,
  appealDays: 30,
  minFreeBytes: 4 * 1024 * 1024,
  rotationGraceDays: 30,
  rotationsPerDay: 20,
  delegationsPerDay: 20,
  helloPerSecond: 50,
  enrolPerSecond: 10,
  ...PLAIN_DEFAULTS,
};

const MAY_BE_EMPTY: ReadonlySet<string> = new Set([
  'databaseUrl',
  'tlsCert',
  'tlsKey',
  'tlsCa',
  'webhookSecretFile',
]);
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'];
/** Least and greatest values of the numbers. */
const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  httpPort: [0, 65_535],
  mqttPort: [0, 65_535],
  httpsPort: [0, 65_535],
  mqttsPort: [0, 65_535],
  controlPort: [0, 65_535],
  tlsPollMs: [10, 3_600_000],
  webhookPerSecond: [1, 1000],
  countersIntervalMs: [100, 3_600_000],
  offlineAfterMs: [1000, 30 * 86_400_000],
  verifierThreads: [0, 64],
  maxConnections: [1, 1_000_000],
  maxConnectionsPerAddress: [1, 1_000_000],
  maxPending: [1, 1_000_000],
  maxPendingPerAddress: [1, 1_000_000],
  maxHandshakes: [1, 1_000_000],
  handshakeTimeoutMs: [100, 600_000],
  connectsPerSecond: [0, 1_000_000],
  connectsPerSecondPerAddress: [0, 1_000_000],
  failedLoginsPerMinute: [0, 1_000_000],
  webSocketPingsPerSecond: [0, 1_000_000],
  maxConnectBytes: [512, 65_536],
  maxPacketBytes: [61_440, 16 * 1024 * 1024],
  connectTimeoutMs: [100, 600_000],
  packetTimeoutMs: [100, 3_600_000],
  maxHeldBytes: [1024 * 1024, 2 ** 40],
  maxPendingBytes: [65_536, 2 ** 32],
  maxInFlightBytes: [65_536, 2 ** 32],
  maxInFlight: [1, 65_535],
  maxSessions: [1, 1_000_000],
  deviceMessagesPerSecond: [0, 10_000_000],
  deviceBytesPerSecond: [0, 2 ** 32],
  ownerMessagesPerSecond: [0, 10_000_000],
  maxSubscriptions: [1, 100],
  maxTopicLevels: [7, 100],
  maxUnsentBytes: [65_536, 2 ** 30],
  drainTimeoutMs: [100, 600_000],
  maxHttpConnections: [1, 1_000_000],
  maxHttpConnectionsPerAddress: [1, 1_000_000],
  httpHeadersMs: [100, 300_000],
  httpStallMs: [100, 3_600_000],
  maxTails: [1, 100_000],
  receiptIntervalMs: [0, 600_000],
  mergeDelayMs: [1000, 86_400_000],
  publishIntervalMs: [10, 60_000],
  credentialDays: [1, 3650],
  credentialWarnDays: [0, 3650],
  appealDays: [0, 3650],
  minFreeBytes: [0, 2 ** 40],
  rotationGraceDays: [0, 3650],
  rotationsPerDay: [0, 100_000],
  delegationsPerDay: [0, 100_000],
  helloPerSecond: [0, 1_000_000],
  enrolPerSecond: [0, 1_000_000],
  ...PLAIN_RANGES,
};

/**
 * Merges settings over the defaults and checks them.
 *
 * @throws {BrokerError} ERR_CONFIG listing every problem.
 */
export function resolveConfig(...layers: readonly object[]): BrokerConfig {
  const merged: Record<string, unknown> = { ...CONFIG_DEFAULTS };
  const problems: string[] = [];
  for (const layer of layers) {
    for (const [key, value] of Object.entries(layer)) {
      if (value === undefined) continue;
      if (Object.hasOwn(CONFIG_DEFAULTS, key)) merged[key] = value;
      else problems.push(`${key}: no such setting`);
    }
  }
  for (const [key, value] of Object.entries(merged)) {
    const problem = problemOf(key, value);
    if (problem !== null)
      problems.push(`${key}: expected ${problem}, got ${show(bare(key, value))}`);
  }
  problems.push(...contradictions(merged as unknown as BrokerConfig));
  if (problems.length > 0) {
    throw new BrokerError('ERR_CONFIG', `configuration: ${problems.join('; ')}`);
  }
  return merged as unknown as BrokerConfig;
}

/**
 * Settings from a JSON file.
 *
 * @throws {BrokerError} ERR_CONFIG when it cannot be read or is no JSON object.
 */
export function readConfigFile(path: string): object {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new BrokerError('ERR_CONFIG', `configuration file ${path}: ${String(cause)}`, { cause });
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch (cause) {
    // What the parser says quotes the file, where there may be a password.
    const at = / at position \d+/.exec(String(cause))?.[0] ?? '';
    const message = `configuration file ${path}: expected JSON, got something else${at}`;
    throw new BrokerError('ERR_CONFIG', message);
  }
  throw new BrokerError('ERR_CONFIG', `configuration file ${path}: expected a JSON object`);
}

/** Settings from the environment: `FIELDPROOF_BROKER_HTTP_PORT` is `httpPort`, and DATABASE_URL. */
export function readEnvironment(environment: NodeJS.ProcessEnv): object {
  const settings: Record<string, unknown> = {};
  if (environment.DATABASE_URL) settings.databaseUrl = environment.DATABASE_URL;
  for (const [key, fallback] of Object.entries(CONFIG_DEFAULTS)) {
    const name = `FIELDPROOF_BROKER_${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`;
    const text = environment[name];
    if (text === undefined) continue;
    if (typeof fallback === 'number') settings[key] = numberIn(text);
    else if (typeof fallback === 'boolean') settings[key] = parseBoolean(text);
    else if (Array.isArray(fallback)) settings[key] = parseList(text);
    else settings[key] = text;
  }
  return settings;
}

/** What is no number stays as it is, so that the complaint can show it. */
function numberIn(text: string): number | string {
  return text.trim() === '' || Number.isNaN(Number(text)) ? text : Number(text);
}

function problemOf(key: string, value: unknown): string | null {
  const range = RANGES[key];
  if (range) {
    const [min, max] = range;
    const ok = Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
    return ok ? null : `an integer from ${min} to ${max}`;
  }
  if (key === 'lan') return typeof value === 'boolean' ? null : 'true or false';
  if (key === 'trustedAddresses') {
    const ok =
      Array.isArray(value) &&
      value.every((entry) => typeof entry === 'string' && isAddressOrSubnet(entry));
    return ok ? null : 'a list of addresses and subnets';
  }
  if (key === 'names') {
    const ok = Array.isArray(value) && value.every((name) => typeof name === 'string');
    return ok ? null : 'a list of names';
  }
  if (key === 'plainDenied') {
    const ok = Array.isArray(value) && value.every((filter) => isFilterText(filter));
    return ok ? null : 'a list of topic filters';
  }
  if (key === 'plainAuth') {
    return value === 'anonymous' || value === 'token' ? null : 'anonymous or token';
  }
  if (key === 'logLevel') {
    return LOG_LEVELS.includes(value as string) ? null : `one of ${LOG_LEVELS.join(', ')}`;
  }
  if (key === 'signatureLibrary') {
    const isKnown = (SIGNATURE_LIBRARIES as readonly unknown[]).includes(value);
    return isKnown ? null : `one of ${SIGNATURE_LIBRARIES.join(', ')}`;
  }
  if (key === 'tlsMinVersion') {
    const isKnown = (TLS_VERSIONS as readonly unknown[]).includes(value);
    return isKnown ? null : `one of ${TLS_VERSIONS.join(', ')}`;
  }
  if (key === 'webhookUrl') {
    return isWebhookUrl(value) ? null : 'an http or https URL without user and password';
  }
  if (MAY_BE_EMPTY.has(key)) return typeof value === 'string' ? null : 'text';
  return typeof value === 'string' && value !== '' ? null : 'text';
}

/** Settings that go together. */
function contradictions({ tlsCert, tlsKey, tlsCa }: BrokerConfig): string[] {
  if ((tlsCert === '') !== (tlsKey === '')) return ['tlsCert, tlsKey: expected both or neither'];
  return tlsCa !== '' && tlsCert === '' ? ['tlsCa: expected tlsCert and tlsKey with it'] : [];
}

function parseList(text: string): readonly string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function isWebhookUrl(value: unknown): boolean {
  if (value === '') return true;
  if (typeof value !== 'string' || !URL.canParse(value)) return false;
  const { protocol, username, password } = new URL(value);
  return /^https?:$/.test(protocol) && username === '' && password === '';
}

function isFilterText(value: unknown): boolean {
  return typeof value === 'string' && isFilter(Buffer.from(value));
}

function parseBoolean(text: string): unknown {
  if (text === '1' || text === 'true') return true;
  if (text === '0' || text === 'false') return false;
  return text;
}

/** A setting without the secret that may be in its address. */
function bare(key: string, value: unknown): unknown {
  return redactConfig({ [key]: value })[key];
}

function show(value: unknown): string {
  return new Scrubber().scrub(JSON.stringify(value) ?? String(value)).slice(0, 60);
}
