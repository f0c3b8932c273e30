import { gzipSync } from 'node:zlib';
import type { DirectoryEntry } from '@fieldproof/analytics/server/providers';
import { describe, expect, test } from '@jest/globals';
import { controlUnderTest, NOW_MS } from './control-under-test.ts';
import type { Point } from './memory-store.ts';

const point = (device: string, ageMs: number, value: number | string, rest = {}): Point => ({
  ...{ device, profile: 'environment', metric: 'temperature', timeMs: NOW_MS - ageMs, value },
  tags: { source: 'sensor', group: 'weather' },
  ...rest,
});
const POINTS = [point('z6MkA', 60_000, 20), point('z6MkA', 30_000, 22), point('z6MkB', 10_000, 9)];

const ENTRIES: readonly DirectoryEntry[] = [
  {
    ...{ device: 'z6MkA', name: 'roof', owner: 'did:key:z6MkO', online: true, lastSeenMs: NOW_MS },
    profiles: { environment: [{ metric: 'temperature', unit: 'Cel' }] },
  },
  { device: 'z6MkC', name: 'never reported', online: false },
];
const directory = { devices: async () => ({ ok: true, value: ENTRIES }) as const };
const brokerDown = { devices: async () => ({ ok: false, detail: 'broker: no answer' }) as const };

describe('health', () => {
  test('healthz answers without a token, readyz follows the store', async () => {
    const { call, store } = await controlUnderTest();
    expect((await call(null, '/healthz')).json()).toEqual({ ok: true });
    expect((await call(null, '/readyz')).statusCode).toBe(200);
    store.failure = new Error('gone');
    const response = await call(null, '/readyz');
    expect([response.statusCode, response.json().code]).toEqual([503, 'ERR_NOT_READY']);
    expect(response.headers['retry-after']).toBe('1');
    expect((await call(null, '/healthz')).statusCode).toBe(200);
  });
});

describe('devices', () => {
  test('store and registry are joined', async () => {
    const { call } = await controlUnderTest(POINTS, { directory });
    const { devices, broker, nowMs } = (await call('read', '/v1/devices')).json();
    expect([broker, nowMs]).toEqual([{ ok: true, detail: '' }, NOW_MS]);
    expect(devices.map((d: { device: string }) => d.device)).toEqual(['z6MkA', 'z6MkB', 'z6MkC']);
    expect(devices[0]).toEqual({
      ...{ device: 'z6MkA', name: 'roof', owner: 'did:key:z6MkO', group: 'weather', cell: null },
      ...{ source: 'sensor', online: true, lastSeenMs: NOW_MS, lastReadingMs: NOW_MS - 30_000 },
      count: 2,
      profiles: ['environment'],
      metrics: [{ profile: 'environment', metric: 'temperature', type: 'float', unit: 'Cel' }],
    });
    expect(devices[2]).toMatchObject({ name: 'never reported', online: false, count: 0 });
  });

  test('while the broker is down the store answers alone and says so', async () => {
    const { call } = await controlUnderTest(POINTS, { directory: brokerDown });
    const { devices, broker } = (await call('read', '/v1/devices')).json();
    expect(broker).toEqual({ ok: false, detail: 'broker: no answer' });
    expect(devices[0]).toMatchObject({ device: 'z6MkA', name: null, online: null, count: 2 });
  });

  test('a window has the unit of the metric it summarises, its count has none', async () => {
    const names = ['temperature_mean', 'temperature_count', 'version'];
    const windows = names.map((metric) => ({ ...POINTS[0]!, profile: 'environment_1m', metric }));
    const { call } = await controlUnderTest([...POINTS, ...windows], { directory });
    const { values } = (await call('read', '/v1/latest?profile=environment_1m')).json();
    const units = values.map((v: { metric: string; unit: string }) => [v.metric, v.unit]);
    expect(units.sort()).toEqual([
      ['temperature_count', null],
      ['temperature_mean', 'Cel'],
      ['version', null],
    ]);
  });

  test('units come from births where the registry has none', async () => {
    const declared = () => ({ environment: [{ metric: 'temperature', unit: 'K' }] });
    const { call } = await controlUnderTest(POINTS, { directory: brokerDown, declared });
    const { devices } = (await call('read', '/v1/devices')).json();
    expect(devices[1].metrics).toMatchObject([{ unit: 'K' }]);
    expect((await call('read', '/v1/latest')).json().values[0].unit).toBe('K');
  });

  test('many callers at once are one question to the store', async () => {
    const { call, store } = await controlUnderTest(POINTS);
    let asked = 0;
    const devices = store.devices;
    store.devices = () => {
      asked++;
      return devices();
    };
    await Promise.all(Array.from({ length: 10 }, () => call('read', '/v1/devices')));
    expect(asked).toBe(1);
  });

  test('after a failure the store is asked again', async () => {
    const { call, store } = await controlUnderTest(POINTS);
    store.failure = new Error('secret path');
    expect((await call('read', '/v1/devices')).statusCode).toBe(500);
    store.failure = null;
    expect((await call('read', '/v1/devices')).statusCode).toBe(200);
  });
});

