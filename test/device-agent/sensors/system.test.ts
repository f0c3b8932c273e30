import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { fakeClock } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

const cases = new URL('../testcases/system/', import.meta.url).pathname;

describe('the system sensor', () => {
  let root: string;
  const clock = fakeClock();

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'agent-system-'));
  });
  afterEach(() => rm(root, { recursive: true }));

  async function open(machine: string) {
    await cp(join(cases, machine), root, { recursive: true });
    const sensor = await createSensor({ driver: 'system', keys: {}, clock, dataDir: root, root });
    if (sensor.kind !== 'pull') throw new Error('expected a pull sensor');
    const read = async () =>
      Object.fromEntries((await sensor.read()).map(({ metric, value }) => [metric, value]));
    return { sensor, read };
  }

  test('reads temperature, load, memory and disk of a Raspberry Pi', async () => {
    const { sensor, read } = await open('raspberry-pi');
    const values = await read();
    expect(values).toMatchObject({
      cpu_temperature: 48.312,
      load_1m: 0.52,
      memory_available: 474_152 * 1024,
      memory_used: 0.5,
    });
    expect(values.disk_free).toBeGreaterThan(0);
    expect(sensor.metrics.map(({ metric }) => metric)).toEqual(
      expect.arrayContaining(Object.keys(values)),
    );
  });

  test.each(['', '0', '-274000', 'n/a'])(
    'a sleeping CPU sensor that says "%s" gives no reading',
    async (written) => {
      const { read } = await open('raspberry-pi');
      for (const zone of ['thermal_zone0', 'thermal_zone1']) {
        await writeFile(join(root, 'sys/class/thermal', zone, 'temp'), `${written}\n`);
      }
      expect(await read()).not.toHaveProperty('cpu_temperature');
    },
  );

  test('network rates come from two counts, without the loopback interface', async () => {
    const { read } = await open('raspberry-pi');
    expect(await read()).not.toHaveProperty('net_received');
    await clock.advance(10_000);
    const dev = join(root, 'proc/net/dev');
    const line = (name: string, rx: number, tx: number) =>
      `${name}: ${rx} 0 0 0 0 0 0 0 ${tx} 0 0 0 0 0 0 0\n`;
    await writeFile(
      dev,
      `\n\n${line('lo', 1e9, 1e9)}${line('eth0', 110_000, 9000)}${line('wlan0', 500, 600)}`,
    );
    expect(await read()).toMatchObject({ net_received: 10_000, net_sent: 500 });
    await clock.advance(10_000);
    await writeFile(dev, `\n\n${line('eth0', 5, 5)}`);
    expect(await read()).not.toHaveProperty('net_received');
  });

  test('finds the CPU among hwmon chips', async () => {
    const { read } = await open('intel-hwmon');
    expect(await read()).toMatchObject({ cpu_temperature: 61 });
  });

  test('a machine without a temperature sensor has no such metric', async () => {
    await cp(join(cases, 'raspberry-pi/proc'), join(root, 'proc'), { recursive: true });
    const sensor = await createSensor({ driver: 'system', keys: {}, clock, dataDir: root, root });
    expect(sensor.metrics.some(({ metric }) => metric === 'cpu_temperature')).toBe(false);
  });

  test('fails when nothing can be read', async () => {
    const { read } = await open('raspberry-pi');
    const keys = { disk: join(root, 'nowhere') };
    const empty = await createSensor({
      driver: 'system',
      keys,
      clock,
      dataDir: root,
      root: join(root, 'nowhere'),
    });
    await expect(empty.kind === 'pull' && empty.read()).rejects.toMatchObject({
      code: 'ERR_AGENT_SENSOR',
    });
    expect(await read()).toHaveProperty('load_1m');
  });
});
