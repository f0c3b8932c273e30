import { parseOptions } from '@fieldproof/stack/options';
import { describe, expect, test } from '@jest/globals';

describe('the options of npm start', () => {
  test('have defaults', () => {
    expect(parseOptions([], {})).toEqual({
      data: './data',
      demo: true,
      lan: false,
      plain: false,
      portBase: 7880,
      maxRestartPauseMs: 30_000,
      influxUrl: null,
    });
  });

  test('are read from flags and the environment', () => {
    const options = parseOptions(
      [
        ...['--no-demo', '--lan', '--plain', '--data', '/x', '--port-base', '9000'],
        ...['--max-restart-pause', '200'],
      ],
      {
        INFLUX_URL: 'http://127.0.0.1:8086/fieldproof',
      },
    );
    expect(options).toEqual({
      data: '/x',
      demo: false,
      lan: true,
      plain: true,
      portBase: 9000,
      maxRestartPauseMs: 200,
      influxUrl: 'http://127.0.0.1:8086/fieldproof',
    });
  });

  test('prefer a flag to the environment', () => {
    expect(parseOptions(['--data', '/flag'], { FIELDPROOF_DATA: '/env' })?.data).toBe('/flag');
    expect(parseOptions([], { FIELDPROOF_DATA: '/env' })?.data).toBe('/env');
  });

  test.each<[string, string[], Record<string, string>]>([
    ['an unknown flag', ['--no-dmeo'], {}],
    ['a stray word', ['demo'], {}],
    ['a port that is no number', ['--port-base', 'http'], {}],
    ['a pause that is too short', ['--max-restart-pause', '1'], {}],
    ['a port below 1024', ['--port-base', '80'], {}],
    ['a port above 65527', ['--port-base', '65528'], {}],
    ['an INFLUX_URL that is no address', [], { INFLUX_URL: 'localhost' }],
    ['an INFLUX_URL of another scheme', [], { INFLUX_URL: 'ftp://x/y' }],
  ])('refuse %s', (_name, args, env) => {
    expect(() => parseOptions(args, env)).toThrow(expect.objectContaining({ code: 'ERR_OPTION' }));
  });
});