describe('latest', () => {
  test('newest values with units, filtered', async () => {
    const { call } = await controlUnderTest(POINTS, { directory });
    const { values } = (await call('read', '/v1/latest?device=z6MkA')).json();
    expect(values).toEqual([
      {
        ...{ device: 'z6MkA', profile: 'environment', metric: 'temperature', value: 22 },
        ...{ timeMs: NOW_MS - 30_000, unit: 'Cel' },
        tags: { device: 'z6MkA', source: 'sensor', group: 'weather' },
      },
    ]);
    expect((await call('read', '/v1/latest?device=nobody')).json().values).toEqual([]);
  });

  test('as CSV', async () => {
    const { call } = await controlUnderTest(POINTS, { directory });
    const response = await call('read', '/v1/latest?device=z6MkA&format=csv');
    expect(response.headers['content-type']).toBe('text/csv; charset=utf-8; header=present');
    expect(response.body).toBe(
      'time,device,profile,metric,value,unit,source\r\n' +
        '2026-11-21T11:59:30.000Z,z6MkA,environment,temperature,22,Cel,sensor\r\n',
    );
  });
});

describe('query', () => {
  const url = '/v1/query?profile=environment&metric=temperature';

  test('raw values by device, over the last hour unless said otherwise', async () => {
    const { call } = await controlUnderTest(POINTS, { directory });
    const answer = (await call('read', url)).json();
    expect(answer).toMatchObject({ fromMs: NOW_MS - 3_600_000, toMs: NOW_MS, bucketMs: null });
    expect(answer.aggregate).toBeNull();
    expect(answer.series).toEqual([
      {
        ...{ device: 'z6MkA', unit: 'Cel', values: [20, 22] },
        timesMs: [NOW_MS - 60_000, NOW_MS - 30_000],
      },
      { device: 'z6MkB', unit: null, timesMs: [NOW_MS - 10_000], values: [9] },
    ]);
  });

  test('buckets and aggregates', async () => {
    const { call } = await controlUnderTest(POINTS);
    const answer = (await call('read', `${url}&bucket=1m&aggregate=max&group=none`)).json();
    expect(answer).toMatchObject({ bucketMs: 60_000, aggregate: 'max' });
    expect(answer.series).toEqual([{ unit: null, timesMs: [NOW_MS - 60_000], values: [22] }]);
  });

  test('points picks a round bucket', async () => {
    const { call } = await controlUnderTest(POINTS);
    const answer = (await call('read', `${url}&points=240`)).json();
    expect([answer.bucketMs, answer.aggregate]).toEqual([30_000, 'mean']);
  });

  test.each([
    ['application/json', false],
    ['text/csv', true],
    ['text/csv, application/json;q=0.5', true],
    ['text/csv;q=0.1, application/json', false],
    ['*/*', false],
  ])('Accept: %s gives CSV: %s', async (accept, csv) => {
    const { call } = await controlUnderTest(POINTS);
    const response = await call('read', url, { headers: { accept } });
    expect(String(response.headers['content-type']).startsWith('text/csv')).toBe(csv);
  });

  test('CSV of a device whose id looks like a formula is harmless', async () => {
    const evil = '=cmd|"/c calc"!A1\n,x';
    const { call } = await controlUnderTest([point(evil, 1000, -4)]);
    const { body } = await call('read', `${url}&format=csv`);
    expect(body.slice(body.indexOf('\r\n') + 2)).toBe(
      `2026-11-21T11:59:59.000Z,"'=cmd|""/c calc""!A1\n,x",environment,temperature,-4\r\n`,
    );
  });

  test.each([`' OR 1=1 --`, `a"b`, 'a\nb', 'a\\', '../x', '<script>', '\u0000', 'é\u2028'])(
    'the device id %j is only a name',
    async (device) => {
      const { call } = await controlUnderTest([...POINTS, point(device, 1000, 5)]);
      const response = await call('read', `${url}&device=${encodeURIComponent(device)}`);
      expect(response.json().series).toMatchObject([{ device, values: [5] }]);
    },
  );

  test.each([
    ['', 'metric=temperature', 'profile'],
    ['&from=yesterday', undefined, 'from'],
    ['&from=-1h&to=-2h', undefined, 'from'],
    ['&bucket=0s', undefined, 'bucket'],
    ['&bucket=1m&points=10', undefined, 'points'],
    ['&points=1', undefined, 'points'],
    ['&aggregate=max', undefined, 'aggregate'],
    ['&aggregate=median&bucket=1m', undefined, 'aggregate'],
    ['&limit=0', undefined, 'limit'],
    ['&limit=1000001', undefined, 'limit'],
    ['&limit=ten', undefined, 'limit'],
    ['&device=a&device=b', undefined, 'device'],
    [`&device=${'x'.repeat(200)}`, undefined, 'device'],
    ['&buckets=1m', undefined, 'additional'],
    ['&format=xml', undefined, 'format'],
  ])('%j is refused by name', async (extra, whole, word) => {
    const { call } = await controlUnderTest();
    const address = whole === undefined ? url + extra : `/v1/query?${whole}`;
    const response = await call('read', address);
    expect([response.statusCode, response.json().code]).toEqual([400, 'ERR_REQUEST_INVALID']);
    expect(response.json().detail).toContain(word);
  });

  test('more points than the limit is an error with its own code', async () => {
    const { call } = await controlUnderTest(POINTS);
    const response = await call('read', `${url}&limit=1`);
    expect([response.statusCode, response.json().code]).toEqual([400, 'ERR_STORE_LIMIT']);
  });
});

