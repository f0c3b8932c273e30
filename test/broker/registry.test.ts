import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AccessToken,
  putAccessTokens,
  readAccessTokens,
  removeAccessTokens,
} from '@fieldproof/broker/registry/access-table';
import { openRegistryDatabase, type RegistryDatabase } from '@fieldproof/broker/registry/database';
import { DeviceTexts } from '@fieldproof/broker/registry/device-texts';
import { type Device, Registry, tokenHash } from '@fieldproof/broker/registry/registry';
import { toHex } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { describeWithPostgres } from '../support/postgres.ts';

const DEVICE: Device = {
  deviceId: 'z6MkA',
  publicKey: Uint8Array.from({ length: 32 }, (_, i) => 255 - i),
  owner: 'did:key:z6MkOwner',
  name: 'Dach “Süd”',
  group: 'default',
  cell: '871f8c6edffffff',
  streams: [{ metric: 'air/temperature', cadenceMs: 60_000, resolution: 0.01 }],
  status: 'suspended',
  firstBoot: 9,
  retired: [
    { publicKey: new Uint8Array(32).fill(3), firstBoot: 0, endBoot: 9, until: 1_796_000_000_000 },
  ],
  formerOwners: ['did:key:z6MkFormer'],
  texts: { site: 'ab'.repeat(32), notes: null },
  suspension: {
    index: 6,
    at: 1_795_000_000_000,
    kind: 'operator',
    reason: 'smoke in the sensor',
    evidence: [3, 4],
    until: null,
    appealUntil: 1_797_000_000_000,
    appeal: { index: 7, at: 1_795_000_000_000 },
    decision: null,
  },
  quarantined: [{ bootCounter: 7, bootSeed: 0xffff_ffff }],
  delegation: { gateway: 'z6MkB', issued: 3, expires: null, index: 11 },
  released: [{ bootCounter: 8, bootSeed: 0 }],
  agent: 'test 1',
  enrolledAt: 1_795_000_000_000,
  credentialIssued: 1_795_000_000_001,
  credentialExpires: 1_802_776_000_000,
  logIndex: 7,
};

