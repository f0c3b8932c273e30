import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@fieldproof/device-agent/clock';
import type { RejectReason } from '@fieldproof/device-agent/sensors/sensor';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { fakeClock, until } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

const TEMP = { metric: 'temperature', unit: 'Cel', path: 'temp' };

describe('the exec sensor', () => {
  let dataDir: string;
  let rejects: [RejectReason, string][];

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'agent-exec-'));
  });
  beforeEach(() => {
    rejects = [];
  });
  afterAll(() => rm(dataDir, { recursive: true }));

  async function open(keys: object, clock = systemClock) {
    const sensor = await createSensor({ driver: 'exec', keys, clock, dataDir, rejects });
    if (sensor.kind !== 'pull') throw new Error('expected a pull sensor');
    return sensor;
  }
  const print = (output: string, more: object = {}) =>
    open({ command: ['/usr/bin/printf', '%s', output], metrics: [TEMP], ...more });

  test('reads JSON by paths, scaled', async () => {
    const metrics = [
      TEMP,
      { metric: 'power', unit: 'W', path: 'a[1]["x.y"]', scale: 0.5, offset: 1 },
      { metric: 'open', path: 'door', type: 'boolean' },
      { metric: 'mode', path: 'mode', type: 'text' },
      { metric: 'absent', path: 'no.such' },
      { metric: 'nothing', path: 'nothing' },
    ];
    const output =
      '{"temp":"21.5","a":[0,{"x.y":10}],"door":"ON","mode":"eco","nothing":null,"more":1}';
    expect(await (await print(output, { metrics })).read()).toEqual([
      { metric: 'temperature', value: 21.5 },
      { metric: 'power', value: 6 },
      { metric: 'open', value: true },
      { metric: 'mode', value: 'eco' },
    ]);
    expect(rejects).toEqual([]);
  });

  test('reads lines and a single number', async () => {
    const lines = await print('hello\ntemp = 3.5\r\n\n__proto__=1\nother=x\n', { format: 'lines' });
    expect(await lines.read()).toEqual([{ metric: 'temperature', value: 3.5 }]);
    expect(rejects).toEqual([['malformed', '"hello"']]);
    const metrics = [{ metric: 'n' }];
    const single = await print(' -7e-1 \n', { format: 'number', metrics });
    expect(await single.read()).toEqual([{ metric: 'n', value: -0.7 }]);
  });

  test.each([
    ['{"temp": NaN}', 'malformed'],
    ['{"temp": "nan"}', 'not-a-number'],
    ['{"temp": 1e999}', 'wrong-type'],
    ['{"temp": {}}', 'wrong-type'],
    ['{"temp": true}', 'wrong-type'],
    ['', 'malformed'],
    ['['.repeat(500), 'malformed'],
  ])('%s is a counted reject and no reading', async (output, reason) => {
    const sensor = await print(output);
    await expect(sensor.read()).rejects.toThrow(/none of the metrics/);
    expect(rejects.map(([why]) => why)).toEqual([reason]);
  });

  test('arguments meet no shell, and the environment of the agent is not passed on', async () => {
    process.env.FIELDPROOF_SECRET = 'x';
    const metrics = [{ metric: 't', path: 't', type: 'text' }];
    const shell = await print('{"t":"$HOME;`id`"}', { metrics });
    expect(await shell.read()).toEqual([{ metric: 't', value: '$HOME;`id`' }]);
    const env = await open({
      command: ['/usr/bin/env'],
      format: 'lines',
      metrics: ['LANG', 'FIELDPROOF_SECRET'].map((path) => ({ metric: path, path, type: 'text' })),
    });
    expect(await env.read()).toEqual([{ metric: 'LANG', value: 'C' }]);
    delete process.env.FIELDPROOF_SECRET;
  });

  test('endless output is cut, counted and ended', async () => {
    const sensor = await open({ command: ['yes'], metrics: [TEMP], maxBytes: 1000 });
    await expect(sensor.read()).rejects.toThrow('yes: printed more than 1000 bytes');
    expect(rejects.map(([why]) => why)).toEqual(['too-long']);
  });

  test('a program that hangs is ended after its time, with what it started, and when the agent stops', async () => {
    const file = join(dataDir, 'hang.sh');
    await writeFile(file, '#!/bin/sh\nsleep 1000 &\necho $! > child.pid\nwait\n', { mode: 0o755 });
    const { readFile } = await import('node:fs/promises');
    const child = async () =>
      Number(await readFile(join(dataDir, 'child.pid'), 'utf8').catch(() => 'NaN'));
    const isGone = async () => {
      const pid = await child();
      const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
      // Where nobody reaps it, it stays as a zombie.
      return state === '' || / Z /.test(state);
    };
    for (const how of ['time', 'stop'] as const) {
      await rm(join(dataDir, 'child.pid'), { force: true });
      const clock = fakeClock();
      const sensor = await open({ command: ['/bin/sh', file], metrics: [TEMP] }, clock);
      const stop = new AbortController();
      const outcome = sensor.read(stop.signal).catch((error: Error) => error.message);
      await until(async () => Number.isInteger(await child()) && (await child()) > 0, 'the child');
      if (how === 'time') await clock.advance(10_000);
      else stop.abort();
      expect(await outcome).toMatch(how === 'time' ? /did not end within 10000 ms/ : /was stopped/);
      await until(isGone, 'the end of the child');
      expect(clock.timers()).toBe(0);
    }
  });

  test.each([
    [['/no/such/program'], /ENOENT/],
    [['/bin/sh', '-c', 'echo "no\u001b[31m bus" >&2; exit 3'], /exit code 3: no \[31m bus$/],
    [['/bin/sh', '-c', 'kill -9 $$'], /ended by SIGKILL/],
  ])('%j fails with its reason', async (command, reason) => {
    const sensor = await open({ command, metrics: [TEMP] });
    await expect(sensor.read()).rejects.toThrow(reason);
  });

  test.each([
    [{ metrics: [TEMP] }, 'command'],
    [{ command: 'date', metrics: [TEMP] }, 'command'],
    [{ command: ['date'] }, 'metrics'],
    [
      { command: ['date'], format: 'number', metrics: [TEMP, TEMP] },
      'expected one with format number, got 2',
    ],
    [{ command: ['date'], metrics: [{ ...TEMP, path: 'a..b' }] }, 'path'],
    [{ command: ['date'], metrics: [{ ...TEMP, metric: ' x' }] }, 'metric'],
  ])('a configuration without sense is refused: %j', async (keys, word) => {
    await expect(open(keys)).rejects.toThrow(word);
  });
});