describe('write', () => {
  const headers = { 'content-type': 'text/plain' };
  const payload = 'environment,device=z6MkA temperature=1 5';

  test.each(['/v1/write?precision=ms', '/write?db=x&rp=y&precision=ms'])(
    '%s stores',
    async (url) => {
      const { call, store } = await controlUnderTest();
      const response = await call('write', url, { method: 'POST', payload, headers });
      expect([response.statusCode, response.body]).toEqual([204, '']);
      expect(store.written).toEqual([{ text: payload, precision: 'ms' }]);
    },
  );

  test('the precision is ns unless said, and InfluxDB spellings are read', async () => {
    const { call, store } = await controlUnderTest();
    for (const query of ['', '?precision=n', '?precision=u', '?precision=us', '?precision=s']) {
      await call('write', `/write${query}`, { method: 'POST', payload });
    }
    expect(store.written.map((write) => write.precision)).toEqual(['ns', 'ns', 'u', 'u', 's']);
    const response = await call('write', '/write?precision=h', { method: 'POST', payload });
    expect(response.statusCode).toBe(400);
  });

  test('gzip is read, a bomb is not', async () => {
    const { call, store } = await controlUnderTest();
    const gzip = { ...headers, 'content-encoding': 'gzip' };
    const send = (body: Buffer) =>
      call('write', '/write?precision=ms', { method: 'POST', payload: body, headers: gzip });
    expect((await send(gzipSync(payload))).statusCode).toBe(204);
    expect(store.written).toEqual([{ text: payload, precision: 'ms' }]);
    const bomb = await send(gzipSync(Buffer.alloc(64 << 20, 'x')));
    expect([bomb.statusCode, bomb.json().code]).toEqual([413, 'ERR_REQUEST_TOO_LARGE']);
    expect((await send(Buffer.from('no'))).json().code).toBe('ERR_REQUEST_INVALID');
  });

  test('another encoding is refused', async () => {
    const { call } = await controlUnderTest();
    const response = await call('write', '/write', {
      ...{ method: 'POST', payload, headers: { ...headers, 'content-encoding': 'br' } },
    });
    expect([response.statusCode, response.json().code]).toEqual([415, 'ERR_MEDIA_TYPE']);
  });

  test('a body above 16 MiB is refused before it is read', async () => {
    const { call } = await controlUnderTest();
    const large = Buffer.alloc((16 << 20) + 1, 'x');
    const response = await call('write', '/write', { method: 'POST', payload: large, headers });
    expect([response.statusCode, response.json().code]).toEqual([413, 'ERR_REQUEST_TOO_LARGE']);
  });

  test('a permanent refusal is 400 and an unavailable store 503, both with the detail as error', async () => {
    const { call, store } = await controlUnderTest();
    const refused = await call('write', '/write', {
      method: 'POST',
      payload: 'refuse-me',
      headers,
    });
    expect([refused.statusCode, refused.json().code]).toEqual([400, 'ERR_STORE_FIELD_TYPE']);
    expect(refused.json().error).toBe(refused.json().detail);
    const { AnalyticsError } = await import('@fieldproof/analytics/errors');
    store.failure = new AnalyticsError('ERR_STORE_UNAVAILABLE', 'store: gone');
    const later = await call('write', '/write', { method: 'POST', payload, headers });
    expect([later.statusCode, later.json().code]).toEqual([503, 'ERR_STORE_UNAVAILABLE']);
  });

  test('InfluxDB clients may send their token as Token or as a password', async () => {
    const { call, tokenText } = await controlUnderTest();
    const basic = Buffer.from(`any:${tokenText.write}`).toString('base64');
    for (const authorization of [`Token ${tokenText.write}`, `Basic ${basic}`]) {
      const rest = { method: 'POST', payload, headers: { ...headers, authorization } } as const;
      expect((await call(null, '/write', rest)).statusCode).toBe(204);
      expect((await call(null, '/v1/status', { headers: { authorization } })).statusCode).toBe(401);
    }
  });
});

