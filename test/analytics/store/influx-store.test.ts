import { inspect } from 'node:util';
import { InfluxStore, type InfluxStoreOptions } from '@fieldproof/analytics/store/influx-store';
import { openStore } from '@fieldproof/analytics/store/open-store';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { findInfluxd, type Influxd, startInfluxd } from '../../support/influxd.ts';
import { storeContract } from './contract.ts';

const wanted = findInfluxd() !== undefined || process.env.REQUIRE_SERVICES === '1';
if (!wanted) console.warn('SKIPPED: InfluxDB store tests, influxd is not installed');
const suite = wanted ? describe : describe.skip;

const write = (store: InfluxStore, text: string) =>
  store.writeLines(Buffer.from(text), { precision: 'ms' });

suite('InfluxDB', () => {
  let server: Influxd;
  let databases = 0;
  const options = new WeakMap<object, InfluxStoreOptions>();

  beforeAll(async () => {
    server = await startInfluxd();
  });
  afterAll(() => server?.stop());

  async function open(given: InfluxStoreOptions): Promise<InfluxStore> {
    const store = new InfluxStore(given);
    await store.open();
    options.set(store, given);
    return store;
  }

  storeContract('InfluxDB', {
    create: (given = {}) =>
      open({ url: server.url, database: `contract "${databases++}"`, ...given }),
    reopen: async (store) => {
      await store.close();
      return open(options.get(store)!);
    },
  });

  storeContract('InfluxDB with gzip', {
    create: (given = {}) =>
      open({ url: `${server.url}/`, database: `gzip${databases++}`, gzip: true, ...given }),
    reopen: async (store) => {
      await store.close();
      return open(options.get(store)!);
    },
  });

  test('a time that InfluxDB cannot hold is refused for good', async () => {
    const store = await open({ url: server.url, database: 'times' });
    const body = Buffer.from('m,device=d v=1 9223372036854775807\nm,device=d v=1 5');
    await expect(store.writeLines(body, { precision: 'ns' })).rejects.toMatchObject({
      code: 'ERR_STORE_LINES_REFUSED',
      transient: false,
    });
  });

  test('a database dropped while we write is made again', async () => {
    const store = await open({ url: server.url, database: 'dropped' });
    const q = 'DROP DATABASE "dropped"';
    await fetch(`${server.url}/query`, { method: 'POST', body: new URLSearchParams({ q }) });
    await write(store, 'm,device=d v=1 1');
    expect(await store.latest({})).toHaveLength(1);
  });

  test('a server that is away is "try again", and back is back', async () => {
    const store = await open({ url: server.url, database: 'away' });
    await write(store, 'm,device=d v=1 1');
    await server.kill();
    expect(await store.ping()).toEqual({ ok: false, version: '' });
    for (let i = 0; i < 2; i++) {
      const gone = { code: 'ERR_STORE_UNAVAILABLE', transient: true };
      await expect(write(store, 'm,device=d v=2 2')).rejects.toMatchObject(gone);
      await expect(store.latest({})).rejects.toMatchObject(gone);
    }
    await expect(open({ url: server.url, database: 'away' })).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
    });
    await server.restart();
    await write(store, 'm,device=d v=2 2');
    expect((await store.latest({}))[0]!.value).toBe(2);
  });

  test('openStore with an address opens InfluxDB', async () => {
    const store = await openStore({ dataDir: '/nowhere', influxUrl: server.url });
    expect((await store.ping()).version).toMatch(/^1\./);
    await store.close();
  });
});

suite('InfluxDB with users', () => {
  let server: Influxd;
  beforeAll(async () => {
    server = await startInfluxd({ auth: true });
  });
  afterAll(() => server?.stop());

  const urlWith = (password: string): string => {
    const url = new URL(server.url);
    url.username = 'admin';
    url.password = encodeURIComponent(password);
    return url.href;
  };

  test('the address may carry a user and a password', async () => {
    const store = new InfluxStore({ url: urlWith('pass word/@') });
    await store.open();
    await write(store, 'm,device=d v=1 1');
    expect(await store.latest({})).toHaveLength(1);
    expect(inspect(store, { depth: 9, showHidden: true })).toBeDefined();
  });

  test('a wrong password is said without saying it', async () => {
    for (const url of [urlWith('hunter2secret'), server.url]) {
      const store = new InfluxStore({ url });
      const error = await store.open().catch((reason) => reason);
      expect(error).toMatchObject({ code: 'ERR_STORE_AUTH', transient: false });
      const secret = Buffer.from('admin:hunter2secret').toString('base64');
      const text = inspect(error, { depth: 20, showHidden: true });
      expect(text).not.toContain('hunter2secret');
      expect(text).not.toContain(secret);
    }
  });

  test('an address that is none is refused without being quoted', () => {
    for (const url of ['ftp://u:hunter2@h', 'u:hunter2@host:8086', '', 'http://']) {
      const make = () => new InfluxStore({ url });
      expect(make).toThrow(expect.objectContaining({ code: 'ERR_STORE_QUERY' }));
      expect(make).not.toThrow(/hunter2/);
    }
  });
});
