import { openRegistryDatabase, type RegistryDatabase } from '@fieldproof/broker/registry/database';
import { Registry } from '@fieldproof/broker/registry/registry';
import { afterEach, beforeAll, expect, test } from '@jest/globals';
import { type BreakableLink, openBreakableLink } from '../support/breakable-link.ts';
import { ask, describeWithPostgres } from '../support/postgres.ts';

const OTHERS = `select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid()`;

describeWithPostgres('a PostgreSQL that goes away', (server) => {
  const limits = { connectMs: 1000, silenceMs: 300 };
  let url: string;
  let link: BreakableLink | null = null;
  let db: RegistryDatabase | null = null;
  let lost: Error[];

  beforeAll(async () => {
    url = await server.database();
  });

  const open = async (address = url) => {
    lost = [];
    db = await openRegistryDatabase({
      ...{ url: address, file: '', limits },
      onLost: (error) => lost.push(error),
    });
    return { db, registry: new Registry(db) };
  };

  afterEach(async () => {
    await db?.destroy();
    db = null;
    await link?.close();
    link = null;
  });

  test('ending idle connections is told of, and the next query has another', async () => {
    const { registry } = await open();
    await registry.setSetting('a', '1');
    await ask(url, OTHERS);
    await until(() => lost.length > 0);
    expect(lost.map(({ message }) => message)).toEqual([expect.stringContaining('terminating')]);
    expect(await registry.setting('a')).toBe('1');
  });

  test('ending one in the middle of a transaction fails that, and no more', async () => {
    const { db, registry } = await open();
    const cut = db.transaction().execute(async (tx) => {
      await tx.insertInto('settings').values({ key: 'b', value: 'half' }).execute();
      await ask(url, OTHERS);
      await until(() => lost.length > 0);
      await tx.insertInto('settings').values({ key: 'c', value: 'half' }).execute();
    });
    await expect(cut).rejects.toThrow();
    expect(lost).toHaveLength(1);
    expect([await registry.setting('b'), await registry.setting('c')]).toEqual([null, null]);
  });

  test('a silent one fails what is asked of it, and takes it when it is back', async () => {
    link = await openBreakableLink(url);
    const { db, registry } = await open(link.url);
    await registry.setSetting('d', 'before');
    const cut = db.transaction().execute(async (tx) => {
      await tx.updateTable('settings').set({ value: 'half' }).where('key', '=', 'd').execute();
      link?.silence();
      await tx.updateTable('settings').set({ value: 'all' }).where('key', '=', 'd').execute();
    });
    await expect(cut).rejects.toThrow();
    expect(lost.map(({ message }) => message)).toEqual(['postgres: no answer for 300 ms']);
    await expect(registry.setting('d')).rejects.toThrow('timeout');
    link.break();
    // The other end of the cut transaction must be gone before its row is free.
    expect(await registry.setting('d')).toBe('before');
    await registry.setSetting('d', 'after');
    expect(await registry.setting('d')).toBe('after');
  });

  test('a long answer that keeps coming is no silence', async () => {
    const { db } = await open();
    const { rows } = await import('kysely').then(({ sql }) =>
      sql<{ n: string }>`
        select case when n % 4 = 0 then pg_sleep(0.02)::text else repeat('x', 2000) end as n
        from generate_series(1, 120) as n`.execute(db),
    );
    expect(rows).toHaveLength(120);
  });

  test('closing does not wait for a silent one', async () => {
    link = await openBreakableLink(url);
    const { registry } = await open(link.url);
    await registry.setting('a');
    link.silence();
    await registry.close();
    await until(() => link?.connections === 0);
  });

  test('one that is not there is named at the start, without the password', async () => {
    link = await openBreakableLink(url);
    const nobody = new URL(link.url);
    await link.close();
    nobody.password = 'open sesame';
    const opening = openRegistryDatabase({ url: nobody.href, file: '', limits });
    await expect(opening).rejects.toMatchObject({
      code: 'ERR_REGISTRY_DATABASE',
      message: expect.stringMatching(/^registry: expected .* got connect ECONNREFUSED [^@]*$/),
    });
  });
});

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}
