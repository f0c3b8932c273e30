/** Rights and limits of the plain profile: each limit has its code in the status, and the broker goes on. */

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type PlainTest, startPlain } from './support/plain.ts';
import { connectPacket, publishPacket, type RawMqtt } from './support/raw-mqtt.ts';

const DAY_MS = 86_400_000;
let plain: PlainTest;
let counter = 0;
let ahead = 0;
/** The time stands still there, so that no rate comes back. */
let stoppedAt: number | null = null;
const lines: { event?: string; code?: string; times?: number; remedy?: string }[] = [];

beforeAll(async () => {
  plain = await startPlain(
    {
      logLevel: 'warn',
      plainDenied: ['test/nosubscribe', 'secret/#'],
      plainMaxSessions: 12,
      plainMaxSessionsPerUser: 4,
      plainMaxSubscriptions: 3,
      plainMaxSubscriptionBytes: 8000,
      plainMaxSubscriptionTotalBytes: 12_000,
      plainMaxTopicLevels: 10,
      plainMaxTopicBytes: 100,
      plainMaxPacketBytes: 20_000,
      plainMaxRetained: 3,
      plainMaxRetainedBytes: 16_384,
      plainMaxQueued: 5,
      plainMaxQueuedBytes: 8192,
      plainMaxQueuedTotalBytes: 12_288,
      plainMaxQueuedMs: DAY_MS,
      plainSessionExpiryMs: 7 * DAY_MS,
      plainPacketsPerSecond: 100,
    },
    {
      now: () => (stoppedAt ?? Date.now()) + ahead,
      logDestination: { write: (line: string) => void lines.push(JSON.parse(line)) },
    },
  );
});
afterAll(() => plain.close());

function fresh(): string {
  counter += 1;
  return `l${counter}`;
}

/** How much a counter grows. */
async function counted(code: string, action: () => Promise<unknown>): Promise<number> {
  const before = plain.status().refused[code] ?? 0;
  await action();
  return (plain.status().refused[code] ?? 0) - before;
}

/** What a client received but the broker's own counters. */
function fromClients({ published }: RawMqtt) {
  const counters = `$SYS/fieldproof/${plain.broker.running.network}/`;
  return published.filter(
    ({ topic, payload }) => !topic.startsWith(counters) || String(payload) === 'forged',
  );
}

/** What a client sends is too fast however slow this machine is, until that is seen; then time goes on. */
async function countedAtOnce(code: string, action: () => Promise<unknown>): Promise<number> {
  stoppedAt = Date.now();
  try {
    return await counted(code, async () => {
      const before = plain.status().refused[code] ?? 0;
      const acted = action();
      while ((plain.status().refused[code] ?? 0) === before) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      stoppedAt = null;
      await acted;
    });
  } finally {
    stoppedAt = null;
  }
}

/** A kept session that is offline, with a subscription. */
async function leave(clientId: string, filter: string): Promise<void> {
  const client = await plain.client({ clientId, clean: false });
  await client.subscribe([filter, 1]);
  await client.disconnect();
}

async function end(clientId: string): Promise<void> {
  await (await plain.client({ clientId })).disconnect();
}

