/**
 * Agents with bad clocks against a real broker, whose clock is right: what they measure is placed within the stated
 * bound, and (boot, seq) stays in order. The sensor measures the true time, so that each reading says where it belongs.
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { project } from '@fieldproof/analytics/projection/projector';
import { applyChange, emptyState } from '@fieldproof/analytics/projection/projector-state';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { initAgent } from '@fieldproof/device-agent/init';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import { type Frame, FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../broker/support/broker.ts';
import { type FakeClock, fakeClock } from '../device-agent/fake-clock.ts';

/** The sensor is told the time this often. */
const STEP_MS = 500;
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;
const world: FakeClock = fakeClock(Date.now());
const folder = mkdtempSync(join(tmpdir(), 'fieldproof-clocks-'));
let broker: TestBroker;
let made = 0;

function trueMs(): number {
  return world.wallMs();
}

beforeAll(async () => {
  broker = await startTestBroker({}, { now: trueMs });
});
afterAll(async () => {
  await broker.close();
  rmSync(folder, { recursive: true });
});

/** The clocks of one machine. */
class BadClock {
  readonly #rate: number;
  #wallOffsetMs = 0;
  /** Since the machine was switched on. */
  #startMs = 0;

  constructor(ppm = 0) {
    this.#rate = 1 + ppm / 1e6;
    this.reboot(trueMs());
  }

