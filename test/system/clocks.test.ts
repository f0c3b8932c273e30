/**
 * Agents with bad clocks against a real broker, whose clock is right: what they measure is placed within the stated
 * bound, and (boot, seq) stays in order. The sensor measures the true time, so that each reading says where it belongs.
 * The world's time stands still while nobody moves it, but what goes over the network takes real time; so no test
 * depends on how far the world got meanwhile: each reading is held against the bound that was stated of it.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { project } from '@fieldproof/analytics/projection/projector';
import { applyChange, emptyState } from '@fieldproof/analytics/projection/projector-state';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { initAgent } from '@fieldproof/device-agent/init';
import { section } from '@fieldproof/device-agent/schema';
import type { SensorDriver } from '@fieldproof/device-agent/sensors/sensor';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import { type Frame, FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, type TimeAnchorEntry } from '@fieldproof/protocol/log-entries';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../broker/support/broker.ts';
import { type FakeClock, fakeClock } from '../device-agent/fake-clock.ts';

/** Of reading and instant: what the sampler still counts as on time, and whole milliseconds. */
const GRAIN_MS = 25;
/** The most that a crystal may be off (docs/spec/telemetry.md 1.4). */
const DRIFT = 250e-6;
const INTERVAL_MS = 10_000;
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

/** A sensor that measures the time there really is. */
const truthDriver: SensorDriver = {
  source: 'sensor',
  options: section({}),
  create: async () => ({
    kind: 'pull',
    source: 'sensor',
    metrics: [{ metric: 'now', unit: 'ms', max: Number.MAX_SAFE_INTEGER }],
    read: async () => [{ metric: 'now', value: world.wallMs() }],
  }),
};

interface Device {
  readonly data: string;
  readonly clock: BadClock;
  readonly id: string;
}

async function device(ppm = 0): Promise<Device> {
  const data = join(folder, `agent-${made++}`);
  const random = (length: number) =>
    new Uint8Array(length).map(() => Math.floor(Math.random() * 256));
  const joinLine = await broker.joinLine();
  const owner = { type: 'new' } as const;
  const { deviceId } = await initAgent({ dataDir: data, joinLine, name: 'clock', owner, random });
  return { data, clock: new BadClock(ppm), id: deviceId };
}

/** @param maxErrorMs - up to which the wall clock is believed. */
async function start({ data, clock }: Device, maxErrorMs = 2000): Promise<Agent> {
  const config = await checkConfig({
    sensors: [{ driver: 'system', profile: 'truth', intervalMs: INTERVAL_MS }],
    batch: { sealEveryMs: 20_000 },
    outbox: { fsync: 'always' },
    link: { timeoutMs: 300_000, keepAliveSeconds: 600, backoffMinMs: 100 },
    clock: { maxErrorMs },
  });
  const loadDriver = async () => truthDriver;
  const agent = new Agent({
    config,
    dataDir: data,
    clock,
    root: data,
    loadDriver,
    statusFile: false,
  });
  await agent.start();
  // At the speed of the real world: what the hello says of the clock is the better, the less time it takes.
  while (agent.status().link.state !== 'online') await pass(5, 5);
  return agent;
}