describe('rights', () => {
  let reader: RawMqtt;
  beforeAll(async () => {
    reader = await plain.client();
  });
  afterAll(() => reader.disconnect());

  test.each([
    'fp/1/other/d/x/telemetry',
    'fp',
    'fp/x',
    '$SYS/fieldproof/x',
    '$SYS/other/new/clients',
    '$share/g/t',
  ])('a PUBLISH to %s is acknowledged, counted and goes nowhere', async (topic) => {
    const writer = await plain.client();
    await reader.subscribe(['#', 1], ['$SYS/#', 1]);
    const refused = await counted('ERR_PLAIN_FORBIDDEN', async () => {
      await writer.publish(topic, 'forged', { qos: 1, retain: true });
      await writer.publish(topic, 'forged', { qos: 2 });
    });
    expect(refused).toBe(2);
    await writer.disconnect();
    await reader.ping();
    expect(fromClients(reader)).toEqual([]);
    expect(plain.status().retained).toBe(0);
  });

  test.each(['fpx/a', '$SYSTEM', 'a/fp/1', '$shared/a'])(
    '%s is a topic like any other',
    async (topic) => {
      const client = await plain.client();
      expect(await client.subscribe([topic, 0])).toEqual([0]);
      await client.publish(topic, 'x');
      await client.next('publish');
      await client.disconnect();
    },
  );

  test('filters for device traffic, shared subscriptions and denied topics get SUBACK 0x80', async () => {
    const { network } = plain.broker.running;
    const refused = [
      'fp/#',
      'fp/+/+/d/+/state',
      'fp/1/+/d/+/state',
      'fp/1/elsewhere/d/+/state',
      `fp/1/${network}/d/+/telemetry`,
      `fp/1/${network}/d/+/+`,
      `fp/1/${network}/d/+/#`,
      `fp/1/${network}/#`,
      `fp/1/${network}/d/someone/state`,
      'fp',
      '$share/g/a',
      '$share',
      'test/nosubscribe',
      'secret/#',
      'secret/+/a',
      'secret',
    ];
    const client = await plain.client();
    for (const filter of refused)
      expect([filter, ...(await client.subscribe([filter, 1]))]).toEqual([filter, 128]);
    expect(await client.subscribe(['test/+', 0], ['$SYS/#', 1])).toEqual([0, 1]);
    await client.publish('test/nosubscribe', 'x');
    await client.publish('test/other', 'x');
    await client.ping();
    expect(fromClients(client)).toMatchObject([{ topic: 'test/other' }]);
    await client.disconnect();
  });

  test('the state of devices is read, retained and new, by those who may', async () => {
    const { broker } = plain;
    const device = await broker.device();
    const topic = device.topic('state');
    const client = await plain.client();
    expect(await client.subscribe([`fp/1/${device.network}/d/+/state`, 1])).toEqual([1]);
    const session = await device.connect();
    const state = async () => JSON.parse(String((await client.next('publish')).payload));
    expect(await state()).toMatchObject({ online: true });
    const later = await plain.client();
    await later.subscribe([topic, 0]);
    expect(await later.next('publish')).toMatchObject({ topic, retain: true });
    await session.endAsync();
    expect(await state()).toMatchObject({ online: false });
    await client.disconnect();
    await later.disconnect();
  });

  test('the state of a device that is unenrolled is taken back, whether it is online or not', async () => {
    const { broker } = plain;
    for (const isOnline of [true, false]) {
      const device = await broker.device();
      const client = await plain.client();
      await client.subscribe([device.topic('state'), 0]);
      const session = await device.connect();
      const states = [await client.next('publish')];
      if (!isOnline) {
        await session.endAsync();
        states.push(await client.next('publish'));
      }
      expect(states.every(({ payload }) => payload.length > 0)).toBe(true);
      const path = `/admin/devices/${device.id}/unenrol`;
      expect((await broker.admin('POST', path, { reason: 'sold' })).status).toBe(200);
      expect(String((await client.next('publish')).payload)).toBe('');
      const later = await plain.client();
      await later.subscribe([device.topic('state'), 0]);
      await later.ping();
      expect(fromClients(later)).toEqual([]);
      // Enrolled again it has one again.
      device.bootCounter += 1;
      await device.enrol(await broker.joinLine());
      await device.connect();
      expect(JSON.parse(String((await later.next('publish')).payload))).toMatchObject({
        online: true,
      });
      await client.disconnect();
      await later.disconnect();
    }
  });

  test('the device listener lets nobody in without a login, and the plain one no device without its signature', async () => {
    const device = await plain.broker.device();
    const raw = plain.dial();
    raw.send(connectPacket({ clientId: device.id }));
    await raw.until(() => raw.closed);
    expect(raw.hex).toBe('20020004');
  });
});

