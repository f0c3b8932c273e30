import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { decodeEnrolmentAnswer, openCredential } from '@fieldproof/protocol/statements';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import LibsqlDatabase from 'libsql';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { TestDevice } from './support/device.ts';
import { readRegistryLog } from './support/registry-log.ts';

const CELL = '871fa4aa4ffffff';
const STREAM = { metric: 'air/temperature', cadenceMs: 60_000, resolution: 0.01 };

let broker: TestBroker;
let device: TestDevice;

beforeAll(async () => {
  broker = await startTestBroker();
});
afterAll(() => broker.close());
beforeEach(async () => {
  device = await broker.device();
});

const post = (path: string, body: object) =>
  broker.admin('POST', `/admin/devices/${device.id}/${path}`, body);

const file = () => join(broker.dataDir, 'registry.sqlite');
function textRows(): readonly { readonly text: string; readonly commitment: string }[] {
  const database = new LibsqlDatabase(file());
  const rows = database
    .prepare('select text, commitment from device_texts where device_id = ? order by kind')
    .all(device.id);
  database.close();
  return rows as { text: string; commitment: string }[];
}

interface Shown {
  readonly texts: { readonly site: string | null; readonly notes: string | null };
  readonly written: Readonly<
    Record<'site' | 'notes', { readonly text: string; readonly salt: string } | null>
  >;
}

async function shown(): Promise<Shown> {
  return (await broker.admin('GET', `/admin/devices/${device.id}`)).body as Shown;
}

async function renewed(cell?: string) {
  const response = await device.enrolRequest(await broker.joinLine(), {
    token: null,
    ...(cell !== undefined && { cell }),
  });
  const { credential } = decodeEnrolmentAnswer(new Uint8Array(await response.arrayBuffer()));
  const { keys } = await device.descriptor();
  const context = { network: device.network, publicKey: keys.registry, verify, device: device.id };
  return openCredential(credential, context);
}

test('name, group, cell and streams are in the next credential, and a renewal does not undo them', async () => {
  expect(await post('rename', { name: 'Dach “Süd”' })).toMatchObject({ status: 200 });
  expect(await post('site', { group: 'west', cell: CELL })).toMatchObject({ status: 200 });
  expect(await post('streams', { streams: [STREAM] })).toMatchObject({ status: 200 });
  const said = { name: 'Dach “Süd”', group: 'west', cell: CELL, streams: [STREAM] };
  expect(await renewed('871f8c6edffffff')).toMatchObject(said);
  expect(await renewed('')).toMatchObject(said);
  await post('site', { cell: '' });
  expect(await renewed('871f8c6edffffff')).toMatchObject({ ...said, cell: '' });
});

describe('texts', () => {
  test('stay out of the log, which has a salted hash that proves them', async () => {
    await post('site', { text: 'Elm Street 5, roof' });
    await post('notes', { text: 'ladder in the cellar\nring twice' });
    const { texts, written } = await shown();
    for (const kind of ['site', 'notes'] as const) {
      const { text, salt } = written[kind]!;
      const hash = createHash('sha256').update(Buffer.from(salt, 'hex')).update(text);
      expect(hash.digest('hex')).toBe(texts[kind]);
    }
    expect(written.notes!.text).toBe('ladder in the cellar\nring twice');
    expect(written.site!.salt).toHaveLength(32);
    const log = JSON.stringify(await readRegistryLog(broker, device.id));
    expect(log).not.toMatch(/Elm|ladder/);
    const tail = (await readRegistryLog(broker, device.id)).map(({ action }) => action);
    expect(tail.slice(1)).toMatchObject(
      [
        { action: 'site', text: Buffer.from(texts.site!, 'hex') },
        { action: 'notes', text: Buffer.from(texts.notes!, 'hex') },
      ].map(({ action, text }) => ({ action, text: Uint8Array.from(text) })),
    );
  });

  test('are replaced and erased, without a trace in the database', async () => {
    await post('site', { text: 'Ash Lane 5' });
    await post('site', { text: 'Ash Lane 7' });
    expect(textRows()).toMatchObject([{ text: 'Ash Lane 7' }]);
    await post('site', { group: 'west' });
    expect((await shown()).written.site).toMatchObject({ text: 'Ash Lane 7' });
    await post('site', { text: '' });
    expect(textRows()).toEqual([]);
    expect(await shown()).toMatchObject({ texts: { site: null }, written: { site: null } });
    const left = ['', '-wal'].map((end) => readFileSync(`${file()}${end}`, 'latin1')).join('');
    expect([left.includes(device.id), left.includes('Ash Lane')]).toEqual([true, false]);
  });

  test('outlive a restart; without the database their hashes do', async () => {
    await post('site', { text: 'Elm Street 5', cell: CELL });
    await post('streams', { streams: [STREAM] });
    await broker.restart();
    const before = await shown();
    expect(before.written.site).toMatchObject({ text: 'Elm Street 5' });
    await broker.running.stop();
    for (const end of ['', '-wal', '-shm']) rmSync(`${file()}${end}`, { force: true });
    await broker.restart();
    expect(await shown()).toMatchObject({
      texts: before.texts,
      written: { site: null, notes: null },
      cell: CELL,
      streams: [STREAM],
    });
  });
});

test('streams are added, replaced by metric and removed', async () => {
  const wind = { metric: 'wind/speed', cadenceMs: 1000, resolution: 0.1 };
  await post('streams', { streams: [STREAM] });
  const faster = { ...STREAM, cadenceMs: 1000 };
  expect(await post('streams', { add: [wind, faster] })).toMatchObject({
    status: 200,
    body: { streams: [wind, faster] },
  });
  expect(await post('streams', { remove: ['wind/speed'] })).toMatchObject({
    body: { streams: [faster] },
  });
  expect(await post('streams', { remove: ['wind/speed'] })).toMatchObject({
    status: 400,
    body: { code: 'ERR_REQUEST', detail: expect.stringContaining('wind/speed') },
  });
});