/** Lets the world's time go on, and as much real time that the network may keep up. */
async function pass(ms: number, stepMs = 500): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    await world.advance(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Test time out, not a count of turns, ends a wait for what never comes. */
async function passUntil(holds: () => boolean): Promise<void> {
  while (!holds()) {
    await pass(500);
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

async function wholeLog(): Promise<Frame[]> {
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
  return frames;
}

interface Judged {
  readonly readings: number;
  /** Of readings: by how much more they are misplaced than was stated of them, ms; 0 for none. */
  readonly excessMs: number;
  /** (boot, seq) of the device's envelopes, in the order of the log. */
  readonly order: readonly (readonly [number, number])[];
  /** Bounds that its telemetry states. */
  readonly bounds: readonly (number | null)[];
  readonly anchors: number;
}

/** The log, projected: whether each reading of a device lies within the bound that is stated of it. */
async function judged(id: string): Promise<Judged> {
  const frames = await wholeLog();
  const state = emptyState();
  const order: (readonly [number, number])[] = [];
  const bounds: (number | null)[] = [];
  const anchors: TimeAnchorEntry[] = [];
  let readings = 0;
  let excessMs = 0;
  const take = (frame: Frame): void => {
    const { outcome, changes, released } = project(frame, state);
    for (const change of changes) applyChange(state, change);
    for (const index of released) take(frames.find((each) => each.index === index)!);
    if (outcome.type === 'unprojectable') throw new Error(outcome.message);
    if (outcome.type !== 'readings') return;
    const { boundMs } = parseEnvelope(frame.body).stamp!;
    for (const table of outcome.tables) {
      const column = table.columns.find(({ metric }) => metric === 'now');
      if (table.device !== id || column === undefined) continue;
      table.timesMs.forEach((timeMs, row) => {
        const trueMs = Number((column.values as Float64Array)[row]);
        const allowedMs = boundMs ?? anchoredWithin(anchors.at(-1)!, trueMs);
        readings += 1;
        excessMs = Math.max(excessMs, Math.abs(timeMs - trueMs) - allowedMs - GRAIN_MS);
      });
    }
  };
  for (const frame of frames) {
    const entry = decodeEvidenceEntry(frame.entry);
    const isOurs =
      (entry.type === 'batch' || entry.type === 'time-anchor') &&
      deviceIdFromPublicKey(entry.device) === id;
    if (isOurs && entry.type === 'time-anchor') anchors.push(entry);
    take(frame);
    if (!isOurs || entry.type !== 'batch') continue;
    order.push([entry.bootCounter, entry.seq]);
    if (entry.kind === 'telemetry') bounds.push(parseEnvelope(frame.body).stamp?.boundMs ?? null);
  }
  return { readings, excessMs, order, bounds, anchors: anchors.length };
}

/** An anchor holds for the instant of its birth; from there on the crystal drifts (docs/spec/evidence-log.md). */
function anchoredWithin({ at, boundMs }: TimeAnchorEntry, trueMs: number): number {
  return boundMs + Math.abs(trueMs - at) * DRIFT;
}

/** Each reading where it belongs, within what is stated of it; each (boot, seq) once, boots ascending. */
async function expectPlaced(id: string, atLeast: number): Promise<Judged> {
  const found = await judged(id);
  const { readings, excessMs, order } = found;
  expect(readings).toBeGreaterThanOrEqual(atLeast);
  expect(excessMs).toBe(0);
  expect(new Set(order.map(String)).size).toBe(order.length);
  for (const boot of new Set(order.map(([counter]) => counter))) {
    const seqs = order.filter(([counter]) => counter === boot).map(([, seq]) => seq);
    expect([...seqs].sort((a, b) => a - b)).toEqual(seqs.map((_, at) => at));
  }
  const boots = order.map(([counter]) => counter);
  expect([...boots].sort((a, b) => a - b)).toEqual(boots);
  return found;
}

const isRecorded = (agent: Agent, envelopes: number) => (): boolean =>
  agent.status().counts.recorded > envelopes;
const isSettled = (agent: Agent) => (): boolean => agent.status().counts.pending === 0;
const isSynced = (agent: Agent) => (): boolean => agent.status().clock.synced;

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
    await pass(120_000);
    await passUntil(isRecorded(agent, 4));
    await passUntil(isSettled(agent));
    expect(agent.status().clock.synced).toBe(false);
    await stop(agent);
    const { bounds, anchors } = await expectPlaced(one.id, 10);
    expect(anchors).toBe(1);
    expect(bounds.every((bound) => bound === null)).toBe(true);
  },
);

test.each([-HOUR_MS, HOUR_MS])(
  'a clock that is set by %d ms while it runs moves no reading',
  async (byMs) => {
    const one = await device();
    // Far above what a busy machine makes of the world's time while a hello is under way, far below the step.
    const agent = await start(one, HOUR_MS / 10);
    await passUntil(isSynced(agent));
    await pass(60_000);
    one.clock.set(one.clock.wallMs() + byMs);
    await pass(60_000);
    expect(agent.status().clock).toMatchObject({ synced: false, steps: 1 });
    one.clock.set(trueMs());
    await passUntil(isSynced(agent));
    await pass(60_000);
    await passUntil(isSettled(agent));
    await stop(agent);
    const { bounds } = await expectPlaced(one.id, 15);
    expect(bounds).toContain(null);
    expect(bounds.at(0)).not.toBeNull();
    expect(bounds.at(-1)).not.toBeNull();
  },
);

test('reboots with and without a real-time clock keep the order, and each boot is placed by itself', async () => {
  const one = await device();
  const walls = [trueMs, () => 0, () => trueMs() - 3 * YEAR_MS, trueMs];
  for (const [at, wall] of walls.entries()) {
    one.clock.reboot(wall());
    const agent = await start(one);
    expect(agent.status().boot.counter).toBe(at + 1);
    await pass(60_000);
    await passUntil(isRecorded(agent, 3));
    await passUntil(isSettled(agent));
    await stop(agent);
    // Off for a while.
    await world.advance(600_000);
  }
  const { anchors } = await expectPlaced(one.id, 4 * 5);
  expect(anchors).toBe(4);
});

test.each([
  [200, trueMs],
  [-200, () => 0],
] as [number, () => number][])(
  'a crystal that is off by %d ppm for hours: every bound holds, and anchors are renewed',
  async (ppm, wall) => {
    const one = await device(ppm);
    one.clock.reboot(wall());
    const agent = await start(one);
    for (let hour = 0; hour < 3; hour += 1) {
      await pass(HOUR_MS - 90_000, INTERVAL_MS);
      await pass(90_000);
      await passUntil(isSettled(agent));
    }
    await stop(agent);
    const { bounds, anchors } = await expectPlaced(one.id, 3 * 300);
    if (wall() === 0) expect(anchors).toBeGreaterThanOrEqual(3);
    // Nobody sets this clock: it is believed as long as it is within clock.maxErrorMs, and with a bound that grows.
    else expect(Math.max(...bounds.map((bound) => bound ?? 0))).toBeGreaterThan(1000);
  },
);
