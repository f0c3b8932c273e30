import { controlConfig } from '@fieldproof/analytics/config';
import { describe, expect, test } from '@jest/globals';

describe('configuration of the control process', () => {
  test('defaults', () => {
    expect(controlConfig({})).toEqual({
      ...{ dataDir: './data/control', host: '127.0.0.1', port: 7881 },
      ...{ maxSeries: 100_000, maxConnections: 1000, stallMs: 60_000, logLevel: 'info' },
      ...{ maxConnectionsPerAddress: 256, headersMs: 10_000 },
    });
  });

  test('flags win over the environment, that over the file, that over defaults', () => {
    const file = { port: 1, host: 'a', network: 'n1', logLevel: 'warn' };
    const env = {
      FIELDPROOF_CONTROL_PORT: '2',
      FIELDPROOF_CONTROL_HOST: 'b',
      FIELDPROOF_NETWORK: '',
    };
    const config = controlConfig({ file, env, flags: { port: '3' } });
    expect(config).toMatchObject({ port: 3, host: 'b', network: 'n1', logLevel: 'warn' });
  });

  test('every problem is named at once', () => {
    const sources = {
      file: { prot: 1, network: 5 },
      env: { INFLUX_URL: 'localhost', FIELDPROOF_CONTROL_PORT: '-1' },
      flags: { logLevel: 'loud' },
    };
    for (const word of ['prot', 'network', 'INFLUX_URL', 'FIELDPROOF_CONTROL_PORT', 'logLevel']) {
      expect(() => controlConfig(sources)).toThrow(word);
    }
  });

  test.each([null, [], 'x', 5])('a file that is %j is refused', (file) => {
    expect(() => controlConfig({ file })).toThrow('expected a JSON object');
  });

  test('a password in INFLUX_URL is in no message', () => {
    const env = { INFLUX_URL: 'ftp://user:hunter2@host' };
    expect(() => controlConfig({ env })).toThrow(/^(?!.*hunter2)/);
  });
});