describe('status', () => {
  test('counts, lag and the broker’s own account', async () => {
    const lag = { nextIndex: 5, evidenceSize: 7, lagMs: 120 };
    const { call } = await controlUnderTest(POINTS, {
      directory,
      projection: () => lag,
      network: () => 'k3x7q2ab',
      brokerStatus: { status: async () => ({ ok: true, value: { received: 7 } }) },
    });
    expect((await call('read', '/v1/status')).json()).toMatchObject({
      ...{ network: 'k3x7q2ab', projection: lag, store: { kind: 'memory', ok: true } },
      counts: { devices: 3, online: 1, values: 3 },
      broker: { ok: true, status: { received: 7 } },
    });
  });

  test('answers while store and broker are down', async () => {
    const { call, store } = await controlUnderTest(POINTS, { directory: brokerDown });
    store.failure = new Error('gone');
    expect((await call('read', '/v1/status')).json()).toMatchObject({
      ...{ store: { ok: false }, counts: { devices: null, online: null, values: null } },
      broker: { ok: false, detail: 'broker: none is configured' },
    });
  });
});

describe('tokens', () => {
  const headers = { 'content-type': 'application/json' };

  test('an admin makes, lists and revokes', async () => {
    const { call } = await controlUnderTest();
    const payload = { name: 'grafana', scopes: ['read'], days: 2 };
    const made = await call('admin', '/v1/tokens', { method: 'POST', payload, headers });
    expect(made.statusCode).toBe(201);
    const { token, expiresMs } = made.json();
    expect(expiresMs).toBe(NOW_MS + 2 * 86_400_000);
    const authorization = `Bearer ${token}`;
    const use = () => call(null, '/v1/latest', { headers: { authorization } });
    expect((await use()).statusCode).toBe(200);
    const list = (await call('admin', '/v1/tokens')).json().tokens;
    expect(list.map((t: { name: string }) => t.name)).toEqual([
      'admin',
      'grafana',
      'reader',
      'writer',
    ]);
    expect(JSON.stringify(list)).not.toContain('sha256');
    const gone = await call('admin', '/v1/tokens/grafana', { method: 'DELETE' });
    expect(gone.statusCode).toBe(204);
    expect((await use()).json().code).toBe('ERR_TOKEN_UNKNOWN');
    const again = await call('admin', '/v1/tokens/grafana', { method: 'DELETE' });
    expect(again.statusCode).toBe(404);
  });

  test.each([
    { name: 'x' },
    { name: 'x', scopes: [] },
    { name: 'x', scopes: ['root'] },
    { name: 'x', scopes: ['read', 'read'] },
    { name: '../x', scopes: ['read'] },
    { name: 'x', scopes: ['read'], days: 0 },
    { name: 'x', scopes: ['read'], more: 1 },
  ])('%j is refused', async (payload) => {
    const { call } = await controlUnderTest();
    const response = await call('admin', '/v1/tokens', { method: 'POST', payload, headers });
    expect([response.statusCode, response.json().code]).toEqual([400, 'ERR_REQUEST_INVALID']);
  });
});
