import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@fieldproof/device-agent/clock';
import type { RejectReason } from '@fieldproof/device-agent/sensors/sensor';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { fakeClock, until } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

const metrics = [
  { metric: 'temperature', unit: 'Cel', path: 'tmp.tC' },
  { metric: 'power', unit: 'W', path: 'emeters[0].power' },
];
const SHELLY = { tmp: { tC: 38.5 }, emeters: [{ power: 12.25, is_valid: true }], uptime: 7 };

describe('the http-json sensor', () => {
  let dataDir: string;
  let server: Server;
  let base: string;
  let answer: RequestListener;
  let seen: { url: string | undefined; headers: Record<string, unknown> }[];
  let rejects: [RejectReason, string][];

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'agent-http-'));
    server = createServer((request, response) => {
      seen.push({ url: request.url, headers: request.headers });
      answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  beforeEach(() => {
    seen = [];
    rejects = [];
    answer = (_, response) => response.end(JSON.stringify(SHELLY));
  });
  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    await rm(dataDir, { recursive: true });
  });

  async function open(keys: object = {}, clock = systemClock) {
    const all = { url: `${base}/status?key=secret`, metrics, ...keys };
    const sensor = await createSensor({ driver: 'http-json', keys: all, clock, dataDir, rejects });
    if (sensor.kind !== 'pull') throw new Error('expected a pull sensor');
    return sensor;
  }

  test('reads the answer of a Shelly by paths', async () => {
    const sensor = await open();
    expect(await sensor.read()).toEqual([
      { metric: 'temperature', value: 38.5 },
      { metric: 'power', value: 12.25 },
    ]);
    expect(seen[0]?.url).toBe('/status?key=secret');
  });

  test('headers come from a file that nobody else can read', async () => {
    const file = join(dataDir, 'headers');
    await writeFile(file, 'Authorization: Bearer abc\nX-Key: 1\n', { mode: 0o600 });
    const sensor = await open({ headersFile: 'headers' });
    await sensor.read();
    expect(seen[0]?.headers).toMatchObject({ authorization: 'Bearer abc', 'x-key': '1' });
    await chmod(file, 0o644);
    await expect(sensor.read()).rejects.toThrow(/others can read it/);
    await chmod(file, 0o600);
    await writeFile(file, 'Bearer abc\n');
    const error = await sensor.read().catch((thrown: Error) => thrown.message);
    expect(error).toMatch(/line 1: expected/);
    expect(error).not.toContain('abc');
  });

  test('a redirect on the same host is followed, one to another is not, nor without end', async () => {
    answer = ({ url }, response) => {
      if (url === '/there') response.end(JSON.stringify(SHELLY));
      else response.writeHead(302, { location: '/there' }).end();
    };
    const sensor = await open();
    expect(await sensor.read()).toHaveLength(2);
    for (const location of [
      base.replace('127.0.0.1', 'localhost'),
      base.replace('http', 'https'),
    ]) {
      answer = (_, response) => response.writeHead(301, { location }).end();
      seen = [];
      await expect(sensor.read()).rejects.toThrow(/not followed/);
      expect(seen).toHaveLength(1);
    }
    answer = (_, response) => response.writeHead(307, { location: '/status' }).end();
    await expect(sensor.read()).rejects.toThrow(/more than 3 redirects/);
  });

  test.each([
    ['no JSON', '<html>', 'malformed'],
    ['NaN', '{"tmp":{"tC":NaN}}', 'malformed'],
    ['a wrong type', '{"tmp":{"tC":[1]}}', 'wrong-type'],
    ['a number that overflows', '{"tmp":{"tC":1e999}}', 'wrong-type'],
    ['too much', `{"x":"${'y'.repeat(70_000)}"}`, 'too-long'],
  ])('%s is a counted reject', async (_, body, reason) => {
    answer = (_request, response) => response.end(body);
    await expect((await open()).read()).rejects.toMatchObject({ code: 'ERR_AGENT_SENSOR' });
    expect(rejects.map(([why]) => why)).toEqual([reason]);
  });

  test('an endless answer is cut', async () => {
    answer = (_, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      };
      response.on('drain', more).on('error', () => {});
      more();
    };
    await expect((await open()).read()).rejects.toThrow(/more than 65536 bytes/);
    expect(rejects).toHaveLength(1);
  });

  test.each([
    ['an error', 500, {}, /answered with 500/],
    ['a compressed answer', 200, { 'content-encoding': 'gzip' }, /compressed/],
  ])('%s fails with its reason, without the query', async (_, status, headers, reason) => {
    answer = (_request, response) => response.writeHead(status, headers).end('x');
    const error = await (await open()).read().catch((thrown: Error) => thrown.message);
    expect(error).toMatch(reason);
    expect(error).not.toContain('secret');
  });

  test.each(['time', 'stop'])('an answer that does not come ends by %s', async (how) => {
    answer = (_, response) => response.write('{');
    const clock = fakeClock();
    const stop = new AbortController();
    const outcome = (await open({}, clock)).read(stop.signal).catch((e: Error) => e.message);
    await until(() => seen.length === 1, 'the request');
    if (how === 'time') await clock.advance(10_000);
    else stop.abort();
    expect(await outcome).toMatch(how === 'time' ? /no whole answer within/ : /was stopped/);
    expect(clock.timers()).toBe(0);
  });

  test('a connection that breaks or is refused fails', async () => {
    answer = (_, response) => {
      response.write('{"tmp":', () => response.destroy());
    };
    await expect((await open()).read()).rejects.toMatchObject({ code: 'ERR_AGENT_SENSOR' });
    const nobody = await open({ url: 'http://127.0.0.1:1/' });
    await expect(nobody.read()).rejects.toThrow(/ECONNREFUSED/);
  });

  test.each(['ftp://a/', 'http://user:pass@a/', 'http://[', 'status'])(
    'the address %s is refused',
    async (url) => {
      await expect(open({ url })).rejects.toThrow(/url: expected an http/);
    },
  );
});
