import { execFileSync } from 'node:child_process';
import { cp, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BatchReading } from '@fieldproof/device-agent/batch';
import { checkConfig } from '@fieldproof/device-agent/config';
import { silentLog } from '@fieldproof/device-agent/log';
import { Sampler } from '@fieldproof/device-agent/sampler';
import { loadSensorDriver } from '@fieldproof/device-agent/sensors/drivers';
import { refusalOf } from '@fieldproof/device-agent/sensors/plausible';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type FakeClock, fakeClock, settle, until } from './fake-clock.ts';

const cases = new URL('./testcases/system/raspberry-pi', import.meta.url).pathname;

let root: string;
let clock: FakeClock;
let readings: BatchReading[];
let told: string[];
let sampler: Sampler;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'agent-sampler-'));
  await cp(cases, root, { recursive: true });
  clock = fakeClock(Date.UTC(2026, 0, 1) + 400);
  readings = [];
  told = [];
});
afterEach(async () => {
  await sampler.stop();
  await rm(root, { recursive: true });
});

async function start(sensors: object[]) {
  const config = await checkConfig({ sensors });
  sampler = new Sampler({
    sensors: config.sensors,
    loadDriver: loadSensorDriver,
    dataDir: root,
    root,
    clock,
    bootMs: () => clock.monotonicMs(),
    offsetMs: () => clock.wallMs() - clock.monotonicMs(),
    boundMs: () => 10,
    log: silentLog,
    onReadings: (some) => readings.push(...some),
    onFailed: (profile) => told.push(`${profile} failed`),
    onRecovered: (profile) => told.push(`${profile} recovered`),
  });
  await sampler.start();
}

/** Advances second by second, giving files time to be read. */
async function pass(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    await clock.advance(1000);
    await settle(20);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('the sampler', () => {
  test('samples at once, then on whole intervals of the wall clock, rounded to the resolution', async () => {
    await start([{ driver: 'simulated', profile: 'room', intervalMs: 1000 }]);
    await pass(3);
    const times = [...new Set(readings.map(({ bootMs }) => bootMs))];
    expect(times).toEqual([0, 600, 1600, 2600]);
    expect(readings[0]).toMatchObject({ profile: 'room', metric: 'temperature', unit: 'Cel' });
    for (const { value } of readings) {
      expect(String(value)).toMatch(/^-?\d+(\.\d{1,2})?$/);
    }
  });

  test('does not ask a sensor again within half of its interval', async () => {
    await clock.advance(200);
    await start([{ driver: 'simulated', profile: 'room', intervalMs: 1000 }]);
    await pass(2);
    const times = [...new Set(readings.map(({ bootMs }) => bootMs))];
    expect(times).toEqual([200, 1600]);
  });

  test('a sensor that fails is told once, tried with growing pauses, and told when it is back', async () => {
    await start([{ driver: 'system', profile: 'pi', intervalMs: 1000, disk: join(root, 'disk') }]);
    const count = () => readings.filter(({ metric }) => metric === 'load_1m').length;
    await pass(2);
    await until(() => count() >= 2, 'samples');
    await rename(join(root, 'proc'), join(root, 'gone'));
    await rename(join(root, 'sys'), join(root, 'gone-sys'));
    await pass(1);
    await until(() => told.length === 1, 'the failure');
    expect(sampler.status()[0]?.failing).toMatch(/nothing can be read/);
    await pass(8);
    await rename(join(root, 'gone'), join(root, 'proc'));
    await until(async () => {
      await pass(1);
      return told.length === 2;
    }, 'the recovery');
    expect(told).toEqual(['pi failed', 'pi recovered']);
    expect(count()).toBeGreaterThan(2);
  });

  test('a sensor that cannot be opened stops no other', async () => {
    await start([
      {
        driver: 'replay',
        profile: 'bad',
        file: 'none.csv',
        columns: [{ column: 'a', metric: 'a' }],
      },
      {
        driver: 'replay',
        profile: 'worse',
        file: 'none.csv',
        columns: [{ column: 'a', metric: 'a' }],
      },
    ]);
    await until(() => told.length === 2, 'both failures');
    expect(told.sort()).toEqual(['bad failed', 'worse failed']);
    expect(sampler.profiles().map(({ profile }) => profile)).toEqual(['bad', 'worse']);
  });

  test('values that cannot be are refused, counted by reason, and cost no other reading', async () => {
    const files = ['nan', '-300', '21.5', '1e19', '50'].map((content, at) => ({
      path: `sys/v${at}`,
      content,
    }));
    for (const { path, content } of files) await writeFile(join(root, path), content);
    const keys = ['Cel', 'Cel', 'Cel', '', '%RH'];
    await start([
      {
        driver: 'sysfs',
        profile: 'board',
        intervalMs: 1000,
        files: keys.map((unit, at) => ({ path: `v${at}`, metric: `m${at}`, unit })),
      },
    ]);
    await until(async () => {
      await pass(1);
      return readings.length >= 4;
    }, 'two samples');
    expect(readings.slice(0, 2)).toMatchObject([
      { metric: 'm2', value: 21.5 },
      { metric: 'm4', value: 50 },
    ]);
    expect(sampler.status()[0]!.failing).toBeNull();
    // Another sample may be half counted.
    await until(() => {
      const { rejected } = sampler.status()[0]!;
      const notNumbers = rejected['not-a-number'] ?? 0;
      return notNumbers >= 2 && rejected['out-of-range'] === 2 * notNumbers;
    }, 'one of five is no number, and two cannot be');
  });

  test('a sensor that speaks too much is cut to 1,000 readings a second, and that is counted', async () => {
    execFileSync('mkfifo', [join(root, 'fifo')]);
    await start([
      {
        driver: 'serial-line',
        profile: 'flood',
        file: 'fifo',
        format: 'csv',
        metrics: [{ path: '[0]', metric: 'n' }],
      },
    ]);
    await writeFile(join(root, 'fifo'), '1\n'.repeat(1500));
    await until(async () => {
      await clock.advance(100);
      return readings.length === 1000;
    }, 'what is let through');
    await until(() => sampler.status()[0]?.rejected.flood === 500, 'the count');
    await clock.advance(1000);
    await writeFile(join(root, 'fifo'), '2\n');
    await until(async () => {
      await clock.advance(100);
      return readings.length === 1001;
    }, 'the next second');
    expect(sampler.status()[0]?.failing).toBeNull();
  });
});

describe('what can be believed', () => {
  const metric = { metric: 'm', unit: 'Cel' };
  test.each([
    [Number.NaN, 'not-a-number'],
    [Number.NEGATIVE_INFINITY, 'not-a-number'],
    [-273.16, 'out-of-range'],
    [4_294_967_295, 'out-of-range'],
    [{}, 'wrong-type'],
    [null, 'wrong-type'],
    [1n, 'wrong-type'],
    ['x'.repeat(257), 'too-long'],
    ['a\u0000b', 'malformed'],
    ['\ud800', 'malformed'],
    [-273.15, undefined],
    ['open', undefined],
    [true, undefined],
  ])('%p: %s', (value, reason) => {
    expect(refusalOf(metric, value)).toBe(reason);
  });

  test('limits of the metric are stronger than those of its unit', () => {
    expect(refusalOf({ ...metric, min: -40, max: 85 }, 85.1)).toBe('out-of-range');
    expect(refusalOf({ ...metric, max: 20_000 }, 15_000)).toBeUndefined();
    expect(refusalOf({ metric: 'm', unit: 'constructor' }, 1)).toBeUndefined();
  });
});
