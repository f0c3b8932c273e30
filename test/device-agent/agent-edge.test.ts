import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { project } from '@fieldproof/analytics/projection/projector';
import { emptyState } from '@fieldproof/analytics/projection/projector-state';
import { checkPayload } from '@fieldproof/broker/gate/payload-rules';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { initAgent } from '@fieldproof/device-agent/init';
import { silentLog } from '@fieldproof/device-agent/log';
import { formatStatus } from '@fieldproof/device-agent/status';
import { decodeEdgeResult } from '@fieldproof/protocol/edge-result';
import { decodeBirth } from '@fieldproof/protocol/messages';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FakeLog, fakeDevice } from '../analytics/projection/evidence.ts';
import { agentCli } from '../support/agent-cli.ts';
import { until } from './fake-clock.ts';
import { FakeNetwork } from './fake-network.ts';

const random = (length: number) => new Uint8Array(randomBytes(length));

let network: FakeNetwork;
let folder: string;
let dataDir: string;
let agents: Agent[];

beforeEach(async () => {
  network = new FakeNetwork();
  await network.start();
  folder = await mkdtemp(join(tmpdir(), 'agent-edge-'));
  dataDir = join(folder, 'data');
  agents = [];
  const owner = { type: 'new' } as const;
  await initAgent({ dataDir, joinLine: network.joinLine(), name: 'test', owner, random });
});
afterEach(async () => {
  for (const agent of agents) await agent.stop();
  await network.stop();
  await rm(folder, { recursive: true });
});

async function startAgent(edge: object): Promise<Agent> {
  const config = await checkConfig({
    sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 100 }],
    batch: { sealEveryMs: 100 },
    outbox: { fsyncEveryMs: 10 },
    raw: { sealEveryMs: 1000 },
    link: { backoffMinMs: 10, backoffMaxMs: 1000 },
    edge,
  });
  const agent = new Agent({ config, dataDir, random, log: silentLog });
  agents.push(agent);
  await agent.start();
  return agent;
}

const results = () => network.received.filter(({ kind }) => kind === 'result');

const cli = (...args: string[]) => agentCli(args);

describe('an agent with edge functions', () => {
  test('sends results in place of readings, which pass the gate and become series of their own', async () => {
    const agent = await startAgent({
      temperature: 'window 1s mean,max',
      humidity: { function: 'deadband 0', send: 'both' },
    });
    await until(() => results().length > 1, 'results');
    const now = Date.now();
    const log = new FakeLog();
    const alice = fakeDevice(1);
    const metrics = new Set<string>();
    for (const { envelope } of results()) {
      expect(envelope.contentType).toBe(65002);
      checkPayload('result', envelope, now + 1000);
      log.batch(alice, { kind: 'result', contentType: 65002, payload: envelope.payload });
      const { outcome } = project(log.frames.at(-1)!, emptyState());
      expect(outcome.type).toBe('readings');
      if (outcome.type !== 'readings') continue;
      for (const { profile, columns } of outcome.tables) {
        for (const { metric, unit } of columns) metrics.add(`${profile}/${metric} ${unit}`);
      }
    }
    expect([...metrics]).toEqual(
      expect.arrayContaining([
        'room/temperature.mean Cel',
        'room/temperature.max Cel',
        'room/humidity %RH',
      ]),
    );
    const birth = decodeBirth(
      network.received.find(({ kind }) => kind === 'birth')!.envelope.payload,
    );
    expect(birth.capabilities.formats).toContain(65002);
    expect(birth.profiles.room!.map(({ metric }) => metric)).toEqual([
      ...['temperature.mean', 'temperature.max', 'humidity', 'pressure'],
    ]);
    const { edge } = agent.status();
    expect(edge).toMatchObject({ line: 'unix', lost: 0, unseen: [] });
    expect(edge!.streams.map(({ stream }) => stream)).toEqual([
      'room/temperature',
      'room/humidity',
    ]);
    const lines = formatStatus(agent.status(), true);
    expect(lines).toMatch(/edge +room\/temperature, window 1s mean,max: \d+ readings, \d+ results/);
    expect(lines).toMatch(/raw readings +\d+ of 67108864 bytes/);
  });

  test('goes on with its streams after a restart; what is kept is listed, exported and verified', async () => {
    const first = await startAgent({ temperature: 'deadband 0' });
    await until(() => results().length > 0, 'results');
    await first.stop();
    const stopped = results().length;
    await startAgent({ temperature: 'deadband 0' });
    await until(() => results().length > stopped + 1, 'results after the restart');
    const chain = results().map(({ envelope }) => decodeEdgeResult(envelope.payload).streams[0]!);
    expect(chain[0]!.before).toBeNull();
    for (let i = 1; i < chain.length; i++) expect(chain[i]!.before).toEqual(chain[i - 1]!.after);

    const listed = await cli('raw', 'list', '--data', dataDir, '--json');
    expect(listed).toMatchObject({ code: 0, err: '' });
    const rows = listed.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { boot: number });
    expect(new Set(rows.map(({ boot }) => boot))).toEqual(new Set([1, 2]));
    const out = join(folder, 'out');
    const exported = await cli('raw', 'export', '--data', dataDir, '--out', out, '--boot', '1');
    expect(exported).toMatchObject({ code: 0, err: '' });
    const files = await readdir(out);
    expect(files).toHaveLength(rows.filter(({ boot }) => boot === 1).length);
    const verified = await cli('raw', 'verify', ...files.map((file) => join(out, file)));
    expect(verified).toMatchObject({ code: 0, err: '' });
    expect(verified.out).toMatch(
      /boot 1, seq \d+: \d+ results of room\/temperature follow from \d+ raw readings/,
    );

    const path = join(out, files[0]!);
    const good = await readFile(path);
    const { result } = { result: results()[0]!.envelope.payload };
    expect(good.includes(Buffer.from(result))).toBe(true);
    for (let at = 0; at < good.length; at += 11) {
      const bad = Uint8Array.from(good);
      bad[at]! ^= 1;
      await writeFile(path, bad);
      const { code, out: said, err } = await cli('raw', 'verify', path);
      // Who sealed it with which seq is the envelope's to say.
      if (code === 0) expect(said).not.toBe(verified.out.split('\n')[0]);
      else expect([code, err]).toEqual([65, expect.stringMatching(/ERR_AGENT_RAW_CONTRADICTED/)]);
    }
    const nothing = await cli('raw', 'list', '--data', join(folder, 'none'));
    expect(nothing).toEqual({ code: 0, out: 'no results are kept\n', err: '' });
  });
});
