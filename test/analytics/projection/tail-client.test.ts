import type { AnalyticsError } from '@fieldproof/analytics/errors';
import { readEntry, type TailOptions, tail } from '@fieldproof/analytics/projection/tail-client';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FakeLog, fakeDevice, NOON } from './evidence.ts';
import { TailServer, TOKEN, until } from './tail-server.ts';

let log: FakeLog;
let server: TailServer;
let url = '';
let abort: AbortController;
beforeEach(async () => {
  log = new FakeLog();
  const device = fakeDevice(1);
  for (let i = 0; i < 20; i++) log.telemetry(device, [[NOON / 1000 + i, i]]);
  server = new TailServer(log);
  url = await server.start();
  abort = new AbortController();
});
afterEach(async () => {
  abort.abort();
  await server.stop();
});

const options = (extra: Partial<TailOptions> = {}): TailOptions => ({
  url,
  token: async () => `${TOKEN}\n`,
  from: 0,
  signal: abort.signal,
  sleep: async () => {},
  ...extra,
});

async function indexes(extra: Partial<TailOptions>): Promise<number[]> {
  const got: number[] = [];
  for await (const frames of tail(options(extra))) got.push(...frames.map(({ index }) => index));
  return got;
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

test('gives every frame from an index on, and ends where the log ends when it is not live', async () => {
  expect(await indexes({ from: 7, live: false })).toEqual(range(7, 21));
  expect(await indexes({ from: 21, live: false })).toEqual([]);
});

test('comes back after every cut and goes on at the next index', async () => {
  const got: number[] = [];
  const states: (string | undefined)[] = [];
  const reading = (async () => {
    const onConnection = (error?: AnalyticsError) => states.push(error?.code);
    for await (const frames of tail(options({ onConnection }))) {
      got.push(...frames.map(({ index }) => index));
      if (got.length < 60) {
        for (let i = 0; i < 5; i++) log.anchor(fakeDevice(2), NOON);
        server.cut();
      }
    }
  })();
  await until(() => got.length >= 61);
  abort.abort();
  await reading;
  expect(got).toEqual(range(0, got.length));
  expect(server.requests.length).toBeGreaterThan(5);
  expect(states.slice(0, 3)).toEqual([undefined, 'ERR_TAIL_UNAVAILABLE', undefined]);
});

test('a live tail gets what is recorded later', async () => {
  const got: number[] = [];
  const reading = (async () => {
    for await (const frames of tail(options({ from: 20 }))) {
      got.push(...frames.map(({ index }) => index));
    }
  })();
  await until(() => got.length === 1);
  log.anchor(fakeDevice(2), NOON);
  server.push();
  await until(() => got.length === 2);
  abort.abort();
  await reading;
  expect(got).toEqual([20, 21]);
});

describe('what is wrong has a code', () => {
  const code = (extra: Partial<TailOptions>) => indexes(extra).catch((error) => error.code);

  test('a refused token and one that cannot be read', async () => {
    expect(await code({ token: async () => 'other' })).toBe('ERR_TAIL_AUTH');
    expect(await code({ token: () => Promise.reject(new Error('no file')) })).toBe('ERR_TAIL_AUTH');
    expect(await code({ token: async () => 'two words' })).toBe('ERR_TAIL_AUTH');
  });

  test('an index behind the end', async () => {
    expect(await code({ from: 22 })).toBe('ERR_TAIL_RANGE');
  });

  test('damage: what was whole before it is given, and the same damage three times is the log', async () => {
    let healed = false;
    server.alter = (bytes, from) => {
      if (healed || from > 5) return bytes;
      const at = log.bytes(from, 5).length + 30;
      bytes[at]! ^= 1;
      healed = server.requests.length === 2;
      return bytes;
    };
    expect(await indexes({ live: false })).toEqual(range(0, 21));
    server.alter = (bytes) => bytes.fill(0, 40, 41);
    expect(await code({ from: 3, live: false })).toBe('ERR_TAIL_CORRUPT');
  });

  test('frames that are whole but not the next ones', async () => {
    server.alter = () => log.bytes(4, 5);
    expect(await code({ from: 3 })).toBe('ERR_TAIL_CORRUPT');
  });

  test('no broker, when there is no second try', async () => {
    await server.stop();
    expect(await code({ live: false })).toBe('ERR_TAIL_UNAVAILABLE');
    server = new TailServer(log);
  });
});

test('a reader that does not read stops the sender', async () => {
  const body = new Uint8Array(50_000);
  for (let i = 0; i < 1500; i++) {
    log.frames.push({ index: log.size, entry: Uint8Array.of(0x80), body });
  }
  const frames = tail(options({ live: false }));
  await frames.next();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const rss = process.memoryUsage().arrayBuffers;
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(process.memoryUsage().arrayBuffers - rss).toBeLessThan(16 << 20);
  await frames.return(undefined);
});

test('one entry by its index', async () => {
  const source = { url, token: async () => TOKEN };
  expect((await readEntry(source, 4, abort.signal)).index).toBe(4);
  await expect(readEntry(source, 99, abort.signal)).rejects.toMatchObject({
    code: 'ERR_TAIL_RANGE',
  });
});
