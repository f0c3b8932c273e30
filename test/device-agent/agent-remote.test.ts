/** An agent that an operator sets from afar, on a scripted network. */

import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { initAgent } from '@fieldproof/device-agent/init';
import { lineLog } from '@fieldproof/device-agent/log';
import { type ConfigReport, configReportOf } from '@fieldproof/protocol/config-report';
import { digestOfState, encodeDesiredState, type Wishes } from '@fieldproof/protocol/desired-state';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES, downAad, seal } from '@fieldproof/protocol/envelope';
import { type Birth, decodeBirth, decodeEvent } from '@fieldproof/protocol/messages';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { until } from './fake-clock.ts';
import { FakeNetwork, NETWORK } from './fake-network.ts';

const random = (length: number) => new Uint8Array(randomBytes(length));
const HOUR = 3_600_000;

let network: FakeNetwork;
let dataDir: string;
let agents: Agent[];
let lines: string[];

beforeEach(async () => {
  network = new FakeNetwork();
  await network.start();
  dataDir = await mkdtemp(join(tmpdir(), 'agent-'));
  agents = [];
  lines = [];
  await initAgent({
    ...{ dataDir, joinLine: network.joinLine(), name: 'test', random },
    owner: { type: 'new' },
  });
});

afterEach(async () => {
  for (const agent of agents) await agent.stop();
  await network.stop();
  await rm(dataDir, { recursive: true });
});

async function startAgent(config: object = {}): Promise<Agent> {
  const agent = new Agent({
    config: await checkConfig({
      sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 100 }],
      batch: { sealEveryMs: 100 },
      outbox: { fsyncEveryMs: 10 },
      link: { backoffMinMs: 10, backoffMaxMs: 1000 },
      remote: { minIntervalMs: 100 },
      ...config,
    }),
    ...{ dataDir, random },
    log: lineLog({
      ...{ level: 'debug', format: 'text', nowMs: Date.now },
      write: (line) => lines.push(line),
    }),
  });
  agents.push(agent);
  await agent.start();
  await until(() => agent.status().counts.recorded > 2, 'a session');
  return agent;
}

function state(version: number, wishes: Wishes = {}, expires = Date.now() + HOUR): Uint8Array {
  const issued = Math.min(Date.now() - 1000, expires - 1);
  return encodeDesiredState({ id: random(16), issued, version, expires, ...wishes });
}

const births = (): Birth[] =>
  network.received
    .filter(({ kind }) => kind === 'birth')
    .map(({ envelope }) => decodeBirth(envelope.payload));

const reports = (): ConfigReport[] =>
  network.received
    .filter(({ kind }) => kind === 'event')
    .flatMap(({ envelope }) => configReportOf(decodeEvent(envelope.payload)) ?? []);

async function report(outcome: string, at = 0): Promise<ConfigReport> {
  const found = () => reports().filter((each) => each.outcome === outcome)[at];
  await until(() => found() !== undefined, outcome);
  return found()!;
}

test('a desired state is applied within the boot, reported, and stated by the next birth', async () => {
  const agent = await startAgent();
  const before = agent.status().boot;
  const [first] = births();
  expect(first!.capabilities.config).toEqual(
    new Map<string, unknown>([
      ['allow', true],
      ['newest', 0],
      ['inForce', 0],
    ]),
  );
  const payload = state(3, { intervals: { room: 200 }, wanted: ['room/temperature'] });
  network.send('config', payload);
  expect(await report('applied')).toMatchObject({
    version: 3,
    inForce: 3,
    digest: digestOfState(payload),
  });
  await until(() => births().length > 1, 'another birth');
  const last = births().at(-1)!;
  expect(last.profiles.room).toEqual([
    expect.objectContaining({ metric: 'temperature', intervalMs: 200 }),
  ]);
  expect((last.capabilities.config as Map<string, unknown>).get('inForce')).toBe(3);
  await until(() => agent.status().remote?.inForce?.trial === false, 'it to prove itself');
  expect(agent.status().boot).toEqual(before);

  await agent.stop();
  const again = await startAgent();
  expect(again.status().remote?.inForce).toMatchObject({ version: 3, trial: false });
  expect(births().at(-1)!.profiles.room).toHaveLength(1);
});

