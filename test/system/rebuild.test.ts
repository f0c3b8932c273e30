/**
 * `fieldproof rebuild` against the processes of `npm start`: the control process is killed again and again while its store
 * is recreated and exchanged; for InfluxDB the network moves to the recreated database.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { cursorArguments } from '../support/flows-cursor.ts';
import { type Influxd, startInfluxd } from '../support/influxd.ts';
import { runProgram, startNetwork, type TestNetwork, until } from '../support/network.ts';
import { describeWith } from '../support/services.ts';

const CLI = 'analytics/bin/fieldproof.mjs';
/** About as long as the exchange of two stores takes. */
const EXCHANGE_MS = 150;
const READINGS = 3;
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

/** The pid of the control process of a data folder, as the system knows it. */
function controlPid(dataDir: string): number {
  const variable = `FIELDPROOF_CONTROL_DATA_DIR=${join(dataDir, 'control')}`;
  const pid = readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .find((name) => {
      try {
        return (
          readFileSync(`/proc/${name}/environ`, 'utf8').split('\0').includes(variable) &&
          readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('control-main')
        );
      } catch {
        return false;
      }
    });
  if (pid === undefined) throw new Error('expected a control process, got none');
  return Number(pid);
}

interface Kill {
  /** The request of the rebuild at which the control process is killed. */
  readonly path: string;
  /** How long after the request went on to it; null: before. */
  readonly afterMs: number | null;
}

/** Stands between the command and the control process, and knows how far the command is by what it asks. */
async function startKiller(network: TestNetwork, { path, afterMs }: Kill) {
  let isDone = false;
  const kill = () => process.kill(controlPid(network.dataDir), 'SIGKILL');
  const server = createServer((incoming, outgoing) => {
    const isNow = !isDone && incoming.url?.split('?', 1)[0] === path;
    isDone ||= isNow;
    if (isNow && afterMs === null) kill();
    const { method, headers } = incoming;
    const onward = request(network.info.control.url + incoming.url, { method, headers });
    onward.on('response', (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers);
      response.on('error', () => outgoing.destroy()).pipe(outgoing);
    });
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
    if (isNow && afterMs !== null) incoming.once('end', () => setTimeout(kill, afterMs));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    hasKilled: () => isDone,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** In the order of a rebuild. Up to the commit nothing is exchanged, so the command has to fail. */
const CERTAIN: readonly Kill[] = [
  { path: '/v1/rebuild/write', afterMs: null },
  { path: '/v1/rebuild/hold', afterMs: null },
  { path: '/v1/rebuild/commit', afterMs: null },
];
/** Somewhere in the exchange of the files: it has happened then, or it has not. */
const RANDOM: readonly Kill[] = Array.from({ length: 2 }, () => ({
  path: '/v1/rebuild/commit',
  afterMs: Math.floor(Math.random() * EXCHANGE_MS),
}));

describe('recreating the embedded store of a running network', () => {
  test('a control process killed at any moment of it keeps a whole store, and the answers stay', async () => {
    const dataDir = join(folder, 'embedded');
    const network = await startNetwork({ dataDir, args: ['--max-restart-pause', '100'] });
    try {
      const toMs = await past(network);
      const before = await answersUntil(network, toMs);
      for (const kill of [...CERTAIN, ...RANDOM]) {
        const what = `killed at ${kill.path} after ${kill.afterMs} ms`;
        const killer = await startKiller(network, kill);
        const { tokenFile } = network.info.control;
        const { code, stderr } = await runProgram(CLI, [
          ...['rebuild', '--data', dataDir, '--url', killer.url, '--token-file', tokenFile],
        ]);
        killer.close();
        expect([what, killer.hasKilled()]).toEqual([what, true]);
        if (CERTAIN.includes(kill)) {
          expect([what, stderr]).toEqual([what, expect.stringMatching(/^error ERR_/m)]);
          // 3: the control process was not reached.
          expect([1, 3]).toContain(code);
        }
        await until('the control process is back', async () => {
          return (await ask(network, '/v1/status'))?.ok;
        });
        expect([what, await answersUntil(network, toMs)]).toEqual([what, before]);
      }
      await fieldproof(dataDir, ['rebuild']);
      expect(await answersUntil(network, toMs)).toEqual(before);
      await settled(network);
    } finally {
      await network.stop();
    }
    const audit = await runProgram(CLI, [
      ...['audit', 'conservation', '--json', '--broker-data', join(dataDir, 'broker')],
      ...['--store-file', join(dataDir, 'control/store/readings.duckdb')],
      ...cursorArguments(dataDir),
    ]);
    expect(audit.code === 0 ? '' : audit.stdout + audit.stderr).toBe('');
  });
});

describeWith(['influxd'], 'recreating the database of a running network', () => {
  let influx: Influxd;
  beforeAll(async () => {
    influx = await startInfluxd();
  });
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
      ...cursorArguments(dataDir),
    ]);
    expect(audit.code === 0 ? '' : audit.stdout + audit.stderr).toBe('');
  });
});
