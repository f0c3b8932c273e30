import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRegistryDatabase } from '@fieldproof/broker/registry/database';
import { Migrator, sql } from '@fieldproof/broker/registry/query-builder';
import { Registry, tokenHash } from '@fieldproof/broker/registry/registry';
import { MIGRATIONS } from '@fieldproof/broker/registry/schema';
import { afterAll, describe, expect, test } from '@jest/globals';
import { ask, describeWithPostgres } from '../support/postgres.ts';

const SECRET = new Uint8Array(16).fill(7);
const HASH = tokenHash(SECRET);

/** Takes away what later versions have brought, and puts in what the first has written. */
async function makeOldest(database: { readonly url: string; readonly file: string }) {
  const db = await openRegistryDatabase(database);
  for (const table of [
    ...['devices', 'device_keys', 'tokens', 'access_tokens', 'quarantine', 'births'],
    ...['fresh_births', 'device_texts', 'settings', 'kysely_migration', 'kysely_migration_lock'],
  ]) {
    await sql`drop table ${sql.table(table)}`.execute(db);
  }
  const [oldest] = Object.entries(MIGRATIONS);
  const provider = { getMigrations: async () => Object.fromEntries([oldest!]) };
  expect((await new Migrator({ db, provider }).migrateToLatest()).error).toBeUndefined();
  await sql`insert into devices values ('z6MkA', ${Buffer.alloc(32, 5)}, 'did:key:z6MkOwner', 'Dach', 'default',
    '', '[]', 'active', 'test 1', 1, 2, 1795000000000, 3)`.execute(db);
  await sql`insert into tokens values (${HASH}, 5, 2, 1, 1795000000000, 'default', '', 0)`.execute(
    db,
  );
  await sql`insert into quarantine values ('z6MkA', 7, 4000000000, 1)`.execute(db);
  await db.destroy();
}

/** What every engine must do. */
function contract(database: () => Promise<{ readonly url: string; readonly file: string }>): void {
  test('a database of the first version is brought up to date, with what is in it', async () => {
    const options = await database();
    await makeOldest(options);
    for (const name of ['first', 'second']) {
      const db = await openRegistryDatabase(options);
      const migrations = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
      const names = migrations.rows.map((row) => row.name).sort();
      expect([name, ...names]).toEqual([name, ...Object.keys(MIGRATIONS)]);
      const registry = new Registry(db);
      expect(await registry.devices()).toEqual([
        expect.objectContaining({
          ...{ deviceId: 'z6MkA', publicKey: new Uint8Array(32).fill(5), name: 'Dach' },
          ...{ credentialExpires: 1_795_000_000_000, logIndex: 3, retired: [], suspension: null },
        }),
      ]);
      const was = { uses: 5, used: 2, device: '', compromised: false, name: '', site: '' };
      expect(await registry.tokens()).toEqual([expect.objectContaining(was)]);
      const boot = { bootCounter: 7, bootSeed: 4_000_000_000 };
      expect(await registry.unloggedQuarantines()).toEqual([{ deviceId: 'z6MkA', ...boot }]);
      // Uses before are behind what a start reads from the log.
      await registry.raiseUses(HASH, 0, false);
      expect((await registry.tokens())[0]?.used).toBe(2);
      await registry.close();
    }
  });
}

describe('the chain of migrations on SQLite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-schema-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  contract(async () => ({ url: '', file: join(folder, 'registry.sqlite') }));
});

describeWithPostgres('the chain of migrations on PostgreSQL', (server) => {
  contract(async () => ({ url: await server.database(), file: '' }));

  test('tables of the same names in other schemas are left alone, and not taken for ours', async () => {
    const url = await server.database();
    await ask(
      url,
      `create schema auth;
      create table auth.tokens (name text, site_text text, notes text, device_id text, compromised text, used_before int);
      create table auth.devices (rights text);
      create table auth.access_tokens (made_by text);
      create table auth.kysely_migration (name text, timestamp text);
      insert into auth.kysely_migration values ('999_of_theirs', '');
      create table auth.kysely_migration_lock (id text, is_locked int)`,
    );
    const registry = new Registry(await openRegistryDatabase({ url, file: '' }));
    await registry.putToken(HASH, { uses: 1, createdAt: 1, expiresAt: 2, group: 'g', cell: '' });
    expect(await registry.tokens()).toHaveLength(1);
    expect(await registry.devices()).toEqual([]);
    await registry.close();
    expect(await ask(url, 'select name from auth.kysely_migration')).toHaveLength(1);
    expect(await ask(url, 'select * from auth.tokens')).toEqual([]);
  });

  test('a search path that has another schema first later on finds its tables again', async () => {
    const url = new URL(await server.database());
    const first = new Registry(await openRegistryDatabase({ url: url.href, file: '' }));
    await first.setSetting('a', '1');
    await first.close();
    await ask(url.href, `create schema "Other one"`);
    url.searchParams.set('options', '-c search_path="Other\\ one",public');
    const second = new Registry(await openRegistryDatabase({ url: url.href, file: '' }));
    expect(await second.setting('a')).toBe('1');
    await second.close();
  });
});