  /** What the crystal makes of the world's time. */
  #ticksMs(): number {
    return world.monotonicMs() * this.#rate;
  }

  wallMs(): number {
    return Math.floor(this.#ticksMs() + this.#wallOffsetMs);
  }

  monotonicMs(): number {
    return this.#ticksMs() - this.#startMs;
  }

  after(delayMs: number, task: () => void) {
    return world.after(delayMs / this.#rate, task);
  }

  cancel(timer: Parameters<typeof world.cancel>[0]): void {
    world.cancel(timer);
  }

  set(wallMs: number): void {
    this.#wallOffsetMs = wallMs - this.#ticksMs();
  }

  reboot(wallMs: number): void {
    this.#startMs = this.#ticksMs();
    this.set(wallMs);
  }
}

interface Device {
  readonly data: string;
  readonly sensor: string;
  readonly clock: BadClock;
  id: string;
}

async function device(ppm = 0): Promise<Device> {
  const data = join(folder, `agent-${made++}`);
  const random = (length: number) =>
    new Uint8Array(length).map(() => Math.floor(Math.random() * 256));
  const joinLine = await broker.joinLine();
  const owner = { type: 'new' } as const;
  const { deviceId } = await initAgent({ dataDir: data, joinLine, name: 'clock', owner, random });
  mkdirSync(join(data, 'root/sys'), { recursive: true });
  return { data, sensor: join(data, 'root/sys/now'), clock: new BadClock(ppm), id: deviceId };
}

async function start({ data, clock, sensor }: Device): Promise<Agent> {
  writeFileSync(sensor, `${trueMs()}\n`);
  const file = { path: 'now', metric: 'now', unit: 'ms' };
  const config = await checkConfig({
    sensors: [{ driver: 'sysfs', profile: 'truth', intervalMs: 10_000, files: [file] }],
    batch: { sealEveryMs: 20_000 },
    outbox: { fsync: 'always' },
    link: { timeoutMs: 300_000, keepAliveSeconds: 600, backoffMinMs: 100 },
  });
  const root = join(data, 'root');
  const agent = new Agent({ config, dataDir: data, clock, root, statusFile: false });
  await agent.start();
  return agent;
}

/** Lets the world's time go on, in steps that the sensor sees. */
async function pass(devices: readonly Device[], ms: number, stepMs = STEP_MS): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    for (const { sensor } of devices) writeFileSync(sensor, `${trueMs()}\n`);
    await world.advance(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Time that goes by too fast for the sensor to see. */
async function rush({ sensor }: Device, ms: number): Promise<void> {
  writeFileSync(sensor, '0\n');
  for (let passed = 0; passed < ms; passed += 10_000) {
    await world.advance(10_000);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function passUntil(
  devices: readonly Device[],
  what: string,
  holds: () => boolean,
): Promise<void> {
  for (let turn = 0; !holds(); turn += 1) {
    if (turn > 5000) throw new Error(`it never came: ${what}`);
    await pass(devices, STEP_MS);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function stop(agent: Agent): Promise<void> {
  let isOver = false;
  const stopping = agent.stop().finally(() => {
    isOver = true;
  });
  while (!isOver) {
    await world.advance(50);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await stopping;
}

/** The log, projected: of each device how far its readings lie from where they belong, and what was sealed. */
async function judged(id: string) {
  const token = readFileSync(join(broker.dataDir, 'tokens/service'), 'utf8').trim();
  const response = await fetch(`${broker.running.addresses.http}/v1/tail?from=0&live=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const reader = new FrameReader(0);
  reader.push(new Uint8Array(await response.arrayBuffer()));
  const frames: Frame[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    frames.push({ ...frame, entry: frame.entry.slice(), body: frame.body.slice() });
  }
  const state = emptyState();
  const errorsMs: number[] = [];
  const take = (frame: Frame): void => {
    const { outcome, changes, released } = project(frame, state);
    for (const change of changes) applyChange(state, change);
    for (const index of released) take(frames.find((each) => each.index === index)!);
    if (outcome.type === 'unprojectable') throw new Error(outcome.message);
    if (outcome.type !== 'readings') return;
    for (const table of outcome.tables) {
      const column = table.columns.find(({ metric }) => metric === 'now');
      if (table.device !== id || column === undefined) continue;
      table.timesMs.forEach((timeMs, row) => {
        const value = Number((column.values as Float64Array)[row]);
        // The sensor was not told the time.
        if (value > 0) errorsMs.push(timeMs - value);
      });
    }
  };
  const order: (readonly [number, number])[] = [];
  const bounds: (number | null)[] = [];
  let anchors = 0;
  for (const frame of frames) {
    take(frame);
    const entry = decodeEvidenceEntry(frame.entry);
    if (entry.type !== 'batch' && entry.type !== 'time-anchor') continue;
    if (deviceIdFromPublicKey(entry.device) !== id) continue;
    if (entry.type === 'time-anchor') {
      anchors += 1;
      continue;
    }
    order.push([entry.bootCounter, entry.seq]);
    if (entry.kind === 'telemetry') bounds.push(parseEnvelope(frame.body).stamp?.boundMs ?? null);
  }
  return { errorsMs, order, bounds, anchors };
}

/**
 * Each reading where it belongs, within a bound and the grain of the sensor; each (boot, seq) once, boots ascending.
 *
 * @param atLeast - readings; the world's time runs faster than a busy machine reads files, so that some instants are missed.
 */
async function expectPlaced(id: string, atLeast: number, boundMs: number) {
  const { errorsMs, order, bounds, anchors } = await judged(id);
  expect(errorsMs.length).toBeGreaterThanOrEqual(atLeast);
  const worst = Math.max(...errorsMs.map(Math.abs));
  expect(worst).toBeLessThanOrEqual(boundMs + 2 * STEP_MS);
  expect(new Set(order.map(String)).size).toBe(order.length);
  for (const boot of new Set(order.map(([counter]) => counter))) {
    const seqs = order.filter(([counter]) => counter === boot).map(([, seq]) => seq);
    expect([...seqs].sort((a, b) => a - b)).toEqual(seqs.map((_, at) => at));
  }
  const boots = order.map(([counter]) => counter);
  expect([...boots].sort((a, b) => a - b)).toEqual(boots);
  return { bounds, anchors };
}

const settled = (agent: Agent) => agent.status().counts.pending === 0;

test.each([
  ['at 1970', () => 0],
  ['three years stale', () => trueMs() - 3 * YEAR_MS],
  ['ten minutes ahead', () => trueMs() + HOUR_MS / 6],
])(
  'a device that starts %s is placed by its time anchor, and its clock is not believed',
  async (_, wall) => {
    const one = await device();
    one.clock.reboot(wall());
    const agent = await start(one);
    await passUntil([one], 'it is recorded', () => agent.status().counts.recorded > 4);
    await pass([one], 60_000);
    await passUntil([one], 'all is recorded', () => settled(agent));
    expect(agent.status().clock.synced).toBe(false);
    await stop(agent);
    const { bounds, anchors } = await expectPlaced(one.id, 4, 200);
    expect(anchors).toBe(1);
    expect(bounds.every((bound) => bound === null)).toBe(true);
  },
  60_000,
);

test.each([-HOUR_MS, HOUR_MS])(
  'a clock that is set by %d ms while it runs moves no reading',
  async (byMs) => {
    const one = await device();
    const agent = await start(one);
    await passUntil([one], 'it is believed', () => agent.status().clock.synced);
    await pass([one], 45_000);
    one.clock.set(one.clock.wallMs() + byMs);
    await pass([one], 60_000);
    expect(agent.status().clock).toMatchObject({ synced: false, steps: 1 });
    one.clock.set(trueMs());
    await passUntil([one], 'it is believed again', () => agent.status().clock.synced);
    await pass([one], 45_000);
    await passUntil([one], 'all is recorded', () => settled(agent));
    await stop(agent);
    const { bounds } = await expectPlaced(one.id, 6, 2000);
    expect(bounds).toContain(null);
    expect(bounds.at(0)).not.toBeNull();
    expect(bounds.at(-1)).not.toBeNull();
  },
  60_000,
);

test('reboots with and without a real-time clock keep the order, and each boot is placed by itself', async () => {
  const one = await device();
  const walls = [trueMs, () => 0, () => trueMs() - 3 * YEAR_MS, trueMs];
  for (const [at, wall] of walls.entries()) {
    one.clock.reboot(wall());
    const agent = await start(one);
    expect(agent.status().boot.counter).toBe(at + 1);
    await passUntil([one], 'it is recorded', () => agent.status().counts.recorded > 3);
    await pass([one], 45_000);
    await passUntil([one], 'all is recorded', () => settled(agent));
    await stop(agent);
    // Off for a while.
    await world.advance(600_000);
  }
  const { anchors } = await expectPlaced(one.id, 8, 500);
  expect(anchors).toBe(4);
}, 60_000);

test.each([
  [200, trueMs],
  [-200, () => 0],
] as [number, () => number][])(
  'a crystal that is off by %d ppm for hours: every bound holds, and anchors are renewed',
  async (ppm, wall) => {
    const one = await device(ppm);
    one.clock.reboot(wall());
    const agent = await start(one);
    await passUntil([one], 'it is recorded', () => agent.status().counts.recorded > 2);
    for (let hour = 0; hour < 3; hour += 1) {
      await rush(one, HOUR_MS - 90_000);
      await pass([one], 90_000);
      await passUntil([one], 'all is recorded', () => settled(agent));
    }
    await stop(agent);
    const { bounds, anchors } = await expectPlaced(one.id, 3 * 2, wall() === 0 ? 1000 : 2000);
    if (wall() === 0) expect(anchors).toBeGreaterThanOrEqual(3);
    // Nobody sets this clock: it is believed as long as it is within clock.maxErrorMs, and with a bound that grows.
    else expect(Math.max(...bounds.map((bound) => bound ?? 0))).toBeGreaterThan(1000);
  },
  60_000,
);
