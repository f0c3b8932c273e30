import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FrameReader } from '@fieldproof/protocol/frame';
import { parseJoinLine } from '@fieldproof/protocol/join-line';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { readRegistryAction } from '@fieldproof/protocol/registry-actions';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { TestDevice, until } from './support/device.ts';

const DAY_MS = 86_400_000;

interface Shown {
  readonly hash: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly usable: boolean;
  readonly expiresAt: number | null;
  readonly lastUsedAt: number | null;
}

let broker: TestBroker;
let clock = 0;

beforeAll(async () => {
  broker = await startTestBroker({}, { now: () => Date.now() + clock });
});
afterAll(() => broker.close());

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** A request with a token, or that of the data folder. */
async function call(method: string, path: string, options: { body?: object; token?: string } = {}) {
  const { body, token = readFileSync(join(broker.dataDir, 'tokens/admin'), 'utf8').trim() } =
    options;
  const response = await fetch(`${broker.running.addresses.http}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
}

async function create(scopes: readonly string[], more: object = {}, token?: string) {
  const body = { name: 'ann', scopes, ...more };
  const answer = await call('POST', '/admin/access', { body, ...(token && { token }) });
  expect(answer.status).toBe(201);
  return answer.body as { token: string; access: Shown };
}

const list = async () => (await call('GET', '/admin/access')).body.tokens as readonly Shown[];

/** Actions in the log about a token. */
async function logged(token: string) {
  return readLogged(sha256(token));
}

const actionsOf = async (subject: string) => (await readLogged(subject)).actions;

/** Starts the broker again as if its database had been lost. */
async function dropDatabase(): Promise<void> {
  await broker.running.stop();
  for (const end of ['', '-wal', '-shm']) {
    rmSync(join(broker.dataDir, `registry.sqlite${end}`), { force: true });
  }
  await broker.restart();
}

async function readLogged(subject: string) {
  const tail = await fetch(`${broker.running.addresses.http}/v1/tail?from=0&live=0`, {
    headers: {
      authorization: `Bearer ${readFileSync(join(broker.dataDir, 'tokens/service'), 'utf8').trim()}`,
    },
  });
  const bytes = new Uint8Array(await tail.arrayBuffer());
  const reader = new FrameReader(0);
  reader.push(bytes);
  const actions: unknown[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    const entry = decodeEvidenceEntry(frame.entry);
    if (entry.type !== 'registry' || entry.subject !== subject) continue;
    actions.push(readRegistryAction(entry.statement));
  }
  return { actions, text: Buffer.from(bytes).toString('latin1') };
}

/** A request of each admin route, and the scope that opens it. */
const ROUTES: readonly (readonly [string, string, string])[] = [
  ['GET', '/admin/status', 'read'],
  ['GET', '/admin/devices', 'read'],
  ['GET', '/admin/devices/z6Mk', 'read'],
  ['GET', '/admin/tokens', 'read'],
  ['GET', '/admin/descriptor', 'read'],
  ['GET', '/admin/keys', 'read'],
  ['GET', '/admin/appeals', 'read'],
  ['POST', '/admin/devices/z6Mk/rename', 'devices'],
  ['POST', '/admin/devices/z6Mk/site', 'devices'],
  ['POST', '/admin/devices/z6Mk/notes', 'devices'],
  ['POST', '/admin/devices/z6Mk/streams', 'devices'],
  ['DELETE', '/admin/tokens/00', 'enrol'],
  ['POST', '/admin/devices/z6Mk/swap', 'enrol'],
  ['POST', '/admin/devices/z6Mk/transfer', 'enrol'],
  ['POST', '/admin/devices/z6Mk/unenrol', 'enrol'],
  ['POST', '/admin/devices/z6Mk/suspend', 'suspend'],
  ['POST', '/admin/devices/z6Mk/resume', 'suspend'],
  ['POST', '/admin/devices/z6Mk/release', 'suspend'],
  ['POST', '/admin/appeals/z6Mk/decide', 'suspend'],
  ['GET', '/admin/descriptor/draft', 'keys'],
  ['POST', '/admin/descriptor', 'keys'],
  ['POST', '/admin/keys/none/rotate', 'keys'],
  ['DELETE', '/admin/keys/none/next', 'keys'],
  ['GET', '/admin/access', 'access'],
  ['POST', '/admin/access', 'access'],
  ['DELETE', '/admin/access/00', 'access'],
  ['GET', '/v1/tail?from=0&live=0', 'tail'],
  ['GET', '/v1/entries/0', 'tail'],
  ['GET', `/v1/bodies/${'00'.repeat(32)}`, 'bodies'],
  ['POST', '/v1/down/z6Mk/task', 'down'],
];

describe('an access token', () => {
  test('opens the routes of its scopes and no other', async () => {
    const scopes = [...new Set(ROUTES.map(([, , scope]) => scope))];
    for (const own of scopes) {
      const { token } = await create([own], { name: own });
      for (const [method, path, scope] of ROUTES) {
        const body = method === 'POST' ? {} : undefined;
        const { status, body: answer } = await call(method, path, { token, ...(body && { body }) });
        const isOpen = answer.code !== 'ERR_SCOPE' && status !== 401;
        expect([own, method, path, isOpen]).toEqual([own, method, path, own === scope]);
        if (!isOpen) expect(status).toBe(403);
      }
    }
    expect((await list()).find(({ name }) => name === 'read')?.lastUsedAt).not.toBeNull();
  });

  test('is in the log by its hash, without the name of its bearer; its text is nowhere', async () => {
    const { token, access } = await create(['read', 'devices'], { name: 'Ann Önüm', days: 7 });
    expect(token).toMatch(/^fpa_[A-Za-z0-9_-]{43}$/);
    expect(access).toMatchObject({ hash: sha256(token), name: 'Ann Önüm', usable: true });
    const { actions, text } = await logged(token);
    const subject = sha256(token);
    expect(actions).toEqual([
      { action: 'access', subject, scopes: ['read', 'devices'], expires: expect.any(Number) },
    ]);
    expect(text).not.toContain('Önüm');
    expect(text).not.toContain(token);
    expect(JSON.stringify(await list())).not.toContain(token);
  });

  test('that may change devices sees of their texts what it may read', async () => {
    const { id } = await broker.device();
    const path = `/admin/devices/${id}/notes`;
    const body = { text: 'dry' };
    const { token: blind } = await create(['devices']);
    const unseen = await call('POST', path, { token: blind, body });
    expect(unseen.status).toBe(200);
    expect(unseen.body).not.toHaveProperty('written');
    const { token } = await create(['devices', 'read']);
    const changed = await call('POST', path, { token, body });
    expect(changed.body.written).toMatchObject({ site: null, notes: { text: 'dry' } });
    expect(changed.body).toEqual((await call('GET', `/admin/devices/${id}`)).body);
  });

  test('gives nobody what its maker has not', async () => {
    const { token } = await create(['access', 'read']);
    await create(['read'], { name: 'bob' }, token);
    for (const scopes of [['keys'], ['read', 'admin'], ['tail']]) {
      const answer = await call('POST', '/admin/access', { token, body: { name: 'eve', scopes } });
      expect(answer).toMatchObject({ status: 403, body: { code: 'ERR_SCOPE' } });
    }
    const { token: all } = await create(['admin']);
    await create(['keys', 'mqtt'], {}, all);
  });

  test('makes none that outlives it, and by itself one that ends with it', async () => {
    const { token, access } = await create(['access', 'read', 'enrol'], { days: 10 });
    const end = access.expiresAt!;
    for (const days of [11, 3650, null]) {
      const body = { name: 'eve', scopes: ['read'], days };
      const answer = await call('POST', '/admin/access', { token, body });
      expect(answer).toMatchObject({ status: 403, body: { code: 'ERR_OUTLIVES' } });
      expect(answer.body.remedy).toContain('tokens/admin');
    }
    expect((await create(['read'], {}, token)).access.expiresAt).toBe(end);
    expect((await create(['read'], { days: 9 }, token)).access.expiresAt).toBeLessThan(end);
    const line = (hours?: number) =>
      call('POST', '/admin/tokens', { token, body: hours === undefined ? {} : { hours } });
    expect((await line(24 * 11)).body.code).toBe('ERR_OUTLIVES');
    expect((await line(24)).status).toBe(201);
    clock = 9.9 * DAY_MS;
    expect((await line()).body.token.expiresAt).toBe(end);
    expect((await line(24)).body.code).toBe('ERR_OUTLIVES');
    clock = 0;
  });

  test('shows and ends only such as open nothing more than it does', async () => {
    const { token } = await create(['access', 'read']);
    const { access: wider } = await create(['read', 'keys'], { name: 'wider' });
    const { access: all } = await create(['admin'], { name: 'all' });
    const { access: equal } = await create(['read', 'access'], { name: 'equal' });
    const seen = (await call('GET', '/admin/access', { token })).body.tokens as readonly Shown[];
    expect(seen.some(({ hash }) => hash === equal.hash)).toBe(true);
    for (const { scopes } of seen) {
      expect(scopes.filter((scope) => scope !== 'access' && scope !== 'read')).toEqual([]);
    }
    for (const { hash } of [wider, all]) {
      const answer = await call('DELETE', `/admin/access/${hash}`, { token });
      expect(answer).toMatchObject({ status: 403, body: { code: 'ERR_SCOPE' } });
    }
    expect((await call('DELETE', `/admin/access/${equal.hash}`, { token })).status).toBe(200);
    expect((await list()).filter(({ name, usable }) => usable && name !== 'equal')).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ hash: wider.hash }),
        expect.objectContaining({ hash: all.hash }),
      ]),
    );
  });

  test('takes with it what was made with it when it is revoked, over generations and a lost database', async () => {
    const parent = await create(['access', 'read'], { name: 'parent' });
    const child = await create(['access', 'read'], { name: 'child' }, parent.token);
    const grandchild = await create(['read'], { name: 'grandchild' }, child.token);
    const other = await create(['access', 'read'], { name: 'other' });
    expect((await logged(child.token)).actions[0]).toMatchObject({
      by: Uint8Array.from(Buffer.from(parent.access.hash, 'hex')),
    });
    await dropDatabase();
    const { judgeAccessToken } = broker.running;
    const isIn = ({ token }: { token: string }) => judgeAccessToken(token) !== null;
    expect([parent, child, grandchild, other].map(isIn)).toEqual([true, true, true, true]);
    const answer = await call('DELETE', `/admin/access/${parent.access.hash}`);
    expect(answer.body.alsoRevoked).toEqual([child.access.hash, grandchild.access.hash]);
    expect([parent, child, grandchild, other].map(isIn)).toEqual([false, false, false, true]);
    expect((await logged(grandchild.token)).actions.at(-1)).toMatchObject({
      action: 'access-revoke',
    });
  });

  test('makes nothing more when it was revoked while the request waited', async () => {
    const { token, access } = await create(['access', 'read'], { name: 'thief' });
    const [ended, made] = await Promise.all([
      call('DELETE', `/admin/access/${access.hash}`),
      ...Array.from({ length: 8 }, () =>
        call('POST', '/admin/access', { token, body: { name: 'spare', scopes: ['read'] } }),
      ),
    ]);
    expect(ended.status).toBe(200);
    expect([201, 401]).toContain(made?.status);
    const spares = (await list()).filter(({ name, usable }) => name === 'spare' && usable);
    expect(spares).toEqual([]);
  });

  test('lets nobody in once it is revoked, or past its end', async () => {
    const { token, access } = await create(['read'], { days: 1 });
    const { token: kept } = await create(['read'], { days: null });
    const status = async (text: string) =>
      (await call('GET', '/admin/status', { token: text })).status;
    const { judgeAccessToken } = broker.running;
    expect(judgeAccessToken(token)).toMatchObject({ name: 'ann', scopes: ['read'] });
    clock = DAY_MS + 1000;
    expect([await status(token), await status(kept)]).toEqual([401, 200]);
    expect(judgeAccessToken(token)).toBeNull();
    clock = 0;
    expect(await status(token)).toBe(200);
    const revoked = await call('DELETE', `/admin/access/${access.hash.slice(0, 10)}`);
    expect(revoked).toMatchObject({ status: 200, body: { revoked: true, usable: false } });
    expect(await status(token)).toBe(401);
    expect((await logged(token)).actions.at(-1)).toEqual({
      action: 'access-revoke',
      subject: access.hash,
    });
    expect((await call('DELETE', `/admin/access/${access.hash}`)).status).toBe(404);
    expect((await call('DELETE', '/admin/access/a')).status).toBe(400);
  });

  test('ends a tail that it began when it is revoked: nothing more is told', async () => {
    const { token, access } = await create(['tail']);
    const tail = await fetch(`${broker.running.addresses.http}/v1/tail?from=0`, {
      headers: { authorization: `Bearer ${token}` },
    });
    let told = '';
    const ending = (async () => {
      const decoder = new TextDecoder('latin1');
      for await (const chunk of tail.body!) told += decoder.decode(chunk);
      return 'as if all were told';
    })().catch(() => 'cut off');
    const { access: early } = await create(['read']);
    await until(() => told.includes(early.hash), 'what is new');
    await call('DELETE', `/admin/access/${access.hash}`);
    const { access: late } = await create(['read']);
    expect(await ending).toBe('cut off');
    expect(told).not.toContain(late.hash);
  });

  test.each([
    ['', null],
    ['fpa_', null],
    [`fpa_${'A'.repeat(43)}`, null],
    ['x'.repeat(100_000), null],
  ])('%#: a text that is no token is judged as none', (text, expected) => {
    expect(broker.running.judgeAccessToken(text)).toBe(expected);
  });

  test.each([
    [{ name: '', scopes: ['read'] }],
    [{ name: 'a\nb', scopes: ['read'] }],
    [{ name: 'x'.repeat(65), scopes: ['read'] }],
    [{ name: 'a', scopes: [] }],
    [{ name: 'a', scopes: ['everything'] }],
    [{ name: 'a', scopes: 'read' }],
    [{ name: 'a', scopes: ['read'], days: 0 }],
    [{ name: 'a', scopes: ['read'], days: 1e6 }],
  ])('%#: a request that is not whole makes none', async (body) => {
    const before = (await list()).length;
    expect(await call('POST', '/admin/access', { body })).toMatchObject({
      status: 400,
      body: { code: 'ERR_REQUEST' },
    });
    expect((await list()).length).toBe(before);
  });

  test('outlives a restart; when the database is gone it comes back from the log, without a name', async () => {
    const { token, access } = await create(['read', 'mqtt'], { name: 'carol' });
    const { token: ended, access: other } = await create(['read'], { name: 'dave' });
    await call('DELETE', `/admin/access/${other.hash}`);
    await broker.restart();
    expect(broker.running.judgeAccessToken(token)).toMatchObject({
      name: 'carol',
      scopes: ['read', 'mqtt'],
    });
    await dropDatabase();
    const name = access.hash.slice(0, 12);
    expect(broker.running.judgeAccessToken(token)).toMatchObject({
      name,
      scopes: ['read', 'mqtt'],
    });
    expect(broker.running.judgeAccessToken(ended)).toBeNull();
    expect((await list()).find(({ hash }) => hash === access.hash)).toMatchObject({ name: '' });
  });
});

describe('an enrolment token', () => {
  const tokens = async () =>
    (await call('GET', '/admin/tokens')).body.tokens as readonly {
      hash: string;
      used: number;
      revoked: boolean;
      usable: boolean;
      madeBy: string | null;
    }[];

  const hashOf = (line: string) =>
    createHash('sha256').update(parseJoinLine(line).token).digest('hex');

  test('ends with the access token with which it was made, also over a lost database; no other does', async () => {
    const parent = await create(['access', 'enrol'], { name: 'parent' });
    const child = await create(['enrol'], { name: 'child' }, parent.token);
    const lineOf = async (token?: string) =>
      (await call('POST', '/admin/tokens', { body: {}, ...(token && { token }) })).body
        .joinLine as string;
    const device = await broker.device();
    const swap = await call('POST', `/admin/devices/${device.id}/swap`, {
      ...{ body: {}, token: child.token },
    });
    const lines = [
      ...[await lineOf(parent.token), await lineOf(child.token), swap.body.joinLine as string],
      await lineOf(),
    ];
    const hashes = lines.map(hashOf);
    const by = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
    expect((await actionsOf(hashes[0]!))[0]).toMatchObject({ by: by(parent.access.hash) });
    expect((await actionsOf(hashes[2]!))[0]).toMatchObject({ by: by(child.access.hash) });
    expect((await actionsOf(hashes[3]!))[0]).not.toHaveProperty('by');
    await dropDatabase();
    const answer = await call('DELETE', `/admin/access/${parent.access.hash}`);
    const ended = [...(answer.body.alsoRevokedJoinLines as string[])].sort();
    expect(ended).toEqual(hashes.slice(0, 3).sort());
    const states = (await tokens()).filter(({ hash }) => hashes.includes(hash));
    expect(states.filter(({ usable }) => usable).map(({ hash }) => hash)).toEqual([hashes[3]]);
    for (const hash of ended) {
      expect((await actionsOf(hash)).at(-1)).toEqual({ action: 'token-revoke', subject: hash });
    }
    const { http, mqtt } = broker.running.addresses;
    const late = new TestDevice({ http, mqtt, network: broker.running.network });
    const refused = await late.enrolRequest(lines[0]!);
    expect(await refused.json()).toMatchObject({ code: 'ERR_TOKEN_INVALID' });
    await late.enrol(lines[3]!);
  });

  test('is not made by a request that waited while its access token was revoked', async () => {
    const { token, access } = await create(['enrol'], { name: 'thief' });
    await Promise.all([
      ...Array.from({ length: 4 }, () => call('POST', '/admin/tokens', { token, body: {} })),
      call('DELETE', `/admin/access/${access.hash}`),
      ...Array.from({ length: 4 }, () => call('POST', '/admin/tokens', { token, body: {} })),
    ]);
    const made = (await tokens()).filter(({ madeBy }) => madeBy === access.hash);
    expect(made.filter(({ usable }) => usable)).toEqual([]);
  });

  test('is in the log, and comes back from it with its uses when the database is gone', async () => {
    const line = await broker.joinLine(2);
    const other = await broker.joinLine(1);
    const { http, mqtt } = broker.running.addresses;
    const device = new TestDevice({ http, mqtt, network: broker.running.network });
    await device.enrol(line);
    expect((await call('DELETE', `/admin/tokens/${hashOf(other)}`)).status).toBe(204);
    // Again changes nothing.
    expect((await call('DELETE', `/admin/tokens/${hashOf(other)}`)).status).toBe(204);
    expect((await call('DELETE', `/admin/tokens/${'00'.repeat(32)}`)).status).toBe(404);
    expect(await actionsOf(hashOf(other))).toEqual([
      expect.objectContaining({ action: 'token', uses: 1, group: 'default' }),
      { action: 'token-revoke', subject: hashOf(other) },
    ]);
    const before = await tokens();
    await dropDatabase();
    const after = await tokens();
    expect(after).toEqual(before);
    expect(after.find((token) => token.hash === hashOf(line))).toMatchObject({
      used: 1,
      usable: true,
    });
    expect(after.find((token) => token.hash === hashOf(other))).toMatchObject({ revoked: true });
  });
});
