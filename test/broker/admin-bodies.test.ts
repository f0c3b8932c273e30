import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { readRegistryLog } from './support/registry-log.ts';

let broker: TestBroker;
let id: string;

beforeAll(async () => {
  broker = await startTestBroker();
  id = (await broker.device()).id;
});
afterAll(() => broker.close());

/** Sends a body as it is. */
async function send(path: string, body: string | null, type = 'application/json') {
  const token = readFileSync(join(broker.dataDir, 'tokens/admin'), 'utf8').trim();
  const response = await fetch(`${broker.running.addresses.http}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, ...(body !== null && { 'content-type': type }) },
    ...(body !== null && { body }),
  });
  const { code, detail } = (await response.json()) as { code?: string; detail?: string };
  return { status: response.status, code, detail };
}

/** Each route that takes JSON, a body that it would take, and one of the members. */
const ROUTES: readonly (readonly [path: string, body: object, member: string])[] = [
  ['/admin/devices/ID/suspend', { reason: 'test' }, 'forMs'],
  ['/admin/devices/ID/resume', {}, 'reason'],
  ['/admin/devices/ID/release', { boot: '7.a1b2c3d4' }, 'boot'],
  ['/admin/devices/ID/rename', { name: 'roof' }, 'name'],
  ['/admin/devices/ID/site', { group: 'roof' }, 'cell'],
  ['/admin/devices/ID/notes', { text: 'dry' }, 'text'],
  ['/admin/devices/ID/streams', { streams: [] }, 'add'],
  ['/admin/devices/ID/swap', {}, 'compromised'],
  ['/admin/devices/ID/transfer', { reason: 'lost' }, 'ownership'],
  ['/admin/devices/ID/unenrol', { reason: 'gone' }, 'reason'],
  ['/admin/appeals/ID/decide', { outcome: 'lifted', reason: 'wrong' }, 'outcome'],
  ['/admin/tokens', {}, 'hours'],
  ['/admin/access', { name: 'eve', scopes: ['read'] }, 'days'],
  ['/admin/descriptor', { descriptor: 'AAAA' }, 'descriptor'],
  ['/admin/keys/log/rotate', {}, 'compromised'],
  ['/admin/webhook/test', {}, 'no members'],
];

test.each(ROUTES)('%s names members that it does not know, and does nothing', async (...row) => {
  const [path, body, member] = row;
  const before = (await readRegistryLog(broker)).length;
  const slip = JSON.stringify({ ...body, forMS: 1000 });
  const answer = await send(path.replace('ID', id), slip);
  expect(answer).toMatchObject({ status: 400, code: 'ERR_REQUEST' });
  expect(answer.detail).toContain('got forMS');
  expect(answer.detail).toContain(member);
  expect(await readRegistryLog(broker)).toHaveLength(before);
});

test.each(['null', '[]', '"reason"', '1'])('a body that is %s is refused', async (body) => {
  for (const [path] of ROUTES) {
    const answer = await send(path.replace('ID', id), body);
    expect([path, answer.status, answer.code]).toEqual([path, 400, 'ERR_REQUEST']);
  }
});

test('a body of another type is refused, and none is needed where nothing must be said', async () => {
  const form = await send('/admin/tokens', 'uses=2', 'application/x-www-form-urlencoded');
  expect(form).toMatchObject({ status: 400, detail: 'body: expected a JSON object' });
  expect(await send('/admin/tokens', null)).toMatchObject({ status: 201 });
  expect(await send('/admin/tokens', '', 'text/json')).toMatchObject({ status: 201 });
});

test('many long names with control characters are cut and cleaned', async () => {
  const names = Array.from({ length: 200 }, (_, i) => `\u001b[2J${i}${'x'.repeat(200)}`);
  const answer = await send(
    '/admin/tokens',
    JSON.stringify(Object.fromEntries(names.map((name) => [name, 1]))),
  );
  expect(answer.detail).toMatch(/and 196 more$/);
  expect(answer.detail!.length).toBeLessThan(300);
  expect(answer.detail).not.toContain('\u001b');
});

test('what a stream does not have is refused, and a list beside changes to it', async () => {
  const stream = { metric: 'air/temperature', cadenceMs: 60_000, resolution: 0.01 };
  const path = `/admin/devices/${id}/streams`;
  const slip = await send(path, JSON.stringify({ add: [{ ...stream, unit: 'Cel' }] }));
  expect(slip.detail).toBe('streams[0]: expected only metric, cadenceMs, resolution');
  const both = await send(path, JSON.stringify({ streams: [], add: [stream] }));
  expect(both.detail).toBe('streams: expected no add and remove beside it');
});
