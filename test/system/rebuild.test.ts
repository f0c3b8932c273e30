/**
 * `fieldproof rebuild` against the processes of `npm start`: the control process is killed again and again while its store
 * is recreated and exchanged; for InfluxDB the network moves to the recreated database.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Influxd, startInfluxd } from '../support/influxd.ts';
import { runProgram, startNetwork, type TestNetwork, until } from '../support/network.ts';
import { describeWith, REPOSITORY } from '../support/services.ts';

const CLI = 'analytics/bin/fieldproof.mjs';
const KILLS = 3;
const READINGS = 5;
/** Of the demo fleet, with one of these series. */
const DEVICES = 6;
const SERIES = [
  ['air', 'benzene'],
  ['machine', 'temperature'],
] as const;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-rebuild-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function fieldproof(dataDir: string, args: readonly string[]) {
  const result = await runProgram(CLI, [...args, '--data', dataDir]);
  expect(result).toMatchObject({ code: 0 });
  return result.stdout;
}

/** What the control process answers; undefined while it does not. */
async function ask(network: TestNetwork, path: string): Promise<Response | undefined> {
  const { url, tokenFile } = network.info.control;
  const headers = { authorization: `Bearer ${readFileSync(tokenFile, 'utf8').trim()}` };
  return fetch(url + path, { headers }).catch(() => undefined);
}

/** Raw readings up to a moment that the projection has passed, as CSV. */
async function answersUntil(network: TestNetwork, toMs: number): Promise<string[]> {
  const to = new Date(toMs).toISOString();
  const answers = SERIES.map(async ([profile, metric]) => {
    const query = new URLSearchParams({ profile, metric, from: '-2d', to, limit: '1000000' });
    const response = await ask(network, `/v1/query?${query}&format=csv`);
    expect(response?.status).toBe(200);
    return response!.text();
  });
  return Promise.all(answers);
}

interface Status {
  readonly broker: { readonly status: { readonly evidence: { readonly entries: number } } };
  readonly projection: { readonly nextIndex: number } | null;
}

/** Waits until all that was recorded until now is stored. */
async function settled(network: TestNetwork): Promise<void> {
  const status = async () => (await (await ask(network, '/v1/status'))?.json()) as Status;
  const { entries } = (await status()).broker.status.evidence;
  await until(`entry ${entries} is stored`, async () => {
    return ((await status()).projection?.nextIndex ?? 0) >= entries;
  });
}

/** A moment until which each device has sent everything, some readings at least; Unix ms. */
async function past(network: TestNetwork): Promise<number> {
  return until(`${READINGS} readings of each device are stored`, async () => {
    const newest = new Map<string, { count: number; ms: number }>();
    for (const answer of await answersUntil(network, Date.now())) {
      for (const line of answer.trim().split('\n').slice(1)) {
        const [time, device] = line.split(',');
        const { count, ms } = newest.get(device!) ?? { count: 0, ms: 0 };
        newest.set(device!, { count: count + 1, ms: Math.max(ms, Date.parse(time!)) });
      }
    }
    const devices = [...newest.values()];
    if (devices.length < DEVICES || devices.some(({ count }) => count < READINGS)) return undefined;
    return Math.min(...devices.map(({ ms }) => ms));
  });
}

/** The pid of the process whose environment names this folder, as the system knows it. */
function pidOf(variable: string): number | undefined {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .find((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(variable) &&
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('control-main')
        );
      } catch {
        return false;
      }
    });
}

/** The first of six neighbouring ports that were free a moment ago: a process that starts again needs its own. */
async function portBase(): Promise<number> {
  for (;;) {
    const base = 20_000 + Math.floor(Math.random() * 30_000);
    const free = await Promise.all(
      [0, 1, 2, 3, 4, 5].map(
        (offset) =>
          new Promise<boolean>((done) => {
            const server = createServer();
            server.once('error', () => done(false));
            server.listen(base + offset, '127.0.0.1', () => server.close(() => done(true)));
          }),
      ),
    );
    if (free.every(Boolean)) return base;
  }
}

