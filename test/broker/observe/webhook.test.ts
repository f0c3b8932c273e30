import crypto from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveConfig } from '@fieldproof/broker/config';
import {
  MAX_QUEUED,
  retryDelayMs,
  WebhookSender,
  type WebhookSenderOptions,
} from '@fieldproof/broker/observe/webhook-sender';
import {
  loadWebhookSecret,
  signWebhook,
  verifyWebhook,
} from '@fieldproof/broker/observe/webhook-signature';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { REPOSITORY } from '../../support/services.ts';
import { startTestBroker, type TestBroker } from '../support/broker.ts';
import { until } from '../support/device.ts';

const SECRET = 'correct-horse-battery-staple-0123';

function sender(answers: readonly (number | Error)[], changes: Partial<WebhookSenderOptions> = {}) {
  const requests: { url: string; body: string; headers: Record<string, string> }[] = [];
  const sleeps: number[] = [];
  const givenUp: [string, string][] = [];
  let ids = 0;
  const made = new WebhookSender({
    url: 'http://hook.test/in?key=1',
    secret: SECRET,
    network: 'net',
    version: '1',
    perSecond: 10,
    now: () => 1_700_000_000_123,
    newId: () => `id-${ids++}`,
    onGivenUp: ({ event }, why) => givenUp.push([event, why]),
    fetch: (async (url: string, init: { body: string; headers: Record<string, string> }) => {
      const answer = answers[Math.min(requests.length, answers.length - 1)]!;
      requests.push({ url, body: init.body, headers: init.headers });
      if (answer instanceof Error) throw answer;
      return { status: answer, body: null };
    }) as never,
    sleep: async (ms) => void sleeps.push(ms),
    ...changes,
  });
  const settled = () => until(() => made.counts.queued === 0);
  return { sender: made, requests, sleeps, givenUp, settled };
}

describe('the signature', () => {
  const body = '{"a":1}';
  const timestamp = '1700000000';
  const signature = signWebhook(SECRET, { timestamp, body });
  const good = { timestamp, signature, body };

  test('is HMAC-SHA256 over timestamp, point and body', () => {
    // echo -n '1700000000.{"a":1}' | openssl dgst -sha256 -hmac correct-horse-battery-staple-0123
    expect(signature).toMatch(/^v1=[0-9a-f]{64}$/);
    expect(verifyWebhook(SECRET, good, { nowS: 1_700_000_100 })).toBe(true);
  });

  test.each([
    ['another body', { ...good, body: '{"a":2}' }, 1_700_000_000],
    ['another timestamp', { ...good, timestamp: '1700000001' }, 1_700_000_000],
    ['a cut signature', { ...good, signature: signature.slice(0, -1) }, 1_700_000_000],
    ['no scheme', { ...good, signature: signature.slice(3) }, 1_700_000_000],
    ['no signature', { ...good, signature: '' }, 1_700_000_000],
    ['a timestamp that is none', { ...good, timestamp: 'now' }, 1_700_000_000],
    ['an old timestamp', good, 1_700_000_301],
    ['a timestamp of later', good, 1_699_999_699],
  ])('with %s is refused', (_what, received, nowS) => {
    expect(verifyWebhook(SECRET, received, { nowS })).toBe(false);
  });

  test('of another secret is refused', () => {
    expect(verifyWebhook(`${SECRET}x`, good, { nowS: 1_700_000_000 })).toBe(false);
  });
});

test('the function in the guide takes what is signed and nothing else', () => {
  const guide = readFileSync(join(REPOSITORY, 'docs/guides/observability.md'), 'utf8');
  const code = /```js\n([\s\S]*?)```/.exec(guide)![1]!;
  const node = new Function('msg', 'env', 'crypto', 'Buffer', code) as (
    ...args: unknown[]
  ) => [{ payload: unknown } | null, { statusCode: number }];
  const run = (payload: unknown, change: { timestamp?: string; body?: string } = {}) => {
    const timestamp = change.timestamp ?? String(Math.floor(Date.now() / 1000));
    const body = change.body ?? JSON.stringify(payload);
    const headers = {
      'fieldproof-timestamp': timestamp,
      'fieldproof-signature': signWebhook(SECRET, { timestamp, body }),
    };
    return node({ payload, req: { headers } }, { get: () => SECRET }, crypto, Buffer);
  };
  const event = { event: 'device-offline', at: 1, name: 'Dach "Süd"\n' };
  expect(run(event)).toMatchObject([{ payload: event }, { statusCode: 204 }]);
  expect(run(event, { body: '{}' })).toMatchObject([null, { statusCode: 401 }]);
  expect(run(event, { timestamp: '1' })).toMatchObject([null, { statusCode: 401 }]);
  const unsigned = { payload: event, req: { headers: {} } };
  expect(node(unsigned, { get: () => SECRET }, crypto, Buffer)[0]).toBeNull();
});

