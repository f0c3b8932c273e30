import { cp, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RejectReason } from '@fieldproof/device-agent/sensors/sensor';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { fakeClock } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

const pi = new URL('../testcases/sysfs/raspberry-pi', import.meta.url).pathname;
const PROBE = '28-0316a2791234';

describe('the sysfs sensor', () => {
  let root: string;
  let rejects: [RejectReason, string][];

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'agent-sysfs-'));
    await cp(pi, root, { recursive: true });
    rejects = [];
  });
  afterEach(() => rm(root, { recursive: true }));

  async function open(keys: unknown = {}) {
    const clock = fakeClock();
    const sensor = await createSensor({
      driver: 'sysfs',
      keys,
      clock,
      dataDir: root,
      root,
      rejects,
    });
    if (sensor.kind !== 'pull') throw new Error('expected a pull sensor');
    const read = async () =>
      Object.fromEntries((await sensor.read()).map(({ metric, value }) => [metric, value]));
    return { sensor, read };
  }

  const write = (path: string, content: string) => writeFile(join(root, 'sys', path), content);

  test('finds what a Raspberry Pi has, each in its SenML unit', async () => {
    const { sensor, read } = await open();
    const values = await read();
    const rows = sensor.metrics.map(({ metric, unit }) => [metric, values[metric], unit]);
    expect(rows).toEqual([
      ['cpu_thermal_temp1', 48.312, 'Cel'],
      ['ina238_curr1', -1.25, 'A'],
      ['ina238_battery_bus', 12.044, 'V'],
      ['ina238_power1', 15.055, 'W'],
      ['sht3x_humidity1', 47.25, '%RH'],
      ['sht3x_temp1', 21.53, 'Cel'],
      ['pwmfan_fan1', 2876, '1/min'],
      ['gpu_thermal_temp', 47.774, 'Cel'],
      ['bme280_humidityrelative', 45.231, '%RH'],
      ['bme280_pressure', 101_325.390625, 'Pa'],
      ['bme280_temp', 20.64, 'Cel'],
      ['mcp3422_voltage0', 1.024, 'V'],
      ['mcp3422_voltage1', -0.0125, 'V'],
      ['hdc1080_illuminance', 318.5, 'lx'],
      ['hdc1080_temp', expect.closeTo((25000 - 15887.515151) * 2.517700195e-3, 9), 'Cel'],
      ['28-0316a2791234_temp', 21.437, 'Cel'],
      ['28-0316a2795678_temp', -0.5, 'Cel'],
    ]);
    expect(rejects).toEqual([]);
  });

  test('the resolution comes from the scale', async () => {
    const { sensor } = await open();
    const steps = new Map(sensor.metrics.map(({ metric, resolution }) => [metric, resolution]));
    expect(steps.get('sht3x_temp1')).toBe(0.001);
    expect(steps.get('ina238_power1')).toBe(0.000001);
    // One count is 62.5 µV.
    expect(steps.get('mcp3422_voltage0')).toBe(0.00001);
    expect(steps.get('bme280_pressure')).toBeUndefined();
  });

  test('kinds can be left out, files can be named', async () => {
    const w1 = await open({ hwmon: false, thermal: false, iio: false });
    expect(Object.keys(await w1.read())).toEqual([`${PROBE}_temp`, '28-0316a2795678_temp']);
    const named = await open({
      files: [
        {
          path: 'class/hwmon/hwmon2/in1_input',
          metric: 'battery',
          unit: 'V',
          scale: 0.002,
          offset: 0.5,
          resolution: 0.001,
        },
        {
          path: `/sys/bus/w1/devices/${PROBE}/w1_slave`,
          metric: 'pool',
          unit: 'Cel',
          scale: 0.001,
        },
      ],
    });
    expect(await named.read()).toEqual({ battery: 24.588, pool: 21.437 });
  });

  const RESET = '50 05 4b 46 7f ff 0c 10 1c';
  const HOT = '50 05 4b 46 7f ff 10 10 3e';
  test.each([
    [
      'a CRC that does not match',
      '57 01 4b 46 7f ff 09 10 e3 : crc=aa NO\n57 t=21437\n',
      'checksum',
    ],
    ['a chip that has not measured yet', `${RESET} : crc=1c YES\n${RESET} t=85000\n`, 'fault'],
    ['a bus of zeros', `${'00 '.repeat(9)}: crc=00 YES\n${'00 '.repeat(9)}t=0\n`, 'fault'],
    ['half a file', '57 01 4b 46 7f ff 09 10 e3 : crc=e3 YES\n', 'malformed'],
    ['nothing', '', 'malformed'],
  ])('1-wire: %s is a counted reject', async (_, content, reason) => {
    await write(`bus/w1/devices/${PROBE}/w1_slave`, content);
    const { read } = await open();
    expect(await read()).not.toHaveProperty(`${PROBE}_temp`);
    expect(rejects.map(([why]) => why)).toEqual([reason]);
  });

  test('1-wire: 85 degrees that were measured are a reading', async () => {
    await write(`bus/w1/devices/${PROBE}/w1_slave`, `${HOT} : crc=3e YES\n${HOT} t=85000\n`);
    const { read } = await open();
    expect(await read()).toHaveProperty(`${PROBE}_temp`, 85);
  });

  test.each(['', 'nan\n', 'inf\n', '0x10\n', '1,5\n', 'x'.repeat(10_000), '\0\0'])(
    'a file that says %j gives no reading and is counted',
    async (content) => {
      await write('class/hwmon/hwmon0/temp1_input', content);
      const { read } = await open();
      expect(await read()).not.toHaveProperty('cpu_thermal_temp1');
      expect(rejects.map(([why]) => why)).toEqual(['not-a-number']);
    },
  );

  test('a channel whose chip says that it is faulty is left out', async () => {
    await write('class/hwmon/hwmon3/temp1_fault', '1\n');
    const { read } = await open();
    expect(await read()).not.toHaveProperty('sht3x_temp1');
    expect(rejects.map(([why]) => why)).toEqual(['fault']);
  });

  test('two chips of one kind have names of their own', async () => {
    await cp(join(root, 'sys/class/hwmon/hwmon3'), join(root, 'sys/class/hwmon/hwmon10'), {
      recursive: true,
    });
    const { sensor } = await open();
    const names = sensor.metrics.map(({ metric }) => metric);
    expect(names).toContain('sht3x_temp1_2');
    expect(new Set(names).size).toBe(names.length);
  });

  test('a chip that comes back under another number is found again', async () => {
    const { read } = await open({ thermal: false, iio: false, w1: false });
    await rename(join(root, 'sys/class/hwmon/hwmon3'), join(root, 'sys/class/hwmon/hwmon7'));
    expect(await read()).not.toHaveProperty('sht3x_temp1');
    expect(await read()).toHaveProperty('sht3x_temp1', 21.53);
  });

  test('a machine without sensors, or whose sensors are gone, is an error that says so', async () => {
    const { read } = await open();
    await rm(join(root, 'sys'), { recursive: true });
    await expect(read()).rejects.toMatchObject({ code: 'ERR_AGENT_SENSOR' });
    await expect(open()).rejects.toThrow(/found none/);
  });
});
