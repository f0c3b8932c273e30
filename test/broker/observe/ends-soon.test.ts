/** What ends by itself is told in time: the network descriptor, and credentials that devices do not renew. */

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CredentialWatch } from '@fieldproof/broker/observe/credential-watch';
import { DescriptorWatch } from '@fieldproof/broker/observe/descriptor-watch';
import type { WebhookEvent } from '@fieldproof/broker/observe/webhook-sender';
import { openRegistryDatabase } from '@fieldproof/broker/registry/database';
import { ToldStore } from '@fieldproof/broker/registry/told-store';
import type { Descriptor } from '@fieldproof/protocol/statements';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../support/broker.ts';
import { until } from '../support/device.ts';

const DAY = 86_400_000;
const QUIET = { info: () => {}, warn: () => {}, error: () => {} } as never;

describe('a credential that its device does not renew', () => {
  const LIFE = 90 * DAY;

  function watch(warnDays: number, stored = new Map<string, number>()) {
    const clock = { ms: 0 };
    const told: WebhookEvent[] = [];
    const devices = new Map<string, object>();
    const put = (deviceId: string, changes: object = {}) =>
      devices.set(deviceId, {
        ...{ deviceId, name: `device ${deviceId}`, group: 'g', status: 'active' },
        ...{ credentialIssued: 0, credentialExpires: LIFE, ...changes },
      });
    const watching = new CredentialWatch({
      warnMs: warnDays * DAY,
      devices: () => [...devices.values()] as never,
      device: (deviceId) => (devices.get(deviceId) ?? null) as never,
      isSuspended: ({ status }) => status === 'suspended',
      store: {
        load: async () => [...stored],
        put: async (deviceId, expires) => void stored.set(deviceId, expires),
        remove: async (deviceId) => void stored.delete(deviceId),
      },
      send: (event) => told.push(event),
      log: QUIET,
      now: () => clock.ms,
    });
    const at = (days: number) => {
      clock.ms = days * DAY;
      watching.check();
      return told.splice(0).map(({ device }) => device);
    };
    return { watching, at, put, told, clock, stored };
  }

  test('is told of once, at the time that is set, with what the receiver needs', async () => {
    const { at, put, told, watching, clock } = watch(14);
    put('a');
    expect([at(0), at(75.9)]).toEqual([[], []]);
    clock.ms = 76 * DAY;
    watching.check();
    expect(told.splice(0)).toEqual([
      {
        ...{ event: 'credential-expiring', at: 76 * DAY, issued: 0, expires: LIFE },
        ...{ device: 'a', name: 'device a', group: 'g' },
      },
    ]);
    // Neither in the next minutes nor when it ends.
    expect([at(77), at(90), at(200), watching.count]).toEqual([[], [], [], 1]);
  });

  test('is told of again when it is another one, and no more when it is renewed or the device has left', () => {
    const { at, put, watching } = watch(14);
    put('a');
    expect(at(80)).toEqual(['a']);
    put('a', { credentialIssued: 80 * DAY, credentialExpires: 170 * DAY });
    expect([at(81), watching.count]).toEqual([[], 0]);
    expect(at(157)).toEqual(['a']);
    put('a', { status: 'unenrolled', credentialExpires: 170 * DAY });
    expect([at(158), watching.count]).toEqual([[], 0]);
  });

  test('of a suspended device is no news, and is when the suspension is over', () => {
    const { at, put } = watch(14);
    put('a', { status: 'suspended' });
    expect(at(80)).toEqual([]);
    put('a');
    expect(at(81)).toEqual(['a']);
  });

  test('of a life shorter than the time that is set is told of at five sixths of it', () => {
    const { at, put } = watch(14);
    put('a', { credentialExpires: 6 * DAY });
    expect([at(0), at(4.9), at(5)]).toEqual([[], [], ['a']]);
    const off = watch(0);
    off.put('a');
    expect([off.at(80), off.at(91)]).toEqual([[], []]);
  });

  test('is not told of again by the next run', async () => {
    const first = watch(14);
    first.put('a');
    expect(first.at(80)).toEqual(['a']);
    await first.watching.stop();
    const second = watch(14, first.stored);
    await second.watching.load();
    second.put('a');
    expect(second.at(81)).toEqual([]);
  });

  test('is remembered in the database, apart from the outages that were told', async () => {
    const db = await openRegistryDatabase({ url: '', file: ':memory:' });
    const store = new ToldStore(db, 'credential-expiring');
    const outages = new ToldStore(db, 'outage');
    await outages.put('a', 5);
    await store.put('a', 7);
    await store.put('b', 8);
    await store.put('a', 9);
    await store.remove('b');
    expect(await store.load()).toEqual([['a', 9]]);
    expect(await outages.load()).toEqual([['a', 5]]);
    await db.destroy();
  });
});

