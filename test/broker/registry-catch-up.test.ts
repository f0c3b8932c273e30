import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AccessDesk } from '@fieldproof/broker/registry/access-desk';
import { catchUp } from '@fieldproof/broker/registry/catch-up';
import { openRegistryDatabase, type RegistryDatabase } from '@fieldproof/broker/registry/database';
import { DetailsDesk, eraseOwed } from '@fieldproof/broker/registry/details';
import { DeviceTexts } from '@fieldproof/broker/registry/device-texts';
import { Directory } from '@fieldproof/broker/registry/directory';
import { Newcomers } from '@fieldproof/broker/registry/newcomers';
import type { QuarantineDesk } from '@fieldproof/broker/registry/quarantine';
import { Registry } from '@fieldproof/broker/registry/registry';
import type { RegistrySchema } from '@fieldproof/broker/registry/schema';
import { TokenDesk } from '@fieldproof/broker/registry/token-desk';
import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { encodeFrame } from '@fieldproof/protocol/frame';
import { type EvidenceEntry, encodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import type { RegistryAction } from '@fieldproof/protocol/registry-actions';
import { afterAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Transaction } from 'kysely';

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-catch-up-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const NOW = 1_795_000_000_000;
const signer = signerFromSeed(new Uint8Array(32).fill(9));
const key = (fill: number) => signerFromSeed(new Uint8Array(32).fill(fill)).publicKey;
const idOf = (fill: number) => deviceIdFromPublicKey(key(fill));
const OWNER = `did:key:${idOf(200)}`;
const ADMIN = { name: 'admin', scopes: ['admin'] as const, hash: null, expiresAt: null };

let file: string;
let files = 0;
let random = 0;
/** What is durable of the log. */
let entries: EvidenceEntry[];
let isUnreadable = false;

beforeEach(() => {
  files += 1;
  file = join(folder, `${files}.sqlite`);
  entries = [];
});

const evidence = {
  get size() {
    return entries.length;
  },
  append: async (entry: EvidenceEntry) => {
    entries.push(entry);
    return { index: entries.length - 1, leafHash: new Uint8Array(32) };
  },
  async *tail(from: number) {
    if (isUnreadable) throw new Error('unreadable');
    for (let index = from; index < entries.length; index += 1) {
      const entry = encodeEvidenceEntry(entries[index]!);
      yield encodeFrame({ index, entry, body: new Uint8Array(0) });
    }
  },
};

/** A start over the database that is there. */
async function start() {
  const db = await openRegistryDatabase({ url: '', file });
  const registry = new Registry(db);
  const tokenRegistry = new Registry(db);
  let mayWrite: Promise<void> = Promise.resolve();
  const common = {
    ...{ network: 'h7dz6lhl', signer, evidence, now: () => NOW, onDatabaseError: () => {} },
    random: (bytes: number) => new Uint8Array(bytes).fill(++random),
  };
  const directory = new Directory({ ...common, registry });
  const tokens: TokenDesk = new TokenDesk({
    ...{ ...common, registry: tokenRegistry },
    inForce: (maker, work) => access.inForce(maker, work),
  });
  const access = new AccessDesk({
    ...{ ...common, maxEnded: 2, enrolments: tokens },
    db: heldDatabase(db, () => mayWrite),
  });
  let mayErase = true;
  const texts = new DeviceTexts({ ...common, db: unerasingDatabase(db, () => mayErase) });
  const failures: unknown[] = [];
  const newcomers = new Newcomers({
    ...{ directory, registry, texts },
    onError: (error) => failures.push(error),
  });
  await directory.load();
  await access.load();
  await tokens.load();
  const quarantine = { forget: async () => {}, replayBirth: () => {} };
  const applied = await catchUp({
    ...{ evidence, registry, directory, access, tokens, texts, newcomers },
    quarantine: quarantine as unknown as QuarantineDesk,
  });
  return {
    ...{ registry, directory, access, tokens, texts, newcomers, failures, applied },
    /** What is written of tokens waits for this, and is refused when it is. */
    holdTokens: (until: Promise<void>) => {
      until.catch(() => {});
      mayWrite = until;
      tokenRegistry.revokeToken = () => until.then(() => false);
    },
    refuseErasing: (refuses: boolean) => {
      mayErase = !refuses;
    },
    countTexts: async () => (await db.selectFrom('device_texts').selectAll().execute()).length,
    /** The process ends, and writes nothing more. */
    kill: () => db.destroy(),
  };
}

/** A database whose transactions wait. */
function heldDatabase(db: RegistryDatabase, until: () => Promise<void>): RegistryDatabase {
  return new Proxy(db, {
    get: (target, name) => {
      if (name === 'transaction') {
        return () => ({
          execute: async (work: (tx: Transaction<RegistrySchema>) => Promise<void>) => {
            await until();
            return target.transaction().execute(work);
          },
        });
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A database that refuses to delete until it may. */
function unerasingDatabase(db: RegistryDatabase, mayErase: () => boolean): RegistryDatabase {
  return new Proxy(db, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      const table = name === 'deleteFrom' && !mayErase() ? ['none_of_this_name'] : null;
      return table === null ? value.bind(target) : () => value.apply(target, table);
    },
  });
}

/** The last transactions fail until `isUp` says otherwise. */
function unsteadyDatabase(db: RegistryDatabase, isUp: () => boolean): RegistryDatabase {
  return heldDatabase(db, () => (isUp() ? Promise.resolve() : Promise.reject(new Error('down'))));
}

function enrolmentOf(fill: number): RegistryAction {
  return {
    action: 'enrol',
    subject: idOf(fill),
    key: key(fill),
    owner: OWNER,
    name: 'roof',
    group: 'default',
    cell: '',
    streams: [],
    issued: NOW,
    expires: NOW + 1,
  };
}

function rotationTo(fill: number, firstBoot: number): RegistryAction {
  return {
    action: 'rotate',
    subject: idOf(1),
    key: key(fill),
    firstBoot,
    until: NOW + 1,
    cause: 'rotation',
    issued: NOW,
    expires: NOW + 1,
  };
}

test('what was revoked stays so after a crash, whatever the database took behind the revocation', async () => {
  const first = await start();
  const wanted = { name: 'ann', scopes: ['read'] as const, expiresAt: null };
  const { text, token } = await first.access.create(wanted, ADMIN);
  const place = { uses: 1, expiresAt: NOW + 1, group: 'default', cell: '' };
  const { secret, token: enrolment } = await first.tokens.create(place, ADMIN);
  first.holdTokens(Promise.reject(new Error('refused')));
  await first.access.revoke(token.hash, ADMIN);
  await expect(first.tokens.revoke(enrolment.hash)).rejects.toMatchObject({
    code: 'ERR_REGISTRY_DATABASE',
  });
  await first.directory.record(enrolmentOf(1));
  await first.directory.written();
  await first.kill();

  const second = await start();
  expect(second.directory.get(idOf(1))).not.toBeNull();
  expect(second.access.judge(text)).toBeNull();
  await expect(second.registry.useToken(secret, NOW)).rejects.toMatchObject({
    code: 'ERR_TOKEN_INVALID',
  });
  await second.kill();
});

test('an entry that the database has already is not applied a second time', async () => {
  const first = await start();
  await first.directory.record(enrolmentOf(1));
  await first.directory.settle(entries.length);
  await first.directory.record(rotationTo(2, 10));
  const device = await first.directory.record(rotationTo(3, 20));
  await first.kill();

  const second = await start();
  expect(second.applied).toBe(2);
  expect(second.directory.get(idOf(1))).toEqual(device);
  await second.kill();

  const third = await start();
  expect([third.applied, third.directory.get(idOf(1))]).toEqual([0, device]);
  await third.kill();
});

test('while the database is down the newest of each device waits for it, with every key that was its own', async () => {
  const db = await openRegistryDatabase({ url: '', file });
  let isUp = true;
  const registry = new Registry(unsteadyDatabase(db, () => isUp));
  let sizes: number[] = [];
  const { apply } = registry;
  registry.apply = (devices, births, keys) => {
    sizes.push(devices.length);
    return apply.call(registry, devices, births, keys);
  };
  const directory = new Directory({
    ...{ network: 'h7dz6lhl', signer, evidence, registry, now: () => NOW },
    onDatabaseError: () => {},
  });
  await directory.record(enrolmentOf(1));
  await directory.record(enrolmentOf(100));
  isUp = false;
  sizes = [];
  for (let i = 0; i < 40; i += 1) {
    await directory.record(rotationTo(2 + i, 10 * (i + 1)));
    await directory.record({ action: 'rename', subject: idOf(100), name: `roof ${i}` });
    await directory.written();
  }
  expect(Math.max(...sizes)).toBe(2);
  isUp = true;
  const last = await directory.record(rotationTo(60, 1000));
  await directory.written();
  expect(await registry.device(idOf(1))).toEqual(last);
  expect(await registry.device(idOf(100))).toMatchObject({ name: 'roof 39' });
  const known = (await registry.keys()).map(({ keyId }) => keyId);
  const all = [...Array.from({ length: 40 }, (_, i) => idOf(2 + i)), idOf(60)];
  expect([...known].sort()).toEqual([...all].sort());
  await db.destroy();
});

test('what was made with a token ends with it while the database is down, and lets nobody in when it is back', async () => {
  const first = await start();
  const wanted = { name: 'ann', scopes: ['enrol'] as const, expiresAt: null };
  const { text, token } = await first.access.create(wanted, ADMIN);
  const maker = first.access.judge(text)!;
  const place = { uses: 1, expiresAt: NOW + 1, group: 'default', cell: '' };
  const { secret, token: made } = await first.tokens.create(place, maker);
  const { token: other } = await first.tokens.create(place, ADMIN);
  expect([made.madeBy, other.madeBy]).toEqual([token.hash, null]);
  first.holdTokens(Promise.reject(new Error('refused')));
  expect(await first.access.revoke(token.hash, ADMIN)).toMatchObject({ enrolments: [made.hash] });
  expect(entries.slice(-2).map((entry) => entry.type === 'registry' && entry.action)).toEqual([
    ...['token-revoke', 'access-revoke'],
  ]);
  await expect(first.tokens.requireDatabase()).rejects.toMatchObject({
    code: 'ERR_REGISTRY_DATABASE',
  });
  await expect(first.tokens.create(place, maker)).rejects.toMatchObject({
    code: 'ERR_REGISTRY_DATABASE',
  });
  await first.kill();

  const second = await start();
  await expect(second.registry.useToken(secret, NOW)).rejects.toMatchObject({
    code: 'ERR_TOKEN_INVALID',
  });
  await expect(second.tokens.create(place, maker)).rejects.toMatchObject({
    code: 'ERR_UNAUTHORIZED',
  });
  expect((await second.registry.tokens()).filter(({ revoked }) => !revoked)).toEqual([other]);
  await second.kill();
});

test('what the log has holds at once, however long the database says nothing', async () => {
  const asked: number[] = [];
  const registry = {
    apply: (devices: readonly unknown[]) => {
      asked.push(devices.length);
      return new Promise<void>(() => {});
    },
  } as unknown as Registry;
  const directory = new Directory({
    ...{ network: 'h7dz6lhl', signer, evidence, registry, now: () => NOW },
    onDatabaseError: () => {},
  });
  for (const fill of [1, 2, 3]) {
    await directory.inTurn(idOf(fill), () => directory.record(enrolmentOf(fill)));
    await directory.inTurn(idOf(fill), () =>
      directory.record({ action: 'unenrol', subject: idOf(fill), reason: 'gone' }),
    );
  }
  expect(directory.all().map(({ status }) => status)).toEqual(Array(3).fill('unenrolled'));
  expect(asked).toEqual([1]);
});

test('enrolment tokens are not made or ended while the database owes others: nothing waits without bound', async () => {
  const first = await start();
  const place = { uses: 1, expiresAt: NOW + 1, group: 'default', cell: '' };
  const { token } = await first.tokens.create(place, ADMIN);
  first.holdTokens(Promise.reject(new Error('refused')));
  await expect(first.tokens.revoke(token.hash)).rejects.toMatchObject({
    code: 'ERR_REGISTRY_DATABASE',
  });
  const size = entries.length;
  for (let i = 0; i < 5; i += 1) {
    await expect(first.tokens.create(place, ADMIN)).rejects.toMatchObject({
      code: 'ERR_REGISTRY_DATABASE',
    });
  }
  expect(entries).toHaveLength(size);
  await first.kill();
});

describe('an enrolment token is good for its uses and no more', () => {
  const place = { uses: 3, expiresAt: NOW + 1, group: 'default', cell: '' };
  type Started = Awaited<ReturnType<typeof start>>;

  async function enrol({ registry, directory }: Started, secret: Uint8Array, fill: number) {
    const { hash } = await registry.useToken(secret, NOW);
    await directory.record({ ...enrolmentOf(fill), token: fromHex(hash) } as RegistryAction);
  }
  const usedOf = async ({ registry }: Started) => (await registry.tokens()).map(({ used }) => used);

  test('in a registry that was restored from a copy of before the last of them', async () => {
    const first = await start();
    const { secret } = await first.tokens.create(place, ADMIN);
    await enrol(first, secret, 1);
    await first.directory.settle(entries.length);
    await first.kill();
    const copy = `${file}.copy`;
    for (const end of ['', '-wal']) {
      if (existsSync(`${file}${end}`)) copyFileSync(`${file}${end}`, `${copy}${end}`);
    }
    const second = await start();
    await enrol(second, secret, 2);
    await enrol(second, secret, 3);
    await second.directory.settle(entries.length);
    await second.kill();
    file = copy;

    const restored = await start();
    expect(await usedOf(restored)).toEqual([3]);
    await expect(enrol(restored, secret, 4)).rejects.toMatchObject({ code: 'ERR_TOKEN_INVALID' });
    await restored.directory.settle(entries.length);
    await restored.kill();
    const later = await start();
    expect(await usedOf(later)).toEqual([3]);
    await later.kill();
  });

  test('and no fewer after a crash: what the database counted already is not counted again', async () => {
    const first = await start();
    const { secret } = await first.tokens.create(place, ADMIN);
    await enrol(first, secret, 1);
    await first.directory.settle(entries.length);
    await enrol(first, secret, 2);
    await first.kill();
    const second = await start();
    expect(await usedOf(second)).toEqual([2]);
    await second.kill();
    const third = await start();
    expect(await usedOf(third)).toEqual([2]);
    await enrol(third, secret, 3);
    await expect(enrol(third, secret, 4)).rejects.toMatchObject({ code: 'ERR_TOKEN_INVALID' });
    await third.kill();
  });

  test('also where the log was replaced by a longer one of its own', async () => {
    const first = await start();
    const { secret } = await first.tokens.create(place, ADMIN);
    for (const fill of [1, 2]) await enrol(first, secret, fill);
    await first.directory.settle(entries.length + 100);
    await first.kill();
    const second = await start();
    expect(await usedOf(second)).toEqual([2]);
    await second.kill();
  });
});

test('a device, or a key of it, that a shorter log does not name is none', async () => {
  const first = await start();
  const device = await first.directory.record(enrolmentOf(1));
  await first.directory.record(rotationTo(2, 10));
  await first.directory.record(enrolmentOf(4));
  await first.directory.settle(entries.length);
  await first.kill();
  entries = entries.slice(0, 1);

  const second = await start();
  expect(second.directory.all()).toEqual([device]);
  expect(second.directory.deviceOf(idOf(2))).toBeNull();
  expect(await second.registry.devices()).toEqual([device]);
  expect(await second.registry.keys()).toEqual([]);
  await second.kill();
});

test('a start that fails while it reads a log that was replaced leaves the rest to the next one', async () => {
  const first = await start();
  await first.directory.record(enrolmentOf(1));
  await first.directory.record(enrolmentOf(4));
  await first.directory.settle(entries.length);
  await first.kill();
  const [, second] = entries;
  entries = entries.slice(0, 1);
  isUnreadable = true;
  await expect(start()).rejects.toThrow('unreadable');
  isUnreadable = false;
  // What a failing start writes of itself may make the log longer than the one before.
  entries.push(second!, second!, second!);

  const later = await start();
  expect(later.directory.all().map(({ deviceId }) => deviceId)).toEqual([idOf(1), idOf(4)]);
  await later.kill();
});

test('a write of access tokens that is under way is not taken for done', async () => {
  const first = await start();
  const wanted = { name: 'ann', scopes: ['read'] as const, expiresAt: null };
  const { token } = await first.access.create(wanted, ADMIN);
  let refuse = (_why: Error): void => {};
  first.holdTokens(
    new Promise<void>((_resolve, reject) => {
      refuse = reject;
    }),
  );
  const revoked = first.access.revoke(token.hash, ADMIN);
  while (entries.length < 2) await new Promise(setImmediate);
  await new Promise(setImmediate);
  const settled = first.access.settle();
  refuse(new Error('refused'));
  expect(await settled).toBe(false);
  await revoked;
  await first.kill();
});

test('a text that the log says is gone is gone after a crash, and no other', async () => {
  const first = await start();
  const subject = idOf(1);
  await first.directory.record(enrolmentOf(1));
  const site = await first.texts.keep(subject, 'site', 'Elm Street 5');
  const place = { group: 'default', cell: '' };
  await first.directory.record({ action: 'site', subject, ...place, text: site });
  const notes = await first.texts.keep(subject, 'notes', 'key under the mat');
  await first.directory.record({ action: 'notes', subject, text: notes });
  await first.directory.record({ action: 'notes', subject, text: null });
  await first.kill();

  const second = await start();
  expect(await second.texts.find(toHex(notes))).toBeNull();
  expect(await second.texts.find(toHex(site))).toMatchObject({ text: 'Elm Street 5' });
  await second.kill();
});

describe('site and notes that were written for a newcomer', () => {
  const place = { uses: 1, expiresAt: NOW + 1, group: 'default', cell: '' };
  const said = { site: 'Elm Street 5', notes: 'ring twice' };
  type Started = Awaited<ReturnType<typeof start>>;

  async function expectDescribed({ directory, texts, registry }: Started, expected = said) {
    const { site, notes } = directory.get(idOf(1))!.texts;
    expect([await texts.find(site), await texts.find(notes)]).toMatchObject([
      ...[{ text: expected.site }, { text: expected.notes }],
    ]);
    expect(await registry.tokens()).toMatchObject([{ used: 1, site: '', notes: '' }]);
  }

  /** As an enrolment does it. */
  async function enter({ tokens, registry, directory, newcomers }: Started, write = true) {
    const { secret } = await tokens.create({ ...place, ...said }, ADMIN);
    const token = await registry.useToken(secret, NOW);
    const enrolment = { ...enrolmentOf(1), token: fromHex(token.hash) } as RegistryAction;
    const record = () => directory.record(enrolment);
    return write ? newcomers.enter(idOf(1), token, record) : record();
  }

  test('are its own after a crash behind its entry, and are written once', async () => {
    const first = await start();
    await enter(first, false);
    await first.kill();
    const second = await start();
    await expectDescribed(second);
    await second.kill();
    const size = entries.length;
    const third = await start();
    await expectDescribed(third);
    expect([third.applied, entries.length]).toEqual([0, size]);
    await third.kill();
  });

  test('are tried again while the database refuses them, and by the next start', async () => {
    const first = await start();
    const { keep } = first.texts;
    first.texts.keep = () => Promise.reject(new Error('down'));
    expect(await enter(first)).toMatchObject({ texts: { site: null, notes: null } });
    expect([await first.newcomers.settle(), first.failures.length]).toEqual([false, 2]);
    first.texts.keep = (deviceId, kind, text) =>
      kind === 'site' ? keep.call(first.texts, deviceId, kind, text) : Promise.reject(new Error());
    expect(await first.newcomers.settle()).toBe(false);
    await first.kill();
    const second = await start();
    await expectDescribed(second);
    const actions = entries.map((entry) => entry.type === 'registry' && entry.action);
    expect(actions).toEqual(['token', 'enrol', 'site', 'notes']);
    await second.kill();
  });

  test('do not go before what somebody has written of it since', async () => {
    const first = await start();
    const { keep } = first.texts;
    first.texts.keep = () => Promise.reject(new Error('down'));
    await enter(first);
    first.texts.keep = keep;
    const text = await first.texts.keep(idOf(1), 'site', 'Ash Lane 7');
    const subject = idOf(1);
    await first.directory.record({ action: 'site', subject, group: 'west', cell: '', text });
    expect(await first.newcomers.settle()).toBe(true);
    await expectDescribed(first, { ...said, site: 'Ash Lane 7' });
    await first.kill();
  });
});

test('of access tokens that have ended only the newest are kept, and the others let nobody in', async () => {
  const first = await start();
  const made: { readonly text: string; readonly hash: string }[] = [];
  for (let i = 0; i < 6; i += 1) {
    const wanted = { name: `of ${i}`, scopes: ['read'] as const, expiresAt: null };
    const { text, token } = await first.access.create(wanted, ADMIN);
    made.push({ text, hash: token.hash });
    if (i > 0) await first.access.revoke(token.hash, ADMIN);
  }
  await first.access.create({ name: 'last', scopes: ['read'], expiresAt: null }, ADMIN);
  await first.access.settle();
  const names = ['of 0', 'of 4', 'of 5', 'last'];
  expect(first.access.list().map(({ name }) => name)).toEqual(names);
  await first.directory.settle(entries.length);
  await first.kill();

  const second = await start();
  expect(
    second.access
      .list()
      .map(({ name }) => name)
      .sort(),
  ).toEqual([...names].sort());
  expect(made.map(({ text }) => second.access.judge(text)?.name ?? null)).toEqual([
    ...['of 0', null, null, null, null, null],
  ]);
  await second.kill();
});

test('a text that the database would not erase is erased later, and until then the log is not applied', async () => {
  const started = await start();
  const { directory, texts, refuseErasing } = started;
  const desk = new DetailsDesk(directory, texts);
  const subject = idOf(1);
  await directory.record(enrolmentOf(1));
  await desk.notes(subject, 'of Ann');
  const { notes } = directory.require(subject).texts;
  refuseErasing(true);
  await expect(desk.notes(subject, null)).rejects.toMatchObject({
    code: 'ERR_REGISTRY_DATABASE',
    message: expect.stringContaining('in the log'),
  });
  expect(directory.require(subject).texts.notes).toBeNull();
  expect(await eraseOwed(directory, texts)).toBe(false);
  expect(await texts.find(notes)).toMatchObject({ text: 'of Ann' });
  refuseErasing(false);
  expect(await eraseOwed(directory, texts)).toBe(true);
  expect(await texts.find(notes)).toBeNull();

  const full = new Error('log full');
  jest.spyOn(evidence, 'append').mockRejectedValueOnce(full);
  await expect(desk.notes(subject, 'of Bob')).rejects.toBe(full);
  expect(texts.owedErasures).toEqual([{ deviceId: subject, kind: 'notes' }]);
  expect(await eraseOwed(directory, texts)).toBe(true);
  expect(await started.countTexts()).toBe(0);
  await started.kill();
});