test('an edge function from afar sends results in place of readings, until it is taken away', async () => {
  await startAgent();
  const count = (kind: string) => network.kinds().filter((each) => each === kind).length;
  network.send('config', state(1, { edge: { 'room/temperature': 'window 1s mean' } }));
  await until(() => count('result') > 0, 'results');
  expect(
    births()
      .at(-1)!
      .profiles.room!.map(({ metric }) => metric),
  ).toContain('temperature.mean');
  network.send('config', state(2));
  await report('applied', 1);
  await until(
    () =>
      births()
        .at(-1)!
        .profiles.room!.some(({ metric }) => metric === 'temperature'),
    'a birth',
  );
  expect(
    births()
      .at(-1)!
      .profiles.room!.map(({ metric }) => metric),
  ).not.toContain('temperature.mean');
});

test('what the device does not have or the owner does not allow is refused with all reasons', async () => {
  const agent = await startAgent({ remote: { minIntervalMs: 5000 } });
  network.send(
    'config',
    state(1, {
      wanted: ['room/colour', 'attic'],
      intervals: { attic: 1000, room: 101 },
      edge: { 'room/temperature': 'window soon', 'attic/x': 'window 1m mean' },
      preferences: { heartbeatMs: 1000 },
    }),
  );
  const { code, reasons, inForce } = await report('refused');
  expect({ code, inForce }).toEqual({ code: 'ERR_CONFIG_INVALID', inForce: 0 });
  expect(reasons.map((reason) => reason.split(':')[0])).toEqual(
    expect.arrayContaining([
      'wanted[0]',
      'wanted[1]',
      'intervals.attic',
      'edge.room/temperature',
      'edge.attic/x',
      'preferences.heartbeatMs',
    ]),
  );
  expect(agent.status().remote?.inForce).toBeNull();
});

test('an owner who takes none is told to the operator, and what was in force ends', async () => {
  const agent = await startAgent();
  network.send('config', state(1, { intervals: { room: 300 } }));
  await report('applied');
  await agent.stop();
  const refusing = await startAgent({ remote: { allow: false } });
  expect((await report('refused')).code).toBe('ERR_CONFIG_NOT_ALLOWED');
  expect(refusing.status().remote).toMatchObject({ allow: false, inForce: null });
  network.send('config', state(2));
  expect((await report('refused', 1)).version).toBe(2);
});

test('a change after which a sensor gives nothing is taken back, with the reason', async () => {
  const file = join(dataDir, 'value.txt');
  await writeFile(file, '21\n');
  const sysfs = {
    driver: 'sysfs',
    profile: 'board',
    intervalMs: 100,
    hwmon: false,
    thermal: false,
    iio: false,
    w1: false,
    files: [{ path: file, metric: 'board', unit: 'Cel' }],
  };
  const agent = await startAgent({
    sensors: [sysfs],
    remote: { minIntervalMs: 100, graceMs: 300 },
  });
  network.send('config', state(1, { intervals: { board: 150 } }));
  await until(() => agent.status().remote?.inForce?.trial === false, 'the first to prove itself');
  await rm(file);
  network.send('config', state(2, { intervals: { board: 200 } }));
  const taken = await report('rolled-back');
  expect(taken).toMatchObject({ version: 2, inForce: 1, code: 'ERR_CONFIG_NO_READINGS' });
  expect(taken.reasons.join()).toContain('board');
  expect(agent.status().remote).toMatchObject({
    inForce: { version: 1 },
    last: { outcome: 'rolled-back' },
  });
});

test('a state under another key, for another device or with any byte changed, changes nothing', async () => {
  const agent = await startAgent();
  const payload = state(1, { intervals: { room: 300 } });
  network.send('config', payload, { signer: signerFromSeed(random(32)) });
  network.send('config', payload, { signer: network.roles.log });
  const sealFor = (deviceId: string): Uint8Array =>
    seal({
      ...{ contentType: CONTENT_TYPES.cbor, payload, signer: network.roles.control },
      externalAad: downAad(NETWORK, 'config', deviceId),
    });
  const { device } = agent.status();
  network.sendRaw('config', sealFor(`${device.slice(0, -1)}${device.endsWith('a') ? 'b' : 'a'}`));
  const good = sealFor(device);
  for (let at = 0; at < good.length; at += 1) {
    const bad = Uint8Array.from(good);
    bad[at]! ^= 1;
    network.sendRaw('config', bad);
  }
  network.sendRaw('config', good);
  await report('applied');
  expect(reports()).toHaveLength(1);
  expect(await readFile(join(dataDir, 'state', 'remote-config.cbor'))).toBeDefined();
});
