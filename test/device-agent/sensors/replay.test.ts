import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseRowTime } from '@fieldproof/device-agent/sensors/row-time';
import type { Sample } from '@fieldproof/device-agent/sensors/sensor';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type FakeClock, fakeClock, settle, until } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

const cases = new URL('../testcases/replay/', import.meta.url).pathname;
const AIR = {
  file: 'air.csv',
  time: { column: 'Date', timeColumn: 'Time', format: 'dmy' },
  columns: [
    { column: 'T', metric: 'temperature', unit: 'Cel', resolution: 0.1 },
    { column: 'CO', metric: 'co', unit: 'mg/m3' },
  ],
  missing: ['-200'],
  speed: 3600,
};
const SPEED = {
  file: 'speed.csv',
  columns: [{ column: 'value', metric: 'speed' }],
  speed: 60,
};

describe('the replay sensor', () => {
  let dataDir: string;
  let clock: FakeClock;

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'agent-replay-'));
    await cp(cases, dataDir, { recursive: true });
    await cp(cases, join(dataDir, 'state'), { recursive: true });
    clock = fakeClock();
  });
  // It may just be saving how far it has come.
  afterEach(() => rm(dataDir, { recursive: true, maxRetries: 10 }));

  async function start(keys: unknown) {
    const sensor = await createSensor({ driver: 'replay', keys, clock, dataDir });
    if (sensor.kind !== 'push') throw new Error('expected a push sensor');
    const samples: Sample[] = [];
    const abort = new AbortController();
    let state: 'running' | 'ended' | { error: unknown } = 'running';
    const done = sensor
      .run((sample) => samples.push(sample), abort.signal)
      .then(
        () => {
          state = 'ended';
        },
        (error: unknown) => {
          state = { error };
        },
      );
    await until(() => samples.length > 0 || state !== 'running', 'the first row');
    return {
      sensor,
      samples,
      state: () => state,
      async stop() {
        abort.abort();
        await done;
      },
      /** Advances in steps, waiting for the file in between, until so many samples came or it ended. */
      async pass(count: number) {
        const enough = () => samples.length >= count || state !== 'running';
        while (!enough()) {
          await clock.advance(500);
          await settle();
        }
      },
      ended: () => until(() => state !== 'running', 'the end'),
    };
  }

  test('emits rows at their distance over the speed, without the missing ones', async () => {
    const play = await start(AIR);
    expect(play.sensor.source).toBe('replay');
    await play.pass(4);
    await play.ended();
    expect(play.state()).toBe('ended');
    expect(play.samples).toEqual([
      {
        bootMs: 0,
        readings: [
          { metric: 'temperature', value: 13.6 },
          { metric: 'co', value: 2.6 },
        ],
      },
      { bootMs: 1000, readings: [{ metric: 'temperature', value: 13.3 }] },
      { bootMs: 2000, readings: [{ metric: 'co', value: 2.2 }] },
      {
        bootMs: 3000,
        readings: [
          { metric: 'temperature', value: 11 },
          { metric: 'co', value: 2.2 },
        ],
      },
    ]);
  });

  test('rows without a time and rows that do not ascend are skipped', async () => {
    const play = await start(SPEED);
    await play.pass(3);
    expect(play.samples.map(({ bootMs, readings }) => [bootMs, readings[0]?.value])).toEqual([
      [0, 90],
      [5000, 62],
      [8000, 58],
    ]);
  });

  test('a row cut in the middle and a cell that is no number yield no reading', async () => {
    await writeFile(
      join(dataDir, 'cut.csv'),
      'timestamp;value;note\r\n2026-01-01 00:00:00;"73.96732207";a\r\n' +
        '2026-01-01 00:00:01;0x10;b\r\n2026-01-01 00:00:02;2,6;c\r\n' +
        '2026-01-01 00:00:03;73.96732207\r\n2026-01-01 00:00:04;4;e\r\n2026-01-01 00:00:05;73.9',
    );
    const play = await start({ ...SPEED, file: 'cut.csv', separator: ';' });
    await play.pass(3);
    await play.ended();
    expect(play.samples.map(({ readings }) => readings[0]?.value)).toEqual([73.96732207, 4]);
  });

  const vectors =
    process.env.VECTORS_DIR ?? new URL('../../../../shared/vectors', import.meta.url).pathname;
  const files = [
    new URL('../../../stack/demo/data', import.meta.url).pathname,
    join(vectors, 'nab/data'),
  ]
    .filter((each) => existsSync(each))
    .flatMap((each) =>
      readdirSync(each, { recursive: true }).map((name) => join(each, String(name))),
    )
    .filter(
      (path) => path.endsWith('.csv') && readFileSync(path, 'utf8').startsWith('timestamp,value'),
    );

  test.each(files)('plays every ascending row of %s to the last digit', async (file) => {
    const rows = readFileSync(file, 'utf8').trim().split(/\r?\n/).slice(1, 400);
    await writeFile(join(dataDir, 'part.csv'), `timestamp,value\n${rows.join('\n')}\n`);
    const expected: number[] = [];
    let last = Number.NEGATIVE_INFINITY;
    for (const row of rows) {
      const [time = '', value = ''] = row.split(',');
      const at = Date.parse(`${time.replace(' ', 'T')}Z`);
      if (at <= last) continue;
      last = at;
      expected.push(Number(value));
    }
    const play = await start({ ...SPEED, file: 'part.csv', speed: 1e6 });
    await play.pass(expected.length);
    await play.ended();
    expect(play.samples.map(({ readings }) => readings[0]?.value)).toEqual(expected);
    const times = play.samples.map(({ bootMs }) => bootMs);
    expect(times.every((at, index) => index === 0 || at > times[index - 1]!)).toBe(true);
  });

  test('begins again after the end with times that still ascend', async () => {
    const play = await start({ ...SPEED, loop: true });
    await play.pass(6);
    const times = play.samples.map(({ bootMs }) => bootMs);
    expect(times.slice(0, 6)).toEqual([0, 5000, 8000, 11_000, 16_000, 19_000]);
    expect(play.samples.slice(3, 6).map(({ readings }) => readings[0]?.value)).toEqual([
      90, 62, 58,
    ]);
    await play.stop();
  });

  test('times ascend at any speed', async () => {
    const play = await start({ ...SPEED, loop: true, speed: 1e12 });
    await play.pass(9);
    const times = play.samples.map(({ bootMs }) => bootMs);
    expect(times.length).toBeGreaterThan(8);
    expect(times.every((time, at) => at === 0 || time > times[at - 1]!)).toBe(true);
    await play.stop();
  });

  test('goes on after a restart where it was', async () => {
    const first = await start(SPEED);
    await first.pass(2);
    await clock.advance(6000 - clock.monotonicMs());
    await first.stop();
    expect(first.samples).toHaveLength(2);
    expect(await readFile(join(dataDir, 'state/replay-test.json'), 'utf8')).toContain('afterMs');
    const second = await start(SPEED);
    await second.ended();
    expect(second.samples).toEqual([{ bootMs: 6000, readings: [{ metric: 'speed', value: 58 }] }]);
    expect(second.state()).toBe('ended');
  });

  test.each([
    ['a missing file', { ...SPEED, file: 'none.csv' }],
    ['a missing column', { ...SPEED, columns: [{ column: 'x', metric: 'x' }] }],
    ['no rows', { ...SPEED, skipRows: 100 }],
  ])('%s is an error that says so', async (_, keys) => {
    const play = await start(keys);
    await play.ended();
    expect(play.state()).toMatchObject({ error: { code: 'ERR_AGENT_REPLAY' } });
  });
});