describe('limits', () => {
  test('sessions: return code 3, and room again when one has ended', async () => {
    const clients: RawMqtt[] = [];
    while (plain.status().sessions < 12) clients.push(await plain.client());
    const code = await counted('ERR_PLAIN_SESSIONS', async () => {
      const raw = plain.dial().send(connectPacket());
      await raw.until(() => raw.closed);
      expect(raw.hex).toBe('20020003');
    });
    expect(code).toBeGreaterThan(0);
    for (const client of clients) await client.disconnect();
    await (await plain.client()).disconnect();
  });

  test('sessions of a user: return code 3 for one more, offline ones included; others are let in', async () => {
    const { body } = await plain.broker.admin('POST', '/admin/access', {
      name: 'anna',
      scopes: ['mqtt'],
    });
    const password = Buffer.from((body as { readonly token: string }).token);
    // Whatever name a token is used under, it is one user.
    const login = (changes = {}) => ({ username: 'anna', password, ...changes });
    const kept = [fresh(), fresh()];
    for (const clientId of kept) {
      await (await plain.client({ ...login(), clientId, clean: false })).disconnect();
    }
    const online = [
      await plain.client(login()),
      await plain.client({ ...login(), username: 'token' }),
    ];
    const code = await counted('ERR_PLAIN_USER_SESSIONS', async () => {
      const raw = plain.dial().send(connectPacket(login()));
      await raw.until(() => raw.closed);
      expect(raw.hex).toBe('20020003');
    });
    expect(code).toBe(1);
    // Its own sessions are open to it, and those of others are not taken.
    await (await plain.client({ ...login(), clientId: kept[0]!, clean: false })).disconnect();
    const others: RawMqtt[] = [];
    while (plain.status().sessions < 12) others.push(await plain.client());
    expect(others).toHaveLength(8);
    for (const client of [...online, ...others]) await client.disconnect();
    // A clean session with its id ends a kept one, which makes room.
    await (await plain.client({ ...login(), clientId: kept[0]! })).disconnect();
    const three = [await plain.client(login()), await plain.client(login())];
    three.push(await plain.client(login()));
    for (const client of three) await client.disconnect();
    await (await plain.client({ ...login(), clientId: kept[1]! })).disconnect();
    expect(plain.status().sessions).toBe(0);
  });

  test('subscriptions: SUBACK 0x80 for a fourth, not for one of the three again', async () => {
    const client = await plain.client();
    const code = await counted('ERR_PLAIN_SUBSCRIPTIONS', async () => {
      expect(await client.subscribe(['a', 0], ['b', 0], ['c', 0], ['d', 0], ['a', 1])).toEqual([
        0, 0, 0, 128, 1,
      ]);
    });
    expect(code).toBeGreaterThan(0);
    await client.disconnect();
  });

  test('bytes of subscriptions, of one session and of all: SUBACK 0x80, and room again', async () => {
    const [one, two] = [await plain.client(), await plain.client()];
    // Seven levels each, 600 bytes for one.
    const deep = (name: string) => `${name}/1/2/3/4/5/6`;
    const code = await counted('ERR_PLAIN_SUBSCRIPTIONS', async () => {
      expect(await one.subscribe([deep('a'), 0], [deep('b'), 0], [deep('a'), 1])).toEqual([
        0, 128, 1,
      ]);
      expect(await two.subscribe([deep('a'), 0], ['c/d/e/f/g/h', 0])).toEqual([0, 128]);
    });
    expect(code).toBe(2);
    one.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: [deep('a'), deep('b')] });
    expect(await one.subscribe([deep('b'), 0])).toEqual([0]);
    await one.disconnect();
    await two.disconnect();
    expect(plain.status()).toMatchObject({ subscriptions: 0, subscriptionBytes: 0 });
  });

  test.each([
    ['levels', 'a/'.repeat(10)],
    ['bytes', 'ä'.repeat(51)],
  ])('topic %s: dropped, SUBACK 0x80, and return code 5 for a will', async (_what, topic) => {
    const client = await plain.client();
    const code = await counted('ERR_PLAIN_TOPIC', async () => {
      await client.publish(topic, 'x', { qos: 1 });
      expect(await client.subscribe([topic, 0])).toEqual([128]);
      const raw = plain.dial();
      raw.send(
        connectPacket({ will: { topic, payload: Buffer.from('x'), qos: 0, retain: false } }),
      );
      await raw.until(() => raw.closed);
      expect(raw.hex).toBe('20020005');
    });
    expect(code).toBe(3);
    await client.disconnect();
  });

  test('packet size: the connection ends, others stay', async () => {
    const client = await plain.client();
    client.send(publishPacket('a', 'x'.repeat(20_000)));
    await client.until(() => client.closed);
  });

  test('retained messages: one too many, and too many bytes, are delivered but not kept', async () => {
    const client = await plain.client();
    const base = fresh();
    await client.subscribe([`${base}/#`, 0]);
    const code = await counted('ERR_PLAIN_RETAINED', async () => {
      for (let i = 0; i < 4; i++) await client.publish(`${base}/${i}`, 'x', { retain: true });
      await client.publish(`${base}/0`, 'x'.repeat(17_000), { retain: true });
      await client.ping();
    });
    expect(code).toBe(2);
    expect(client.published).toHaveLength(5);
    // The topic of the one that was too large has none any more.
    expect(plain.status()).toMatchObject({ retained: 2 });
    for (let i = 0; i < 4; i++) await client.publish(`${base}/${i}`, '', { retain: true });
    await client.ping();
    expect(plain.status()).toMatchObject({ retained: 0, retainedBytes: 0 });
    await client.disconnect();
  });

  test('the queue of a session: in number, in bytes, of all sessions together; the newest is dropped', async () => {
    const [a, b, topic] = [fresh(), fresh(), fresh()];
    const writer = await plain.client();
    await leave(a, topic);
    const number = await counted('ERR_PLAIN_QUEUE', async () => {
      for (let i = 0; i < 7; i++) await writer.publish(topic, String(i), { qos: 1 });
    });
    expect(number).toBe(2);
    const again = await plain.client({ clientId: a, clean: false });
    await again.ping();
    expect(again.published.map(({ payload }) => String(payload))).toEqual([
      '0',
      '1',
      '2',
      '3',
      '4',
    ]);
    for (const packet of [...again.published]) await again.settle(packet);
    await again.disconnect();
    expect(plain.status()).toMatchObject({ queued: 0, queuedBytes: 0 });
    const large = 'x'.repeat(3500);
    const bytes = await counted('ERR_PLAIN_QUEUE', async () => {
      for (let i = 0; i < 3; i++) await writer.publish(topic, large, { qos: 1 });
    });
    expect(bytes).toBe(1);
    await leave(b, topic);
    const total = await counted('ERR_PLAIN_QUEUE', async () => {
      for (let i = 0; i < 2; i++) await writer.publish(topic, large, { qos: 1 });
    });
    // Two more do not go to the first, and one goes to the second.
    expect(total).toBe(3);
    await end(a);
    await end(b);
    expect(plain.status()).toMatchObject({ queued: 0, queuedBytes: 0 });
    await writer.disconnect();
  });

  test('the age of what waits, and of sessions that nobody comes back to', async () => {
    const [clientId, topic] = [fresh(), fresh()];
    await leave(clientId, topic);
    const writer = await plain.client();
    await writer.publish(topic, 'old', { qos: 1 });
    await writer.disconnect();
    ahead += DAY_MS + 1000;
    const aged = await counted('ERR_PLAIN_QUEUE_AGE', async () => {
      const again = await plain.client({ clientId, clean: false });
      await again.ping();
      expect(again.published).toEqual([]);
      await again.disconnect();
    });
    expect(aged).toBe(1);
    ahead += 7 * DAY_MS + 1000;
    plain.broker.running.plain.sweep();
    expect(plain.status()).toMatchObject({ sessions: 0, subscriptions: 0, queued: 0 });
    expect(plain.status().refused.ERR_PLAIN_SESSION_EXPIRED).toBe(1);
  });

  test('the rate: a flood is read more slowly, and nothing of it is lost', async () => {
    const [reader, writer] = [await plain.client(), await plain.client()];
    const topic = fresh();
    await reader.subscribe([topic, 0]);
    const flood = Array.from({ length: 1100 }, (_, i) => publishPacket(topic, String(i)));
    const code = await countedAtOnce('ERR_PLAIN_RATE', async () => {
      writer.send(...flood);
      await reader.until(() => reader.published.length === flood.length);
    });
    expect(code).toBeGreaterThan(0);
    expect(reader.published.map(({ payload }) => Number(payload))).toEqual(flood.map((_, i) => i));
    await reader.disconnect();
    await writer.disconnect();
  });

  test('the rate: who ends its connection while it waits is heard to its last packet', async () => {
    const reader = await plain.client();
    const topic = fresh();
    await reader.subscribe([`${topic}/#`, 0]);
    const will = { topic: `${topic}/will`, payload: Buffer.from('w'), qos: 0, retain: false };
    const writer = await plain.client({ will: will as never });
    const flood = Array.from({ length: 1050 }, (_, i) => publishPacket(topic, String(i)));
    writer.send(...flood, { cmd: 'disconnect' });
    writer.socket.end();
    await reader.until(() => reader.published.length >= flood.length);
    await writer.until(() => writer.closed);
    await reader.ping();
    expect(reader.published.map(({ payload }) => Number(payload))).toEqual(flood.map((_, i) => i));
    await reader.disconnect();
  });

  test('one SUBSCRIBE brings the retained messages of a filter once, however often it names it', async () => {
    const topic = fresh();
    const client = await plain.client();
    await client.publish(topic, 'kept', { retain: true });
    expect(await client.subscribe([topic, 0], [topic, 2], [topic, 1])).toEqual([0, 2, 1]);
    await client.ping();
    expect(client.published).toHaveLength(1);
    await client.publish(topic, '', { retain: true });
    await client.disconnect();
  });

  test('the rate: retained messages that a subscription brings count, ten as one packet', async () => {
    const topic = fresh();
    const own = Array.from({ length: 11_000 }, (_, i) => `${topic}/${i}`);
    const tell = (text: string) => {
      for (const each of own) plain.broker.running.plain.announce(each, Buffer.from(text), true);
    };
    tell('x');
    const client = await plain.client();
    const code = await countedAtOnce('ERR_PLAIN_RATE', async () => {
      await client.subscribe([`${topic}/#`, 0]);
      await client.ping();
    });
    tell('');
    expect(code).toBeGreaterThan(0);
    await client.disconnect();
  });

  test('the log names code, times and remedy, at most every ten seconds', () => {
    const told = lines.filter(({ event }) => event === 'plain-limit');
    const codes = new Set(told.map(({ code }) => code));
    expect([...codes].sort()).toEqual(Object.keys(plain.status().refused).sort());
    expect(told.every(({ remedy, times }) => (remedy ?? '').length > 5 && times! > 0)).toBe(true);
    expect(told.length).toBeLessThan(40);
  });
});
