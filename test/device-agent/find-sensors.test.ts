import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig } from '@fieldproof/device-agent/config';
import { findSensors } from '@fieldproof/device-agent/find-sensors';
import {
  chooseSensors,
  listSensors,
  proposeConfig,
} from '@fieldproof/device-agent/proposed-config';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

const pi = new URL('./testcases/sysfs/raspberry-pi', import.meta.url).pathname;
const SERIAL = 'usb-1a86_USB_Serial-if00-port0';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'agent-find-'));
});
afterEach(() => rm(root, { recursive: true }));

async function everything() {
  await cp(pi, root, { recursive: true });
  await mkdir(join(root, 'dev/serial/by-id'), { recursive: true });
  await writeFile(join(root, 'dev/serial/by-id', SERIAL), '');
  return await findSensors({ root, listens: async (port) => port === 1883 });
}

describe('finding sensors', () => {
  test('a machine without any has itself', async () => {
    const found = await findSensors({ root, listens: async () => false });
    expect(found.map(({ driver }) => driver)).toEqual(['system']);
  });

  test('chips, serial adapters and a local broker are found, with what has to be said of them', async () => {
    const found = await everything();
    expect(found.map(({ driver, unfinished }) => [driver, unfinished])).toEqual([
      ['system', ''],
      ['sysfs', ''],
      ['serial-line', 'say its speed and what its lines hold'],
      ['mqtt', 'name its topics'],
    ]);
    expect(found[1]!.found).toMatch(
      /^sensors that Linux drives: ina238_curr1 \(A\), .*and \d+ more$/,
    );
    // `system` has the processor's temperature.
    expect(found[1]!.found).not.toContain('cpu_thermal');
  });
});

describe('the proposed configuration', () => {
  test('has what works as it is, and the rest as comments that work when they are taken in', async () => {
    const yaml = proposeConfig({ name: 'roof "1"', sensors: await everything() });
    const config = await parseConfig(yaml);
    expect(config.name).toBe('roof "1"');
    expect(config.sensors.map(({ driver }) => driver)).toEqual(['system', 'sysfs']);
    const uncommented = yaml
      .split('\n')
      .map((line) => (/^ {2}# (- driver| {2})/.test(line) ? line.replace('  # ', '  ') : line))
      .join('\n');
    const whole = await parseConfig(uncommented);
    expect(whole.sensors.map(({ driver }) => driver)).toEqual([
      ...['system', 'sysfs', 'serial-line', 'mqtt'],
    ]);
  });

  test('with none it says an empty list', async () => {
    const sensors = chooseSensors(await everything(), 'none');
    const yaml = proposeConfig({ name: 'a', cell: '871fa4aa4ffffff', sensors });
    expect(await parseConfig(yaml)).toMatchObject({ cell: '871fa4aa4ffffff', sensors: [] });
    expect(yaml).toContain(SERIAL);
  });

  test.each([
    ['all', ['system', 'sysfs']],
    ['none', []],
    ['1', ['system']],
    ['sysfs, 1', ['system', 'sysfs']],
  ])('%s is a choice', async (asked, drivers) => {
    const chosen = chooseSensors(await everything(), asked).filter(
      (each) => each.unfinished === '',
    );
    expect(chosen.map(({ driver }) => driver)).toEqual(drivers);
  });

  test.each(['3', '0', 'x', '1,,2', 'mqtt'])(
    '%s is none, and the choices are named',
    async (asked) => {
      const found = await everything();
      expect(() => chooseSensors(found, asked)).toThrow(
        /^sensors: expected all, none, 1 or system, 2 or sysfs, got /,
      );
    },
  );

  test('people see numbers for what can be chosen', async () => {
    const lines = listSensors(await everything()).split('\n');
    expect(lines.map((line) => line.slice(0, 5))).toEqual(['  1  ', '  2  ', '  -  ', '  -  ', '']);
  });
});
