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

  test('all mistakes are reported at once, each with its line, expectation and value', async () => {
    const yaml = `
nmae: x
cell: london
batch: { format: json, sealEveryMs: 1 }
sensors:
  - { driver: bme280, profile: air }
  - driver: exec
    profile: Air
    colour: red
    metrics:
      - metric: a
        unit: Cel
      - { metric: 1 }
  - { driver: simulated, profile: sim }
`;
    expect(await mistakes(yaml)).toEqual([
      expect.stringMatching(/^agent\.yaml:2: nmae: unknown key, expected one of name, cell, /),
      'agent.yaml:3: cell: expected an H3 cell, 15 hex digits, got "london"',
      'agent.yaml:4: batch.sealEveryMs: expected a whole number from 100 to 600000, got 1',
      'agent.yaml:4: batch.format: expected columns or senml, got "json"',
      'agent.yaml:5: sensors: expected one source, got sensor and simulated; run a second agent for the rest',
      expect.stringMatching(/^agent\.yaml:6: sensors\[0\]\.driver: expected .*, got "bme280"$/),
      'agent.yaml:7: sensors[1].command: expected at least 1, got 0',
      'agent.yaml:8: sensors[1].profile: expected a profile name, [a-z][a-z0-9_-]{0,31}, got "Air"',
      expect.stringMatching(/^agent\.yaml:9: sensors\[1\]\.colour: unknown key, expected one of /),
      expect.stringMatching(
        /^agent\.yaml:13: sensors\[1\]\.metrics\[1\]\.metric: expected .*, got 1$/,
      ),
    ]);
  });

  test('a mistake that the file does not make says where it comes from', async () => {
    const env = { FIELDPROOF_OUTBOX_MAX_BYTES: 'plenty' };
    const found = await mistakes('name: a\n', env, { 'no.such': '1', cell: 'x' });
    expect(found).toEqual([
      expect.stringMatching(/^--set no\.such: unknown key, expected one of name, /),
      '--set: cell: expected an H3 cell, 15 hex digits, got "x"',
      expect.stringMatching(/^FIELDPROOF_OUTBOX_MAX_BYTES: outbox\.maxBytes: .*, got "plenty"$/),
    ]);
  });

  test('what belongs together is compared, with both values', async () => {
    const yaml =
      'link:\n  backoffMinMs: 9000\n  backoffMaxMs: 8000\noutbox: { maxBytes: 262144 }\n';
    expect(await mistakes(yaml)).toEqual([
      'agent.yaml:3: link.backoffMaxMs: expected at least link.backoffMinMs, 9000, got 8000',
      'agent.yaml:4: outbox.segmentBytes: expected at most a quarter of outbox.maxBytes, 65536, got 1048576',
    ]);
  });

  test('all mistakes of YAML itself are reported, each with its line', async () => {
    const found = await mistakes('name: a\nname: b\nbatch:\n\tformat: senml\ncell: !!odd x\n');
    expect(found.map((line) => line.split(':')[1])).toEqual(expect.arrayContaining(['2', '4']));
    expect(found[0]).toMatch(/^agent\.yaml:2: .*unique/);
  });

  test('aliases are refused: a small file must not say something big', async () => {
    expect(await mistakes('name: &a x\ncell: *a\n')).toEqual([
      expect.stringMatching(/^agent\.yaml: .*alias/i),
    ]);
  });

  describe('edge functions', () => {
    const sensor = (profile: string) => ({ driver: 'simulated', profile });
    const sensors = [sensor('air'), sensor('soil')];

    test('of a metric are those of every sensor; one with a profile goes before', async () => {
      const { edge } = await parseConfig(
        [
          `sensors: ${JSON.stringify(sensors)}`,
          'edge:',
          '  temperature: window 1m → deadband 0.2',
          '  soil/temperature: { function: "rate -> window 5m max", send: both }',
          '  soil/node:abc/ph: deadband 1',
        ].join('\n'),
      );
      const text = 'window 1m → deadband 0.2';
      expect(edge).toEqual({
        'air/temperature': { key: 'temperature', text, send: 'results' },
        'soil/temperature': {
          ...{ key: 'soil/temperature', text: 'rate -> window 5m max', send: 'both' },
        },
        'soil/node:abc/ph': { key: 'soil/node:abc/ph', text: 'deadband 1', send: 'results' },
      });
    });

    test('the comments of the example file parse', async () => {
      const text = await readFile(example, 'utf8');
      const block = text.slice(text.indexOf('\nedge:'), text.indexOf('\n# The readings behind'));
      const yaml = block.replace(/^ {2}# /gm, '  ');
      const { edge } = await parseConfig(`sensors: ${JSON.stringify([sensor('air')])}\n${yaml}`);
      expect(Object.keys(edge)).toEqual(['air/temperature', 'air/humidity']);
      expect(edge['air/humidity']).toMatchObject({ send: 'both' });
    });

    test('with mistakes are told with path, place and expectation, all at once', async () => {
      const edge = {
        temperature: 'windov 1m | deadband x',
        'roof/temperature': 'deadband 1',
        'a b': 'deadband 1',
        humidity: { function: 7, send: 'raw', every: 1 },
        ['x'.repeat(60)]: 'window 1m stddev',
      };
      const problems = await checkConfig({ sensors, edge, raw: { keepDays: 0 } }).catch(
        (error: Error) => error.message.split('\n'),
      );
      expect(problems).toEqual([
        'raw.keepDays: expected a whole number from 1 to 366, got 0',
        expect.stringMatching(
          /^edge\.temperature: in "windov 1m": expected a function \(.*, got "windov" \(window\?\)$/,
        ),
        expect.stringMatching(
          /^edge\.temperature: in "deadband x": expected a difference .*, got "x"$/,
        ),
        'edge.roof/temperature: expected a profile of air, soil before the /, got roof',
        'edge.a b: expected <metric> or <profile>/<metric>, got "a b"',
        'edge.humidity.every: unknown key, expected one of function, send',
        'edge.humidity.send: expected results or both, got "raw"',
        'edge.humidity: expected functions such as window 1m | deadband 0.2, got 7',
        expect.stringMatching(
          /^edge\.x+: expected names of at most 64 characters, got x+\.stddev$/,
        ),
      ]);
      await expect(checkConfig({ edge: ['window 1m'] })).rejects.toThrow('edge: expected <metric>');
    });

    test('may not give two series one name', async () => {
      const edge = { temp: 'window 1m', 'air/temp.mean': 'deadband 1', 'air/temp.max': 'rate' };
      await expect(checkConfig({ sensors, edge })).rejects.toThrow(
        'edge.temp: expected names of its own, got air/temp.mean, which another stream has',
      );
    });
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

  async function mistakes(
    yaml: string,
    env: Record<string, string> = {},
    flags: Record<string, string> = {},
  ): Promise<string[]> {
    const error = await parseConfig(yaml, env, flags).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'ERR_AGENT_CONFIG' });
    return (error as Error).message.split('\n');
  }
});
