import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@fieldproof/device-agent/clock';
import { LineSplitter } from '@fieldproof/device-agent/sensors/line-splitter';
import type { Reading, RejectReason } from '@fieldproof/device-agent/sensors/sensor';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { until } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

const T = [{ path: 't', metric: 'temperature', unit: 'Cel' }];

describe('the serial-line sensor', () => {
  let dataDir: string;
  let file: string;
  let rejects: [RejectReason, string][];
  let got: Reading[];
  let stop: AbortController;
  let run: Promise<unknown> | undefined;

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'agent-serial-'));
    file = join(dataDir, 'lines');
    rejects = [];
    got = [];
    stop = new AbortController();
    run = undefined;
  });
  afterEach(async () => {
    stop.abort();
    await run;
    await rm(dataDir, { recursive: true });
  });

  async function open(more: object = {}) {
    const keys = { file: 'lines', metrics: T, ...more };
    const sensor = await createSensor({
      driver: 'serial-line',
      keys,
      clock: systemClock,
      dataDir,
      rejects,
    });
    if (sensor.kind !== 'push') throw new Error('expected a push sensor');
    run = sensor
      .run(({ readings }) => got.push(...readings), stop.signal)
      .then(
        () => 'ended',
        (error: unknown) => error,
      );
  }
  const values = () => got.map(({ value }) => value);

  /** Appends to the file until the sensor, which begins at its end, has opened it. */
  async function opened() {
    const before = got.length;
    await until(async () => {
      await appendFile(file, '{"t":0}\n');
      return got.length > before;
    }, 'the first line');
    // What was appended meanwhile comes before this one.
    await appendFile(file, '{"t":-1}\n');
    await until(() => got.at(-1)?.value === -1, 'the last of them');
    got.length = 0;
  }

  test('takes JSON lines that are appended, not those that were there', async () => {
    await writeFile(file, '{"t":1}\n{"t":');
    await open();
    await opened();
    await appendFile(file, '{"t":21.5}\r\n\n{"t":22');
    await until(() => got.length === 1, 'a line');
    await appendFile(file, '.5}\n');
    await until(() => got.length === 2, 'the rest of a line');
    expect(values()).toEqual([21.5, 22.5]);
    expect(rejects).toEqual([]);
    stop.abort();
    expect(await run).toBe('ended');
  });

  test('takes CSV and regular expressions from a fifo', async () => {
    execFileSync('mkfifo', [file]);
    await open({
      format: 'csv',
      separator: ';',
      metrics: [
        { path: '[1]', metric: 'a', scale: 0.1 },
        { path: '[2]', metric: 'b', type: 'text' },
      ],
    });
    await writeFile(file, 'x; 215 ;on\ny;NaN\n');
    await until(() => rejects.length === 1, 'both lines');
    expect(values()).toEqual([21.5, 'on']);
    stop.abort();
    await run;
    stop = new AbortController();
    got = [];
    await open({
      format: 'regex',
      pattern: 'T=(?<t>-?[\\d.]+)C(?: H=(?<h>[\\d.]+))?',
      metrics: [...T, { path: 'h', metric: 'humidity', unit: '%RH' }],
    });
    await writeFile(file, 'boot\n> T=-3.5C H=40\nT=4C\n');
    await until(() => got.length === 3, 'the matches');
    expect(values()).toEqual([-3.5, 40, 4]);
    expect(rejects.map(([why]) => why)).toEqual(['not-a-number', 'malformed']);
  });

  test('a line without end is passed over and counted once, the next one is taken', async () => {
    execFileSync('mkfifo', [file]);
    await open();
    await writeFile(file, `${'9'.repeat(500_000)}\n{"t":7}\n`);
    await until(() => got.length === 1, 'the good line');
    expect(rejects.map(([why]) => why)).toEqual(['too-long']);
  });

  test('a file that is replaced, is missing or is no tty is an error that says so', async () => {
    await writeFile(file, '');
    await open();
    await opened();
    await rename(file, `${file}.1`);
    await writeFile(file, '');
    expect(await run).toMatchObject({ message: expect.stringContaining('was replaced') });
    await open({ baud: 9600 });
    expect(await run).toMatchObject({
      code: 'ERR_AGENT_SENSOR',
      message: expect.stringMatching(/stty/),
    });
    await open({ file: 'none' });
    expect(await run).toMatchObject({ message: expect.stringContaining('ENOENT') });
  });

  const hasPty = existsSync('/usr/bin/script');
  (hasPty ? test : test.skip)('sets the speed of a tty and reads it', async () => {
    const name = join(dataDir, 'tty');
    const line = `stty -echo; tty > ${name}; exec sleep 1000`;
    const pty = spawn('/usr/bin/script', ['-qfc', line, '/dev/null'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    try {
      const tty = async () => (await readFile(name, 'utf8').catch(() => '')).trim();
      await until(async () => (await tty()).startsWith('/dev/'), 'a pty');
      const path = await tty();
      await open({ file: path, baud: 4800 });
      const speed = () => execFileSync('stty', ['-F', path, 'speed']).toString().trim();
      await until(() => speed() === '4800', 'the speed');
      await until(() => {
        pty.stdin.write('{"t":19.5}\n');
        return got.length > 0;
      }, 'a line');
      expect(got[0]).toEqual({ metric: 'temperature', value: 19.5 });
      expect(rejects).toEqual([]);
    } finally {
      pty.kill('SIGKILL');
    }
    expect(await run).toMatchObject({ code: 'ERR_AGENT_SENSOR' });
  });

  test.each([
    [{ metrics: [] }, 'metrics'],
    [{ format: 'regex' }, 'pattern'],
    [{ format: 'regex', pattern: '(' }, 'regular expression'],
    [{ file: undefined }, 'file'],
    [{ metrics: [{ ...T[0], path: '[x]' }] }, 'path'],
  ])('a configuration without sense is refused: %j', async (keys, word) => {
    await expect(open(keys)).rejects.toThrow(word);
  });
});

test('lines do not depend on how the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ maxLength: 12 }).map((text) => text.replace(/[\r\n]/g, 'ü'))),
      fc.integer({ min: 1, max: 9 }),
      (lines, cut) => {
        let tooLong = 0;
        const splitter = new LineSplitter(10, { onTooLong: () => tooLong++, midLine: false });
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
        const found: string[] = [];
        for (let at = 0; at < bytes.length; at += cut) {
          found.push(...splitter.take(bytes.subarray(at, at + cut)));
        }
        const kept = lines.filter((line) => Buffer.byteLength(line) <= 10);
        const whole = (line: string) => Buffer.from(line).toString('utf8');
        expect(found).toEqual(kept.map(whole));
        expect(tooLong).toBe(lines.length - kept.length);
      },
    ),
  );
});