test('a sample that is taken ends the trouble that an event has told of', async () => {
  const { sender: made, settled } = sender([404, 200]);
  made.send({ event: 'device-offline', at: 1 });
  await settled();
  expect(made.trouble).toBe('HTTP status 404');
  await made.attempt({ event: 'test', at: 2 });
  expect(made.trouble).toBeNull();
});

describe('the secret', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-webhook-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('an event that comes as the queue runs empty is sent as well, whatever the instant', async () => {
    for (let steps = 0; steps < 12; steps++) {
      const { sender: made, requests, settled } = sender([200]);
      made.send({ event: 'first', at: 0 });
      await until(() => requests.length === 1);
      for (let step = 0; step < steps; step++) await null;
      made.send({ event: 'second', at: 0 });
      await settled();
      expect([steps, made.counts.sent]).toEqual([steps, 2]);
    }
  });

  test('is made once, for its owner only', () => {
    const path = join(folder, 'made');
    const random = (bytes: number) => new Uint8Array(bytes).fill(7);
    const secret = loadWebhookSecret(path, random);
    expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(loadWebhookSecret(path, () => new Uint8Array(32))).toBe(secret);
  });

  test('that is too short is refused without being shown', () => {
    const path = join(folder, 'short');
    writeFileSync(path, 'hunter2\n');
    expect(() => loadWebhookSecret(path, () => new Uint8Array(32))).toThrow(/ got 7$/);
  });
});

describe('delivery', () => {
  test('is one signed POST with a name of its own', async () => {
    const { sender: hook, requests, settled } = sender([204]);
    hook.send({ event: 'device-offline', at: 5, device: 'a' });
    await settled();
    const [{ body, headers }] = requests as [(typeof requests)[0]];
    expect(JSON.parse(body)).toEqual({
      ...{ event: 'device-offline', at: 5, device: 'a', id: 'id-0', network: 'net' },
    });
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'fieldproof-event': 'device-offline',
      'fieldproof-delivery': 'id-0',
      'fieldproof-timestamp': '1700000000',
    });
    const received = {
      ...{ body, timestamp: headers['fieldproof-timestamp']! },
      signature: headers['fieldproof-signature']!,
    };
    expect(verifyWebhook(SECRET, received, { nowS: 1_700_000_000 })).toBe(true);
    expect(hook.counts).toEqual({ queued: 0, sent: 1, failed: 0, givenUp: 0, dropped: 0 });
  });

  test('keeps the order and the rate', async () => {
    const { sender: hook, requests, sleeps, settled } = sender([200]);
    for (let i = 0; i < 5; i++) hook.send({ event: `e${i}`, at: i });
    await settled();
    expect(requests.map(({ headers }) => headers['fieldproof-event'])).toEqual([
      ...['e0', 'e1', 'e2', 'e3', 'e4'],
    ]);
    expect(sleeps).toEqual([100, 100, 100, 100]);
  });

  test('is tried again with the same name, later each time, and then given up', async () => {
    const refused = Object.assign(new TypeError('fetch failed'), {
      cause: { code: 'ECONNREFUSED' },
    });
    const { sender: hook, requests, sleeps, givenUp, settled } = sender([503, refused, 500]);
    hook.send({ event: 'e', at: 0 });
    await settled();
    expect(requests).toHaveLength(8);
    expect(new Set(requests.map(({ headers }) => headers['fieldproof-delivery'])).size).toBe(1);
    expect(sleeps).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000]);
    expect(givenUp).toEqual([['e', 'HTTP status 500']]);
    expect(hook.counts).toMatchObject({ failed: 8, givenUp: 1, sent: 0 });
    expect(hook.trouble).toBe('HTTP status 500');
    expect(retryDelayMs(30)).toBe(60_000);
  });

  test.each([301, 307, 400, 401, 404, 410])('%d is given up at once', async (status) => {
    const { sender: hook, requests, settled } = sender([status]);
    hook.send({ event: 'e', at: 0 });
    await settled();
    expect(requests).toHaveLength(1);
    expect(hook.counts.givenUp).toBe(1);
  });

  test('that goes well again is no trouble any more', async () => {
    const { sender: hook, settled } = sender([503, 200]);
    hook.send({ event: 'e', at: 0 });
    await settled();
    expect([hook.trouble, hook.counts.sent, hook.counts.failed]).toEqual([null, 1, 1]);
  });

  test('has a queue with a bound; what has no room is counted', async () => {
    const { sender: hook } = sender([200], { fetch: (() => new Promise(() => {})) as never });
    for (let i = 0; i < MAX_QUEUED + 7; i++) hook.send({ event: 'e', at: i });
    expect(hook.counts).toMatchObject({ queued: MAX_QUEUED, dropped: 7 });
  });
});