describe('row times', () => {
  test.each([
    ['2015-08-31 18:22:00', 'iso', Date.UTC(2015, 7, 31, 18, 22)],
    ['2015-08-31T18:22:00.250Z', 'iso', Date.UTC(2015, 7, 31, 18, 22, 0, 250)],
    ['2015-08-31T18:22:00+02:00', 'iso', Date.UTC(2015, 7, 31, 16, 22)],
    ['2015-08-31', 'iso', Date.UTC(2015, 7, 31)],
    ['10/03/2004 18:00:00', 'dmy', Date.UTC(2004, 2, 10, 18)],
    ['10/03/2004 18.00.00', 'dmy', Date.UTC(2004, 2, 10, 18)],
    ['1078941600.5', 'unix', 1_078_941_600_500],
  ] as const)('%s as %s', (written, format, expected) => {
    expect(parseRowTime(written, format)).toBe(expected);
  });

  test.each([
    ['2015-02-31 00:00:00', 'iso'],
    ['2015-08-31 24:00:00', 'iso'],
    ['yesterday', 'iso'],
    ['31/04/2004 18:00:00', 'dmy'],
    ['', 'unix'],
  ] as const)('%s as %s is no time', (written, format) => {
    expect(parseRowTime(written, format)).toBeUndefined();
  });
});
