/** A copied card: two agents with one key on a real broker. Time is moved by the test; a heartbeat is 50 s of it. */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import type { LogFields } from '@fieldproof/device-agent/log';
import { type AgentStatus, formatStatus } from '@fieldproof/device-agent/status';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../broker/support/broker.ts';
import { type FakeClock, fakeClock } from '../device-agent/fake-clock.ts';
import { agentCli } from '../support/agent-cli.ts';
import { until } from '../support/until.ts';

const HEARTBEAT_MS = 50_000;
const PHRASE = 'legal winner thank year wave sausage worth useful legal winner thank yellow';
const folder = mkdtempSync(join(tmpdir(), 'fieldproof-copied-'));
const words = join(folder, 'words');
const agents: Agent[] = [];
let clock: FakeClock;
let broker: TestBroker;
let made = 0;

beforeAll(async () => {
  broker = await startTestBroker();
  writeFileSync(words, PHRASE);
});

afterEach(async () => {
  // Their pauses at the end are of the same clock.
  const stopping = Promise.all(agents.splice(0).map((agent) => agent.stop()));
  let isOver = false;
  void stopping.finally(() => {
    isOver = true;
  });
  while (!isOver) await step(100);
  await stopping;
});

afterAll(async () => {
  await broker.close();
  rmSync(folder, { recursive: true });
});

/** Moves time, and gives the sockets a moment of the real one, and the broker's threads as long as they need. */
async function step(ms = 500): Promise<void> {
  await clock.advance(ms);
  await new Promise((resolve) => setTimeout(resolve, 15));
  const { running } = broker;
  const isDecided = () => running.status().verdicts.inFlight === 0;
  await until('the broker has decided', isDecided, { everyMs: 2 });
}

/** Moves time until something holds. @returns how much has passed. */
async function passUntil(what: string, holds: () => boolean, atMostMs = 600_000): Promise<number> {
  const startMs = clock.monotonicMs();
  while (!holds()) {
    if (clock.monotonicMs() - startMs > atMostMs)
      throw new Error(`not within ${atMostMs} ms: ${what}`);
    await step();
  }
  return clock.monotonicMs() - startMs;
}

const cli = (...args: string[]) => agentCli(args);

async function card(): Promise<string> {
  clock = fakeClock(Date.now());
  const data = join(folder, `card-${made++}`);
  const line = await broker.joinLine();
  const { code, err } = await cli(
    'init',
    '--data',
    data,
    '--join',
    line,
    '--owner-phrase-file',
    words,
  );
  expect([code, err]).toEqual([0, '']);
  return data;
}

interface Said {
  readonly message: string;
  readonly fields: LogFields;
}

async function insert(data: string): Promise<{ agent: Agent; said: Said[] }> {
  const config = await checkConfig({
    sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 1000 }],
    batch: { sealEveryMs: 2000 },
    outbox: { fsync: 'always' },
    link: { heartbeatMs: HEARTBEAT_MS, timeoutMs: 300_000, keepAliveSeconds: 600 },
  });
  const said: Said[] = [];
  const note = (message: string, fields: LogFields = {}) => void said.push({ message, fields });
  const log = { debug: note, info: note, warn: note, error: note };
  const agent = new Agent({ config, dataDir: data, clock, log });
  agents.push(agent);
  await agent.start();
  return { agent, said };
}

async function remove(agent: Agent): Promise<void> {
  agents.splice(agents.indexOf(agent), 1);
  let isOver = false;
  const stopping = agent.stop().finally(() => {
    isOver = true;
  });
  while (!isOver) await step(100);
  await stopping;
}

const copyOf = (data: string): string => {
  const copy = join(folder, `card-${made++}`);
  cpSync(data, copy, { recursive: true });
  rmSync(join(copy, 'state/lock'), { force: true });
  return copy;
};
/** Undefined while it starts anew. */
const statusOf = (agent: Agent): AgentStatus | undefined => {
  try {
    return agent.status();
  } catch {
    return undefined;
  }
};
const isQuarantined = (agent: Agent) =>
  statusOf(agent)?.link.reason?.startsWith('ERR_AGENT_CLONED') === true;
const isOnline = (agent: Agent) => statusOf(agent)?.link.state === 'online';
const recorded = (agent: Agent) => statusOf(agent)?.counts.recorded ?? 0;
const recordsAnew = async (agent: Agent) => {
  const before = recorded(agent);
  return await passUntil('more is recorded', () => recorded(agent) > before + 2);
};
const quarantined = async (device: string): Promise<readonly string[]> => {
  const { body } = await broker.admin('GET', `/admin/devices/${device}`);
  return (body as { quarantined: string[] }).quarantined;
};