describe('a network descriptor', () => {
  test('that nobody can sign anew is told of every day', async () => {
    const clock = { ms: 0 };
    const told: string[] = [];
    const say = (level: string) => (fields: { code: string }) =>
      told.push(`${level} ${fields.code}`);
    let rootHere = false;
    const watch = new DescriptorWatch({
      descriptor: () => ({ version: 3, expires: 365 * DAY }) as Descriptor,
      changes: () => [],
      renew: async () => rootHere,
      log: { info: () => {}, warn: say('warn'), error: say('error') } as never,
      now: () => clock.ms,
    });
    const at = async (days: number) => {
      clock.ms = days * DAY;
      await watch.check();
      return told.splice(0);
    };
    expect(await at(200)).toEqual([]);
    expect(await at(300)).toEqual(['warn ERR_DESCRIPTOR_STALE']);
    expect(await at(300.9)).toEqual([]);
    expect(await at(301)).toEqual(['warn ERR_DESCRIPTOR_STALE']);
    expect(await at(365)).toEqual(['error ERR_DESCRIPTOR_STALE']);
    rootHere = true;
    expect(await at(370)).toEqual([]);
  });

  test('that should say something else is told of every day, whether it ends or not', async () => {
    const told: string[] = [];
    const clock = { ms: 0 };
    const watch = new DescriptorWatch({
      descriptor: () => ({ version: 3, expires: 365 * DAY }) as Descriptor,
      changes: () => ['keys.log: a → b'],
      renew: async () => true,
      log: {
        info: () => {},
        error: () => {},
        warn: (_: object, text: string) => told.push(text),
      } as never,
      now: () => clock.ms,
    });
    for (const days of [1, 1.5, 2]) {
      clock.ms = days * DAY;
      await watch.check();
    }
    const line = 'descriptor 3: should say keys.log: a → b';
    expect(told).toEqual([line, line]);
  });

  describe('of a running broker', () => {
    let broker: TestBroker;
    let ahead = 0;
    let lines: Record<string, unknown>[] = [];
    const root = () => join(broker.dataDir, 'keys/root.key');
    let seed = '';

    beforeAll(async () => {
      broker = await startTestBroker(
        { logLevel: 'info' },
        {
          now: () => Date.now() + ahead,
          logDestination: { write: (line) => void lines.push(JSON.parse(line)) },
        },
      );
      seed = readFileSync(root(), 'utf8');
      rmSync(root());
    });
    afterAll(() => broker.close());

    const get = async (path: string) => {
      const response = await fetch(`${broker.running.addresses.http}${path}`);
      return { status: response.status, text: await response.text() };
    };

    test('that ends soon is a warning, and one that has ended keeps it from being ready', async () => {
      expect(await get('/readyz')).toEqual({ status: 200, text: '{"ready":true}' });
      ahead = 300 * DAY;
      const soon = await get('/readyz');
      expect([soon.status, JSON.parse(soon.text)]).toMatchObject([
        200,
        { ready: true, warnings: [{ part: 'renewal', code: 'ERR_DESCRIPTOR_STALE' }] },
      ]);
      ahead = 370 * DAY;
      const ended = await get('/readyz');
      const { reasons, remedy } = JSON.parse(ended.text);
      expect(ended.status).toBe(503);
      expect(reasons).toMatchObject([{ part: 'descriptor', code: 'ERR_DESCRIPTOR_STALE' }]);
      expect(remedy).toContain('descriptor draft');
      const { status } = await broker.admin('GET', '/admin/status');
      expect(status).toBe(200);
      const { text } = await get('/metrics');
      const end = /^fieldproof_broker_descriptor_expiry_timestamp_seconds (\S+)$/m.exec(text)?.[1];
      expect(Number(end) * 1000).toBeLessThan(Date.now() + ahead);
    });

    test('is signed anew as soon as the root key is there, or told of by the next start', async () => {
      ahead = 300 * DAY;
      lines = [];
      await broker.restart();
      const told = () => lines.filter(({ event }) => event === 'descriptor-ends');
      await until(() => told().length > 0, 'a line of the log');
      expect(told()).toMatchObject([
        { code: 'ERR_DESCRIPTOR_STALE', remedy: expect.stringContaining('descriptor draft') },
      ]);
      writeFileSync(root(), seed, { mode: 0o600 });
      await broker.restart();
      expect(await get('/readyz')).toEqual({ status: 200, text: '{"ready":true}' });
    });
  });
});
