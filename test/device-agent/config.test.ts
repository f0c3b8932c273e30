import { readFile } from 'node:fs/promises';
import { checkConfig, environmentName, parseConfig } from '@fieldproof/device-agent/config';
import { SENSOR_DRIVERS } from '@fieldproof/device-agent/sensors/drivers';
import { describe, expect, test } from '@jest/globals';

const example = new URL('../../device-agent/agent.example.yaml', import.meta.url);

describe('configuration', () => {
  test('the example file parses, and what it sets are the defaults', async () => {
    const text = await readFile(example, 'utf8');
    const parsed = await parseConfig(text);
    const { sensors, ...settings } = parsed;
    const { sensors: none, ...defaults } = await checkConfig({});
    expect(settings).toEqual(defaults);
    expect(none).toEqual([]);
    expect(sensors).toEqual([
      { driver: 'system', profile: 'system', intervalMs: 10_000, options: {} },
    ]);
  });

  test('the sensors that the example file comments out parse too', async () => {
    const text = await readFile(example, 'utf8');
    const start = text.indexOf('  # Recorded measurements');
    const block = text.slice(
      text.indexOf('  # - driver: replay', start),
      text.indexOf('# Readings'),
    );
    const config = await parseConfig(`sensors:\n${block.replace(/^ {2}# /gm, '  ')}`);
    expect(config.source).toBe('replay');
    expect(config.sensors[0]).toMatchObject({
      driver: 'replay',
      options: { speed: 60, loop: true, missing: ['-200'], time: { timeColumn: 'Time' } },
    });
  });

  test('the example file has a block for every driver, and each parses on its own', async () => {
    const text = await readFile(example, 'utf8');
    const part = text.slice(text.indexOf('sensors:'), text.indexOf('# Readings are signed'));
    const blocks = part.split(/^(?= {2}(?:# )?- driver: )/m).slice(1);
    const drivers: string[] = [];
    for (const block of blocks) {
      const lines = block.split('\n').filter((line) => /^ {2}(# (- | {2})|- | {2})/.test(line));
      const yaml = lines.map((line) => line.replace(/^ {2}# /, '  ')).join('\n');
      const config = await parseConfig(`sensors:\n${yaml}`);
      drivers.push(...config.sensors.map(({ driver }) => driver));
    }
    expect([...new Set(drivers)].sort()).toEqual(Object.keys(SENSOR_DRIVERS).sort());
  });

  test('environment is stronger than the file, flags are stronger than both', async () => {
    const yaml = 'name: a\noutbox: { maxBytes: 1000000, segmentBytes: 65536 }';
    const env = { FIELDPROOF_NAME: 'b', FIELDPROOF_OUTBOX_MAX_BYTES: '2000000' };
    const config = await parseConfig(yaml, env, { 'outbox.maxBytes': '3000000' });
    expect(config.name).toBe('b');
    expect(config.outbox).toMatchObject({ maxBytes: 3_000_000, segmentBytes: 65_536 });
    expect(environmentName('clock.trustTimesyncd')).toBe('FIELDPROOF_CLOCK_TRUST_TIMESYNCD');
  });

  test('all mistakes are reported at once, each with its path', async () => {
    const yaml = `
nmae: x
cell: london
batch: { format: json, sealEveryMs: 1 }
sensors:
  - { driver: bme280, profile: air }
  - { driver: system, profile: Air, colour: red }
  - { driver: simulated, profile: sim }
`;
    const error = await parseConfig(yaml, {}, { 'no.such': '1' }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'ERR_AGENT_CONFIG' });
    const lines = (error as Error).message.split('\n').map((line) => line.split(':')[0]);
    expect(lines.sort()).toEqual(
      [
        '--set no.such',
        'batch.format',
        'batch.sealEveryMs',
        'cell',
        'nmae',
        'sensors',
        'sensors[0].driver',
        'sensors[1].colour',
        'sensors[1].profile',
      ].sort(),
    );
  });

  test('two sensors may not share a profile', async () => {
    const sensor = { driver: 'simulated', profile: 'room' };
    await expect(checkConfig({ sensors: [sensor, sensor] })).rejects.toThrow('sensors[1].profile');
  });

  test.each(['[1, 2]', 'a: [', '"text"', 'sensors: 3', 'sensors: [3]', 'batch: 3'])(
    'what is no configuration is refused: %s',
    async (yaml) => {
      await expect(parseConfig(yaml)).rejects.toMatchObject({ code: 'ERR_AGENT_CONFIG' });
    },
  );
});
