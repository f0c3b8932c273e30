import { readFile } from 'node:fs/promises';
import { checkConfig, environmentName, parseConfig } from '@fieldproof/device-agent/config';
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