test.each([
  ['rename', { name: '' }],
  ['rename', { name: 'a\u0007' }],
  ['rename', { name: 'x'.repeat(65) }],
  ['rename', { name: 7 }],
  ['rename', {}],
  ['site', {}],
  ['site', { cell: '871FA4AA4FFFFFF' }],
  ['site', { cell: '871fa4aa4' }],
  ['site', { cell: '000000000000000' }],
  ['site', { group: '' }],
  ['site', { text: 'x'.repeat(4097) }],
  ['site', { text: '\u001b[2J' }],
  ['site', { text: '\ud800' }],
  ['notes', {}],
  ['notes', { text: ['a'] }],
  ['streams', {}],
  ['streams', { streams: {} }],
  ['streams', { streams: [STREAM, STREAM] }],
  ['streams', { streams: [{ ...STREAM, metric: 'no metric' }] }],
  ['streams', { streams: [{ ...STREAM, cadenceMs: 0 }] }],
  ['streams', { streams: [{ ...STREAM, resolution: '0.1' }] }],
  ['streams', { streams: Array(257).fill(STREAM) }],
  ['streams', { add: [null] }],
  ['streams', { remove: 'all' }],
])('%s with %j is refused, and logs nothing', async (path, body) => {
  const size = broker.running.status().evidence.entries;
  const answer = await post(path, body);
  expect(answer).toMatchObject({
    status: 400,
    body: { code: 'ERR_REQUEST', remedy: expect.stringMatching(/./) },
  });
  expect(broker.running.status().evidence.entries).toBe(size);
  expect(textRows()).toEqual([]);
});

test('what is not enrolled is a problem', async () => {
  for (const path of ['rename', 'site', 'notes', 'streams']) {
    const answer = await broker.admin('POST', `/admin/devices/z6MkNobody/${path}`, {});
    expect(answer).toMatchObject({ status: 404, body: { code: 'ERR_DEVICE_UNKNOWN' } });
  }
});

describe('a text with an escape or a change of direction', () => {
  const TEXT = 'sold \u202e\u001b[2J';

  test('gets into no entry of the log, whatever the request is', async () => {
    const before = (await readRegistryLog(broker, device.id)).length;
    const requests: readonly (readonly [string, object])[] = [
      ['unenrol', { reason: TEXT }],
      ['unenrol', { reason: { toString: 1 } }],
      ['unenrol', { reason: ' ' }],
      ['unenrol', {}],
      ['transfer', { reason: TEXT, owner: 'did:key:z6Mk', ownership: '' }],
      ['suspend', { reason: TEXT }],
      ['suspend', { reason: 'x', kind: TEXT }],
      ['resume', { reason: TEXT }],
      ['release', { boot: '1.a1b2c3d4', reason: TEXT }],
      ['rename', { name: TEXT }],
      ['site', { group: TEXT }],
      ['site', { text: TEXT }],
      ['notes', { text: TEXT }],
    ];
    for (const [path, body] of requests) {
      const answer = await post(path, body);
      expect([path, answer]).toMatchObject([path, { status: 400 }]);
    }
    for (const body of [{ group: TEXT }, { group: 7 }]) {
      expect(await broker.admin('POST', '/admin/tokens', body)).toMatchObject({ status: 400 });
    }
    const named = { name: TEXT, scopes: ['read'] };
    expect(await broker.admin('POST', '/admin/access', named)).toMatchObject({ status: 400 });
    expect(await readRegistryLog(broker, device.id)).toHaveLength(before);
  });

  test('in an enrolment spends no use of its token; in a renewal what was known of the program stays', async () => {
    const { http, mqtt } = broker.running.addresses;
    const newcomer = new TestDevice({ http, mqtt, network: broker.running.network });
    const line = await broker.joinLine(1);
    for (const changes of [{ name: 'a\u202eb' }, { name: '   ' }, { agent: 'a/1 \u001b[2J' }]) {
      const response = await newcomer.enrolRequest(line, changes);
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ code: 'ERR_REQUEST' });
    }
    expect((await newcomer.enrolRequest(line, { agent: 'good/1' })).status).toBe(200);
    const agent = 'evil/2 \u001b[2J';
    expect((await newcomer.enrolRequest(line, { token: null, agent })).status).toBe(200);
    const { body } = await broker.admin('GET', `/admin/devices/${newcomer.id}`);
    expect(body).toMatchObject({ agent: 'good/1' });
  });
});

test('a newcomer with a cell that is none is refused, and uses up no token', async () => {
  const { http, mqtt } = broker.running.addresses;
  const newcomer = new TestDevice({ http, mqtt, network: broker.running.network });
  const line = await broker.joinLine();
  const answer = await newcomer.enrolRequest(line, { cell: '0'.repeat(15) });
  expect(answer.status).toBe(400);
  expect(await answer.json()).toMatchObject({
    code: 'ERR_REQUEST',
    detail: expect.stringContaining('cell: expected the index of an H3 cell'),
  });
  expect((await newcomer.enrolRequest(line, { cell: CELL })).status).toBe(200);
  // What it says later counts for nothing, and keeps it out of nothing.
  const renewal = await newcomer.enrolRequest(line, { token: null, cell: '0'.repeat(15) });
  expect(renewal.status).toBe(200);
});

test('a join line for a cell that is none is not made', async () => {
  const answer = await broker.admin('POST', '/admin/tokens', { cell: '8009fffffffff00' });
  expect(answer).toMatchObject({ status: 400, body: { code: 'ERR_REQUEST' } });
});