test.each(['while it runs', 'before it is started again'])(
  'a card that was copied %s is noticed within two heartbeats: one works on, the other is told what to do',
  async (when) => {
    const data = await card();
    let first = await insert(data);
    await recordsAnew(first.agent);
    let copy = copyOf(data);
    if (when === 'before it is started again') {
      await remove(first.agent);
      copy = copyOf(data);
      first = await insert(data);
      await recordsAnew(first.agent);
    }
    const second = await insert(copy);
    const { device } = first.agent.status();
    const tookMs = await passUntil('one is quarantined', () =>
      [first.agent, second.agent].some(isQuarantined),
    );
    expect(tookMs).toBeLessThanOrEqual(2 * HEARTBEAT_MS);
    expect([isQuarantined(first.agent), isQuarantined(second.agent)]).toEqual([false, true]);
    expect(await quarantined(device)).not.toEqual([]);
    // The one that stays is not disturbed by the other any more.
    await passUntil('it is in session', () => isOnline(first.agent));
    const sinceMs = first.agent.status().link.sinceMs;
    await recordsAnew(first.agent);
    for (let passed = 0; passed < 3 * HEARTBEAT_MS; passed += 5000) await step(5000);
    expect(first.agent.status().link).toMatchObject({ state: 'online', sinceMs });
    expect(isQuarantined(second.agent)).toBe(true);
    const told = second.said.find(({ message }) => message === 'the network refuses this device');
    expect(told?.fields.remedy).toMatch(/init --new-device.*keys rotate/);
    expect(formatStatus(second.agent.status(), true)).toMatch(/what to do +If this is the copy/);

    // What it was told works: a device of its own.
    await remove(second.agent);
    const line = await broker.joinLine();
    const fresh = await cli(
      ...['init', '--new-device', '--data', copy, '--join', line, '--owner-phrase-file', words],
    );
    expect([fresh.code, fresh.err]).toEqual([0, '']);
    const again = await insert(copy);
    await recordsAnew(again.agent);
    expect(again.agent.status().device).not.toBe(device);
    await recordsAnew(first.agent);
    expect(first.agent.status().link.sinceMs).toBe(sinceMs);
  },
);

test('the other way works too: the key is rotated here, and the copy is shut out', async () => {
  const data = await card();
  const copied = await insert(data);
  await recordsAnew(copied.agent);
  const right = await insert(copyOf(data));
  await passUntil('it is quarantined', () => isQuarantined(right.agent));
  const { device } = right.agent.status();
  await remove(copied.agent);
  const dataOfRight = join(folder, `card-${made - 1}`);
  const rotated = await cli('keys', 'rotate', '--data', dataOfRight);
  expect([rotated.code, rotated.err]).toEqual([0, '']);
  await passUntil('it is in session again', () => isOnline(right.agent));
  await recordsAnew(right.agent);
  expect(right.agent.status().device).toBe(device);
  const copy = await insert(data);
  await passUntil('it is refused', () => copy.agent.status().link.state === 'refused');
  await recordsAnew(right.agent);
  expect(copy.agent.status().counts.recorded).toBe(0);
});

test('a backlog of an older boot is no clone', async () => {
  const data = await card();
  const first = await insert(data);
  await recordsAnew(first.agent);
  await remove(first.agent);
  const { http, mqtt } = broker.running.addresses;
  expect([http, mqtt]).toEqual([expect.anything(), expect.anything()]);
  // A boot without a network: its join line leads nowhere, and what it seals waits.
  const { port } = new URL(http);
  for (const file of ['join-line', 'state/descriptor.cose']) {
    cpSync(join(data, file), join(folder, file.replace('/', '-')));
  }
  const line = readFileSync(join(data, 'join-line'), 'utf8');
  writeFileSync(join(data, 'join-line'), line.replace(`:${port}/`, ':9/'));
  rmSync(join(data, 'state/descriptor.cose'));
  const offline = await insert(data);
  await passUntil('some waits', () => offline.agent.status().counts.pending > 4);
  const { boot } = offline.agent.status();
  await remove(offline.agent);
  cpSync(join(folder, 'join-line'), join(data, 'join-line'));
  cpSync(join(folder, 'state-descriptor.cose'), join(data, 'state/descriptor.cose'));
  const third = await insert(data);
  const waits = third.agent.status().counts.pending;
  expect(waits).toBeGreaterThan(4);
  expect(third.agent.status().boot.counter).toBe(boot.counter + 1);
  await passUntil('all of it is recorded', () => third.agent.status().counts.recorded > waits + 3);
  expect(await quarantined(third.agent.status().device)).toEqual([]);
  expect(third.agent.status().counts.rejected).toBe(0);
});

test('a card without its count of boots, and one that was put back to an older state, are no clones', async () => {
  const data = await card();
  const backup = await (async () => {
    const agent = await insert(data);
    await recordsAnew(agent.agent);
    await remove(agent.agent);
    return copyOf(data);
  })();
  for (let start = 0; start < 2; start += 1) {
    const { agent } = await insert(data);
    await recordsAnew(agent);
    await remove(agent);
  }
  const { agent: restored } = await insert(backup);
  const device = restored.status().device;
  await recordsAnew(restored);
  expect(restored.status().link.state).toBe('online');
  const counter = restored.status().boot.counter;
  expect(counter).toBeGreaterThan(3);
  await remove(restored);
  for (const name of ['boot.json', 'boot-copy.json', 'receipt.cose', 'outbox', 'parked']) {
    rmSync(join(backup, 'state', name), { recursive: true, force: true });
  }
  const { agent: lost } = await insert(backup);
  await passUntil(
    'it is above again',
    () => (statusOf(lost)?.boot.counter ?? 0) > counter && isOnline(lost),
  );
  await recordsAnew(lost);
  expect(isQuarantined(lost)).toBe(false);
  // The boots whose counters were used again are out, and nothing else.
  for (const name of await quarantined(device))
    expect(Number(name.split('.')[0])).toBeLessThan(counter);
});
