import { BrokerError, rowOf } from '@fieldproof/broker/errors';
import { addHealthRoutes } from '@fieldproof/broker/http/health-routes';
import { Health, type HealthOptions } from '@fieldproof/broker/observe/health';
import { tlsProblems } from '@fieldproof/broker/observe/tls-problems';
import { describe, expect, jest, test } from '@jest/globals';
import Fastify from 'fastify';

const WELL: HealthOptions = {
  isReady: () => true,
  askDatabase: async () => 0,
  dataDir: '/',
  minFreeBytes: 100,
  evidence: { problem: null },
  now: () => 0,
  freeBytes: async () => 100,
};

async function readyz(changes: Partial<HealthOptions> = {}) {
  const app = Fastify();
  addHealthRoutes(app as never, { health: new Health({ ...WELL, ...changes }) });
  const response = await fetch(`${await app.listen({ port: 0 })}/readyz`);
  const { status, headers } = response;
  const body: unknown = await response.json();
  await app.close();
  return { status, contentType: headers.get('content-type'), body };
}

describe('readyz', () => {
  test('is 200 when nothing is wrong', async () => {
    expect(await readyz()).toMatchObject({ status: 200, body: { ready: true } });
  });

  test('is a problem with every reason, each with its code and remedy', async () => {
    const { status, contentType, body } = await readyz({
      isReady: () => false,
      askDatabase: async () => {
        throw new Error('password authentication failed at db.internal');
      },
      freeBytes: async () => 99,
      evidence: { problem: new BrokerError('ERR_LOG_FULL', 'the disk refuses (ENOSPC)') },
    });
    expect(status).toBe(503);
    expect(contentType).toMatch(/^application\/problem\+json/);
    expect(body).toMatchObject({ status: 503, code: 'ERR_NOT_READY', type: 'about:blank' });
    const { reasons } = body as { reasons: { part: string; code: string; remedy: string }[] };
    expect(reasons.map(({ part, code }) => [part, code])).toEqual([
      ['start', 'ERR_NOT_READY'],
      ['log', 'ERR_LOG_FULL'],
      ['registry', 'ERR_REGISTRY_DATABASE'],
      ['disk', 'ERR_DISK_LOW'],
    ]);
    for (const { remedy } of reasons) expect(remedy).not.toBe('');
    expect(JSON.stringify(body)).not.toContain('db.internal');
  });

  test('has the code of the first reason', async () => {
    expect((await readyz({ freeBytes: async () => 1 })).body).toMatchObject({
      code: 'ERR_DISK_LOW',
      title: rowOf('ERR_DISK_LOW')!.what,
    });
  });

  test('of a data folder that is gone is a reason, and of no limit is none', async () => {
    const freeBytes = async () => Promise.reject(new Error('ENOENT'));
    expect((await readyz({ freeBytes })).body).toMatchObject({ code: 'ERR_DISK_LOW' });
    expect((await readyz({ freeBytes, minFreeBytes: 0 })).status).toBe(200);
  });
});

test('however often anybody asks, the database is asked once a second', async () => {
  let asked = 0;
  let now = 0;
  const askDatabase = async () => {
    asked += 1;
  };
  const health = new Health({ ...WELL, askDatabase, now: () => now });
  await Promise.all(Array.from({ length: 50 }, () => health.reasons()));
  now = 999;
  await health.reasons();
  expect(asked).toBe(1);
  now = 1000;
  await health.reasons();
  expect(asked).toBe(2);
});

test('a database and a disk that give no answer are asked once, however long that takes', async () => {
  jest.useFakeTimers();
  let asked = 0;
  let now = 0;
  const never = () => {
    asked += 1;
    return new Promise<never>(() => {});
  };
  const health = new Health({ ...WELL, askDatabase: never, freeBytes: never, now: () => now });
  for (let round = 0; round < 3; round++) {
    const reasons = health.reasons();
    await jest.advanceTimersByTimeAsync(3000);
    expect((await reasons).map(({ part }) => part)).toEqual(['registry', 'disk']);
    now += 1000;
  }
  expect(asked).toBe(2);
  jest.useRealTimers();
});

test('a clock that was set back does not keep an old answer', async () => {
  let free = 1;
  let now = 1_000_000;
  const health = new Health({ ...WELL, freeBytes: async () => free, now: () => now });
  expect(await health.reasons()).toHaveLength(1);
  free = 100;
  now = 0;
  expect(await health.reasons()).toEqual([]);
});

test('a certificate that is about to end is a problem, and the broker is ready all the same', async () => {
  const tls = { source: 'files' as const, expires: 0, daysLeft: 3, problem: null };
  const health = new Health({ ...WELL, more: () => tlsProblems(tls) });
  expect(await health.problems()).toMatchObject([
    { part: 'tls', detail: 'server certificate: 3 days left' },
  ]);
  expect(await health.reasons()).toEqual([]);
  expect(tlsProblems({ ...tls, daysLeft: 21 })).toEqual([]);
  expect(tlsProblems(null)).toEqual([]);
});
