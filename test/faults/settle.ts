/** After the faults: everything comes back and drains without a hand, ends in order, and is audited. */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ConservationReport } from '@fieldproof/analytics/audit/conservation';
import {
  readDuckdbFile,
  readInfluxDatabase,
  type StoredRows,
} from '@fieldproof/analytics/audit/stored-readings';
import { loadStatus } from '@fieldproof/device-agent/status';
import { cursorArguments } from '../support/flows-cursor.ts';
import { runProgram, until } from '../support/network.ts';
import type { BrokenNetwork } from './broken-network.ts';
import type { Load } from './load.ts';

export interface Settled {
  /** Time from the last fault until all was delivered and projected, ms. */
  readonly drainMs: number;
  readonly exitCode: number | null;
  readonly audit: { readonly code: number | null; readonly report: ConservationReport | null };
  readonly auditText: string;
  /** Readings whose time in the store is not from this run: a wrong clock was believed. */
  readonly misplaced: number;
  /** Lines of logs that should not be: stack traces, unhandled errors, secrets. */
  readonly badLines: readonly string[];
}

/** The system agent's and the clocks' slack; 1970, stale and hour-wide steps are far outside. */
const SLACK_MS = 60_000;

export interface SettleOptions {
  readonly startedWallMs: number;
  /** What else is waited for before the network is stopped. */
  readonly isDrained?: () => Promise<boolean>;
}

/** @throws when something does not come back or does not drain. */
export async function settle(
  network: BrokenNetwork,
  load: Load,
  { startedWallMs, isDrained = async () => true }: SettleOptions,
): Promise<Settled> {
  const begunMs = performance.now();
  await until('all devices are online', () => load.isOnline);
  await load.stop();
  await load.start({ sensors: 0 });
  await drained('the outboxes of the load', load.folders, () =>
    load.progress.filter(({ pending }) => pending === 0).map(({ name }) => name),
  );
  await load.stop();
  const ours = agentFolders(network.dataDir);
  await drained('the outboxes of npm start', ours, async () => {
    const statuses = await Promise.all(ours.map((folder) => loadStatus(folder)));
    return ours.filter((_, i) => statuses[i]?.counts.pending === 0).map((path) => nameOf(path));
  });
  await until('the projection has caught up', async () => {
    const projection = await network.projection();
    return projection !== null && projection.nextIndex >= projection.evidenceSize;
  });
  await until('what is derived is stored as well', isDrained);
  const drainMs = performance.now() - begunMs;
  const exitCode = await network.stopInOrder();
  const { code, stdout, stderr } = await audit(network, [...load.folders, ...ours]);
  const report = code === null || stdout === '' ? null : (JSON.parse(stdout) as ConservationReport);
  const logs = readdirSync(join(network.dataDir, 'logs')).map((name) =>
    join(network.dataDir, 'logs', name),
  );
  return {
    drainMs,
    exitCode,
    audit: { code, report },
    auditText: stderr,
    misplaced: await misplaced(network, startedWallMs),
    badLines: badLines([...logs, ...load.logFiles], secretsBelow(network.dataDir)),
  };
}

/** Each of them has been seen empty once; new readings may have come since. */
async function drained(
  what: string,
  folders: readonly string[],
  empty: () => readonly string[] | Promise<readonly string[]>,
): Promise<void> {
  const left = new Set(folders.map((path) => nameOf(path)));
  try {
    await until(`${what} are empty`, async () => {
      for (const name of await empty()) left.delete(name);
      return left.size === 0;
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}; left: ${[...left].join(', ')}`);
  }
}

/** The command as an operator runs it. */
async function audit(network: BrokenNetwork, agents: readonly string[]) {
  const { dataDir, influx } = network;
  return await runProgram('analytics/bin/fieldproof.mjs', [
    ...['audit', 'conservation', '--json', '--broker-data', join(dataDir, 'broker')],
    ...['--agent-data', ...agents],
    ...(influx === null ? ['--store-file', storeFile(dataDir)] : ['--influx-url', influx.url]),
    ...cursorArguments(dataDir),
  ]);
}

async function misplaced(
  { dataDir, influx }: BrokenNetwork,
  startedWallMs: number,
): Promise<number> {
  const low = (startedWallMs - SLACK_MS) * 1000;
  const high = (Date.now() + SLACK_MS) * 1000;
  const store: AsyncIterable<StoredRows> =
    influx === null
      ? readDuckdbFile(storeFile(dataDir))
      : readInfluxDatabase({ url: influx.url, database: 'fieldproof' });
  let count = 0;
  for await (const { measurement, rows } of store) {
    if (!/^room\d+$/.test(measurement)) continue;
    count += rows.filter(({ timeUs }) => timeUs < low || timeUs > high).length;
  }
  return count;
}

function storeFile(dataDir: string): string {
  return join(dataDir, 'control', 'store', 'readings.duckdb');
}

function agentFolders(dataDir: string): string[] {
  const folder = join(dataDir, 'agents');
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(folder, name));
}

function nameOf(path: string): string {
  return path.split('/').at(-1) ?? path;
}

/** Tokens, passwords and words that the network keeps in files for people and processes. */
function secretsBelow(dataDir: string): string[] {
  const secrets: string[] = [];
  for (const name of readdirSync(dataDir, { recursive: true, encoding: 'utf8' })) {
    if (!/(^|\/)(tokens\/[^/]+|[^/]*-token|[^/]*password[^/]*|owner-phrase|join-line)$/.test(name))
      continue;
    const path = join(dataDir, name);
    if (!statSync(path).isFile()) continue;
    const text = readFileSync(path, 'utf8').trim();
    if (text.length >= 12 && text.length < 400) secrets.push(text);
  }
  return secrets;
}

const BAD = /^\s+at .+:\d+:\d+\)?$|unhandled|uncaught|MODULE_NOT_FOUND|SyntaxError|TypeError/i;

function badLines(files: readonly string[], secrets: readonly string[]): string[] {
  const found: string[] = [];
  for (const path of files) {
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      if (BAD.test(line)) found.push(`${nameOf(path)}: ${line.slice(0, 300)}`);
      else if (secrets.some((secret) => line.includes(secret))) {
        found.push(`${nameOf(path)}: a secret`);
      }
    }
  }
  return found;
}
