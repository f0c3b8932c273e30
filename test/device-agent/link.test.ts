import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { initAgent } from '@fieldproof/device-agent/init';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type FakeClock, fakeClock } from './fake-clock.ts';
import { FakeNetwork } from './fake-network.ts';

const HOUR = 3_600_000;
const random = (length: number) => new Uint8Array(randomBytes(length));

let network: FakeNetwork;
let dataDir: string;
let clock: FakeClock;
let agent: Agent | undefined;

beforeEach(async () => {
  clock = fakeClock();
  network = new FakeNetwork();
  network.timeMs = () => clock.wallMs();
  await network.start();
  dataDir = await mkdtemp(join(tmpdir(), 'agent-link-'));
  agent = undefined;
});
afterEach(async () => {
  if (agent !== undefined) await stop(agent);
  await network.stop();
  await rm(dataDir, { recursive: true });
});

async function start(joinLine = network.joinLine(), link: object = {}): Promise<Agent> {
  await initAgent({ dataDir, joinLine, name: 'test', owner: { type: 'new' }, random });
  agent = new Agent({
    config: await checkConfig({
      sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 10_000 }],
      link,
    }),
    dataDir,
    clock,
    random,
    statusFile: false,
  });
  await agent.start();
  return agent;
}

/** Moves the clock in steps, with time for sockets and files between them, until something holds. */
async function pass(condition: () => boolean, { stepMs = 250, turns = 4000 } = {}): Promise<void> {
  for (let turn = 0; !condition(); turn += 1) {
    if (turn > turns) throw new Error('it does not come to pass');
    await clock.advance(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function stop(running: Agent): Promise<void> {
  let stopped = false;
  const done = running.stop().then(() => {
    stopped = true;
  });
  await pass(() => stopped, { stepMs: 20 });
  await done;
}

const isOnline = (running: Agent) => () => running.status().link.state === 'online';

describe('a link over time', () => {
  test('a birth or an event goes out at least every 60 s, also while readings flow', async () => {
    const signs: number[] = [];
    let readings = 0;
    network.onPublish = ({ kind }, { ack, receipt }) => {
      if (kind === 'birth' || kind === 'event') signs.push(clock.monotonicMs());
      if (kind === 'telemetry') readings += 1;
      ack();
      receipt();
    };
    await start();
    await pass(() => clock.monotonicMs() > 300_000);
    expect(readings).toBeGreaterThan(20);
    const ends = [...signs.slice(1), clock.monotonicMs()];
    expect(signs.every((atMs, at) => ends[at]! - atMs <= 60_000)).toBe(true);
  });

  test('the credential is renewed at 2/3 of its life, within the session and without the token', async () => {
    const issued = clock.wallMs();
    network.credentialLife = { issued, expires: issued + 30 * 60_000 };
    const running = await start();
    await pass(isOnline(running));
    await pass(() => clock.wallMs() > issued + 19 * 60_000, { stepMs: 2000 });
    expect(network.tokensSeen).toEqual([network.token]);
    network.credentialLife = { issued: issued + 20 * 60_000, expires: issued + 24 * HOUR };
    await pass(() => network.tokensSeen.length === 2, { stepMs: 2000 });
    expect(clock.wallMs()).toBeLessThan(issued + 21 * 60_000);
    expect(network.tokensSeen[1]).toBeNull();
    expect(network.connects).toBe(1);
  });

  test('a renewal that is refused keeps nobody out while the credential lasts', async () => {
    const issued = clock.wallMs();
    network.credentialLife = { issued, expires: issued + 30 * 60_000 };
    const running = await start();
    await pass(isOnline(running));
    network.enrolStatus = { status: 503, code: 'ERR_INTERNAL' };
    await pass(() => clock.wallMs() > issued + 22 * 60_000, { stepMs: 2000 });
    network.dropConnections();
    await pass(() => network.connects === 2);
    await pass(isOnline(running));
    network.enrolStatus = undefined;
    network.credentialLife = { issued: clock.wallMs(), expires: clock.wallMs() + 24 * HOUR };
    await pass(() => network.tokensSeen.length === 2, { stepMs: 1000 });
  });

  test('a clock that was set is confirmed again within seconds, not at the next hour', async () => {
    clock.step(-3 * 365 * 24 * HOUR);
    network.timeMs = () => clock.wallMs() + 3 * 365 * 24 * HOUR;
    const running = await start();
    await pass(isOnline(running));
    expect(running.status().clock.synced).toBe(false);
    clock.step(3 * 365 * 24 * HOUR);
    network.timeMs = () => clock.wallMs();
    const setAt = clock.monotonicMs();
    await pass(() => running.status().clock.synced);
    expect(clock.monotonicMs() - setAt).toBeLessThan(20_000);
  });

  test('a stop leaves no timer behind, however long it was connected', async () => {
    const running = await start();
    await pass(isOnline(running));
    await pass(() => clock.monotonicMs() > 2.5 * HOUR, { stepMs: 30_000 });
    await stop(running);
    agent = undefined;
    expect(clock.timers()).toBe(0);
  });

  test('a server that never answers does not hold up a stop', async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = silent.address() as AddressInfo;
      const line = network.joinLine().replace(/:\d+/, `:${port}`);
      const running = await start(line, { timeoutMs: 300_000 });
      await pass(() => sockets.length > 0);
      const askedMs = clock.monotonicMs();
      await stop(running);
      agent = undefined;
      expect(clock.monotonicMs() - askedMs).toBeLessThan(10_000);
    } finally {
      for (const socket of sockets) socket.destroy();
      silent.close();
    }
  });
});