/** What every engine must do. */
function contract(open: () => Promise<RegistryDatabase>): void {
  let db: RegistryDatabase;
  let registry: Registry;

  beforeAll(async () => {
    db = await open();
    registry = new Registry(db);
  });

  beforeEach(async () => {
    for (const table of [
      'devices',
      'device_keys',
      'tokens',
      'access_tokens',
      'quarantine',
      'fresh_births',
      'device_texts',
      'settings',
    ] as const) {
      await db.deleteFrom(table).execute();
    }
  });

  afterAll(async () => {
    await registry?.close();
  });

  test('a device comes back as it was put', async () => {
    await registry.apply([DEVICE]);
    const found = await registry.device(DEVICE.deviceId);
    expect(found).toEqual(DEVICE);
    expect(found?.publicKey).toBeInstanceOf(Uint8Array);
    expect(await registry.devices()).toEqual([DEVICE]);
    expect(await registry.device('z6MkB')).toBeNull();
  });

  test('applying again replaces; how far the log is applied is said apart from it', async () => {
    const later: Device = { ...DEVICE, status: 'active', logIndex: 12 };
    await registry.apply([DEVICE, later]);
    expect(await registry.devices()).toEqual([later]);
    expect(await registry.appliedThrough()).toBe(-1);
    await registry.markApplied(12);
    expect(await registry.appliedThrough()).toBe(12);
  });

  test('it is of one network, the first that takes it', async () => {
    await registry.claim('h7dz6lhl');
    await registry.claim('h7dz6lhl');
    await expect(registry.claim('other')).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });

  test('keys stay known that the device itself has forgotten', async () => {
    const key = (fill: number) => signerFromSeed(new Uint8Array(32).fill(fill)).publicKey;
    const deviceId = deviceIdFromPublicKey(key(1));
    const retired = (fill: number) => ({ ...DEVICE.retired[0]!, publicKey: key(fill) });
    const device = { ...DEVICE, deviceId };
    await registry.apply([{ ...device, publicKey: key(2), retired: [retired(1)] }]);
    await registry.apply([{ ...device, publicKey: key(3), retired: [retired(2), retired(1)] }]);
    await registry.apply([{ ...device, publicKey: key(4), retired: [retired(3)] }]);
    const keys = [...(await registry.keys())].map(({ keyId }) => keyId).sort();
    expect(keys).toEqual([2, 3, 4].map((fill) => deviceIdFromPublicKey(key(fill))).sort());
    await registry.forgetDevices();
    expect([await registry.devices(), await registry.keys()]).toEqual([[], []]);
  });

  test('a token says whose place it is for', async () => {
    const plain = { uses: 1, createdAt: 1, expiresAt: 100, group: 'g', cell: '' };
    const secrets = [1, 2].map((fill) => new Uint8Array(16).fill(fill));
    await registry.putToken(tokenHash(secrets[0]!), plain);
    await registry.putToken(tokenHash(secrets[1]!), {
      ...plain,
      device: 'z6MkA',
      compromised: true,
      madeBy: 'ef'.repeat(32),
    });
    expect(await registry.token(secrets[0]!)).toMatchObject({
      ...{ device: '', compromised: false, madeBy: null },
    });
    expect(await registry.token(secrets[1]!)).toMatchObject({
      ...{ device: 'z6MkA', compromised: true, madeBy: 'ef'.repeat(32) },
    });
    expect(await registry.token(new Uint8Array(16))).toBeNull();
  });

  test('a token is used as often as it says, also by many at once', async () => {
    const secret = Uint8Array.from({ length: 16 }, (_, i) => i);
    await registry.putToken(tokenHash(secret), {
      uses: 3,
      createdAt: 1,
      expiresAt: 100,
      group: 'g',
      cell: '',
    });
    const uses = await Promise.allSettled(
      Array.from({ length: 8 }, () => registry.useToken(secret, 50)),
    );
    expect(uses.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    expect((await registry.tokens())[0]).toMatchObject({ used: 3, uses: 3 });
  });

  test('a use that is given back can be taken again, and is not among those that were noted', async () => {
    const secret = new Uint8Array(16);
    const hash = tokenHash(secret);
    const token = { uses: 2, createdAt: 1, expiresAt: 100, group: 'g', cell: '' };
    await registry.putToken(hash, token);
    await registry.giveBack(hash);
    expect((await registry.tokens())[0]?.used).toBe(0);
    await registry.useToken(secret, 50);
    await registry.markApplied(0);
    await registry.giveBack(hash);
    await registry.useToken(secret, 50);
    await registry.raiseUses(hash, 1, false);
    expect((await registry.tokens())[0]?.used).toBe(1);
  });

  test('a token that is there stays as it is, and its uses only grow', async () => {
    const token = { uses: 3, createdAt: 1, expiresAt: 100, group: 'g', cell: '' };
    const hash = tokenHash(new Uint8Array(16));
    await registry.putToken(hash, token);
    await registry.useToken(new Uint8Array(16), 50);
    await registry.putToken(hash, { ...token, uses: 9 });
    for (const [named, used] of [
      [0, 1],
      [2, 2],
      [1, 2],
    ] as const) {
      await registry.raiseUses(hash, named, true);
      expect(await registry.tokens()).toEqual([expect.objectContaining({ hash, uses: 3, used })]);
    }
  });

  test.each([
    ['expired', 100],
    ['revoked', 50],
    ['unknown', 50],
  ])('a token that is %s is refused', async (why, now) => {
    const secret = new Uint8Array(16);
    await registry.putToken(tokenHash(secret), {
      uses: 3,
      createdAt: 1,
      expiresAt: 100,
      group: 'g',
      cell: '',
    });
    if (why === 'revoked') expect(await registry.revokeToken(tokenHash(secret))).toBe(true);
    const used = why === 'unknown' ? Uint8Array.of(1) : secret;
    await expect(registry.useToken(used, now)).rejects.toMatchObject({ code: 'ERR_TOKEN_INVALID' });
    expect((await registry.tokens())[0]?.used).toBe(0);
  });

  test('access tokens come back as they were put, the newest state of each', async () => {
    const token: AccessToken = {
      ...{ hash: 'ab'.repeat(32), name: 'Ann “am Dach” Müller', scopes: ['read', 'mqtt'] },
      ...{ createdAt: 1_795_000_000_000, expiresAt: null, revoked: false, lastUsedAt: null },
      madeBy: 'ef'.repeat(32),
    };
    const later: AccessToken = {
      ...{ ...token, revoked: true },
      ...{ expiresAt: 1_797_000_000_000, lastUsedAt: 1_796_000_000_000 },
    };
    const other = { ...token, hash: 'cd'.repeat(32), name: '', createdAt: 1_795_000_000_001 };
    await putAccessTokens(db, [token, other]);
    expect(await readAccessTokens(db)).toEqual([token, other]);
    await putAccessTokens(db, [later]);
    expect(await readAccessTokens(db)).toEqual([later, other]);
  });

  test('fresh births are replaced, with a device or without one', async () => {
    const boot = { bootCounter: 4_294_967_295, bootSeed: 4_000_000_000 };
    const births = { deviceId: 'z6MkA', boots: [boot], index: 3 };
    await registry.apply([], [births]);
    expect(await registry.appliedThrough()).toBe(-1);
    const later = { ...births, boots: [boot, { bootCounter: 0, bootSeed: 0 }], index: 5 };
    await registry.apply([DEVICE], [later]);
    expect(await registry.freshBirths()).toEqual([later]);
    await registry.forgetFreshBirths();
    expect(await registry.freshBirths()).toEqual([]);
  });

  test('texts are found by their hash, and all others of their kind are erased', async () => {
    let salts = 0;
    const texts = new DeviceTexts({
      db,
      random: (bytes) => new Uint8Array(bytes).fill(++salts),
      now: () => 1_795_000_000_000,
    });
    const first = toHex(await texts.keep('z6MkA', 'site', 'Dach “Süd”'));
    const second = toHex(await texts.keep('z6MkA', 'site', 'Dach “Süd”'));
    const notes = toHex(await texts.keep('z6MkA', 'notes', 'x\ny'));
    const others = toHex(await texts.keep('z6MkB', 'site', ''));
    expect(await texts.find(first)).toEqual({
      text: 'Dach “Süd”',
      salt: new Uint8Array(16).fill(1),
    });
    expect(first).not.toBe(second);
    await texts.eraseOthers('z6MkA', 'site', second);
    const left = await Promise.all([first, second, notes, others, null].map((c) => texts.find(c)));
    expect(left.map((found) => found?.text ?? null)).toEqual([
      null,
      'Dach “Süd”',
      'x\ny',
      '',
      null,
    ]);
    await texts.eraseOthers('z6MkA', 'notes', null);
    expect(await texts.find(notes)).toBeNull();
  });

  test('a quarantine of an earlier version is there until it is logged', async () => {
    const boot = { bootCounter: 4_294_967_295, bootSeed: 4_000_000_000 };
    const row = { boot_counter: boot.bootCounter, boot_seed: boot.bootSeed, created_at: 1 };
    await db
      .insertInto('quarantine')
      .values({ device_id: 'z6MkA', ...row })
      .execute();
    await registry.forgetUnloggedQuarantine('z6MkB', boot);
    expect(await registry.unloggedQuarantines()).toEqual([{ deviceId: 'z6MkA', ...boot }]);
    await registry.forgetUnloggedQuarantine('z6MkA', boot);
    expect(await registry.unloggedQuarantines()).toEqual([]);
  });
}

describe('SQLite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-registry-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'registry.sqlite');
  contract(() => openRegistryDatabase({ url: '', file }));

  test('nothing is left on disk of texts of a revoked token, and of names of access tokens that are forgotten', async () => {
    const file = join(folder, 'erased.sqlite');
    const db = await openRegistryDatabase({ url: '', file });
    const onDisk = () =>
      ['', '-wal'].map((end) => readFileSync(`${file}${end}`, 'latin1')).join('');
    const hash = 'ab'.repeat(32);
    const registry = new Registry(db);
    await registry.putToken(hash, {
      ...{ uses: 1, createdAt: 1, expiresAt: 100, group: 'g', cell: '' },
      ...{ site: 'Elm Street 5', notes: 'key under the mat' },
    });
    const made = { createdAt: 1, expiresAt: null, madeBy: null, revoked: true, lastUsedAt: null };
    await putAccessTokens(db, [{ hash, name: 'Ann Example', scopes: ['read'], ...made }]);
    const texts = /Elm Street|under the mat|Ann Example/g;
    expect(onDisk().match(texts)).toHaveLength(3);
    await registry.revokeToken(hash);
    await removeAccessTokens(db, [hash]);
    expect(onDisk().match(texts)).toBeNull();
    await db.destroy();
  });

  test('one that does not answer is named to whoever has or asks for a token', async () => {
    const gone = new Registry(await openRegistryDatabase({ url: '', file: join(folder, 'gone') }));
    await gone.close();
    const secret = new Uint8Array(16);
    const asking = [() => gone.token(secret), () => gone.useToken(secret, 1), () => gone.tokens()];
    for (const ask of asking) {
      await expect(ask()).rejects.toMatchObject({ code: 'ERR_REGISTRY_DATABASE' });
    }
  });

  test('a database of a newer version is refused', async () => {
    const other = join(folder, 'newer.sqlite');
    const db = await openRegistryDatabase({ url: '', file: other });
    const row = { name: '999_later', timestamp: new Date().toISOString() };
    await (db as never as import('kysely').Kysely<{ kysely_migration: typeof row }>)
      .insertInto('kysely_migration')
      .values(row)
      .execute();
    await db.destroy();
    await expect(openRegistryDatabase({ url: '', file: other })).rejects.toMatchObject({
      code: 'ERR_DATA_NEWER',
    });
  });
});

describeWithPostgres('registry on PostgreSQL', (server) => {
  contract(async () => openRegistryDatabase({ url: await server.database(), file: '' }));
});