test.each([
  ['ftp://host/x'],
  ['file:///etc/passwd'],
  ['https://user:hunter2secret@host/x'],
  ['https://user@host/hunter2secret?k=hunter2secret'],
  ['host'],
])('%s is no webhook', (webhookUrl) => {
  const resolve = () => resolveConfig({ dataDir: 'x', webhookUrl });
  expect(resolve).toThrow(/webhookUrl: expected an http or https URL without user and password/);
  expect(resolve).not.toThrow(/hunter2secret/);
});

describe('a broker with a webhook', () => {
  let broker: TestBroker;
  const received: { headers: IncomingMessage['headers']; body: string }[] = [];
  let answer: (response: ServerResponse) => void = (response) => response.writeHead(204).end();
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += String(chunk);
    });
    request.on('end', () => {
      received.push({ headers: request.headers, body });
      answer(response);
    });
  });

  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    broker = await startTestBroker({
      webhookUrl: `http://127.0.0.1:${port}/hook?key=1`,
      offlineAfterMs: 1000,
      webhookPerSecond: 1000,
    });
  });
  afterEach(() => {
    received.length = 0;
    answer = (response) => response.writeHead(204).end();
  });
  afterAll(async () => {
    await broker.close();
    server.closeAllConnections();
    server.close();
  });

  function events(): readonly Record<string, unknown>[] {
    const secret = readFileSync(join(broker.dataDir, 'webhook.secret'), 'utf8').trim();
    return received.map(({ headers, body }) => {
      const timestamp = String(headers['fieldproof-timestamp']);
      const signature = String(headers['fieldproof-signature']);
      const nowS = Date.now() / 1000;
      expect(verifyWebhook(secret, { timestamp, signature, body }, { nowS })).toBe(true);
      return JSON.parse(body) as Record<string, unknown>;
    });
  }

  test('tells that a device is away, not again after a restart, and that it is back', async () => {
    const device = await broker.device();
    const client = await device.connect();
    await device.publish('birth', device.seal({ kind: 'birth' }));
    await client.endAsync(true);
    await until(() => events().length === 1);
    expect(events()[0]).toMatchObject({
      ...{ event: 'device-offline', device: device.id, name: 'test device', group: 'default' },
      ...{ since: expect.any(Number), lastSeen: expect.any(Number) },
    });
    const { since } = events()[0]!;
    await broker.restart();
    await broker.admin('POST', '/admin/webhook/test');
    expect(events().map(({ event }) => event)).toEqual(['device-offline', 'test']);
    const { addresses } = broker.running;
    Object.assign(device, { http: addresses.http, mqttUrl: addresses.mqtt, descriptorInUse: null });
    await device.connect();
    await until(() => events().length === 3);
    expect(events()[2]).toMatchObject({ event: 'device-online', device: device.id, since });
    expect(events()[2]!.downMs).toBeGreaterThanOrEqual(1000);
    await device.close();
  });

  test('tells of a suspension', async () => {
    const device = await broker.device();
    await broker.admin('POST', `/admin/devices/${device.id}/suspend`, { reason: 'stolen' });
    await until(() => events().length === 1);
    expect(events()[0]).toMatchObject({
      ...{ event: 'device-suspended', device: device.id, kind: 'operator', reason: 'stolen' },
    });
  });

  test('shows how a sample is answered, follows no redirect and reads no answer', async () => {
    expect((await broker.admin('POST', '/admin/webhook/test')).body).toMatchObject({
      ...{ ok: true, status: 204, why: '' },
      url: expect.stringMatching(/\/hook$/),
    });
    answer = (response) => response.writeHead(302, { location: '/elsewhere' }).end();
    const { body } = await broker.admin('POST', '/admin/webhook/test');
    expect(body).toMatchObject({ ok: false, status: 302, why: 'HTTP status 302' });
    expect(received).toHaveLength(2);
    answer = (response) => {
      // Never ends.
      response.writeHead(200).write('x'.repeat(1000));
    };
    expect((await broker.admin('POST', '/admin/webhook/test')).body).toMatchObject({ ok: true });
  });
});