describe('recreating the embedded store of a running network', () => {
  test('a control process killed at any moment of it keeps a whole store, and the answers stay', async () => {
    const dataDir = join(folder, 'embedded');
    const network = await startNetwork({
      dataDir,
      args: ['--port-base', String(await portBase())],
    });
    const control = `FIELDPROOF_CONTROL_DATA_DIR=${join(dataDir, 'control')}`;
    try {
      const toMs = await past(network);
      const before = await answersUntil(network, toMs);

      const startedMs = Date.now();
      await fieldproof(dataDir, ['rebuild']);
      const takesMs = Date.now() - startedMs;
      expect(await answersUntil(network, toMs)).toEqual(before);

      let failed = 0;
      for (let kill = 1; kill <= KILLS; kill++) {
        const rebuild = spawn(
          process.execPath,
          ['--import', 'tsx', resolve(REPOSITORY, CLI), 'rebuild', '--data', dataDir],
          { cwd: REPOSITORY, env: { ...process.env, NODE_OPTIONS: '' }, stdio: 'ignore' },
        );
        const ended = new Promise<number | null>((done) => rebuild.once('exit', done));
        // The command starts in the first half; the last instants are those of the exchange.
        await pause(takesMs * (0.5 + (0.55 * kill) / KILLS));
        const pid = pidOf(control);
        if (pid !== undefined) process.kill(pid, 'SIGKILL');
        if ((await ended) !== 0) failed++;
        await until('the control process is back', async () => {
          return (await ask(network, '/v1/status'))?.ok;
        });
        expect(await answersUntil(network, toMs)).toEqual(before);
      }
      expect(failed).toBeGreaterThan(0);
      await fieldproof(dataDir, ['rebuild']);
      expect(await answersUntil(network, toMs)).toEqual(before);
      await settled(network);
    } finally {
      await network.stop();
    }
    const audit = await runProgram(CLI, [
      ...['audit', 'conservation', '--json', '--broker-data', join(dataDir, 'broker')],
      ...['--store-file', join(dataDir, 'control/store/readings.duckdb')],
    ]);
    expect({ ...audit, stdout: audit.code === 0 ? '' : audit.stdout }).toMatchObject({ code: 0 });
  }, 180_000);
});

describeWith(['influxd'], 'recreating the database of a running network', () => {
  let influx: Influxd;
  beforeAll(async () => {
    influx = await startInfluxd();
  }, 60_000);
  afterAll(() => influx?.stop());

  test('the network moves to the recreated one and answers as before', async () => {
    const dataDir = join(folder, 'influx');
    const start = (database: string) =>
      startNetwork({ dataDir, env: { INFLUX_URL: `${influx.url}/${database}` } });
    const first = await start('city');
    const address = ['--influx-url', `${influx.url}/city`];
    let before: string[];
    let toMs: number;
    try {
      toMs = await past(first);
      before = await answersUntil(first, toMs);
      await fieldproof(dataDir, ['rebuild', ...address]);
    } finally {
      await first.stop();
    }
    const second = await start('city_rebuilt');
    try {
      expect(await answersUntil(second, toMs)).toEqual(before);
      // What came between the end of the rebuild and the move.
      const rest = ['--influx-url', `${influx.url}/city_rebuilt`, '--once'];
      await fieldproof(dataDir, ['project', ...rest]);
      await settled(second);
    } finally {
      await second.stop();
    }
    const audit = await runProgram(CLI, [
      ...['audit', 'conservation', '--json', '--broker-data', join(dataDir, 'broker')],
      ...['--influx-url', `${influx.url}/city_rebuilt`],
    ]);
    expect({ ...audit, stdout: audit.code === 0 ? '' : audit.stdout }).toMatchObject({ code: 0 });
  }, 180_000);
});

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
