import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRegistryDatabase } from '@fieldproof/broker/registry/database';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import LibsqlDatabase from 'libsql';

const HEAD_BYTES = 32;
/** Header and page. */
const FRAME_BYTES = 24 + 4096;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-torn-registry-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a first start that was cut off anywhere in the registry does not stop the next', async () => {
  const first = join(folder, 'first.sqlite');
  const db = await openRegistryDatabase({ url: '', file: first });
  const wal = readFileSync(`${first}-wal`);
  const main = join(folder, 'main.sqlite');
  copyFileSync(first, main);
  await db.destroy();
  const frames = (wal.length - HEAD_BYTES) / FRAME_BYTES;
  expect(frames).toBeGreaterThan(10);
  for (let frame = 0; frame <= frames; frame += 1) {
    const file = join(folder, `${frame}.sqlite`);
    copyFileSync(main, file);
    // With a part of the next frame behind.
    writeFileSync(`${file}-wal`, wal.subarray(0, HEAD_BYTES + frame * FRAME_BYTES + 100));
    const again = await openRegistryDatabase({ url: '', file });
    await again.destroy();
    const tables = new LibsqlDatabase(file)
      .prepare("select name from sqlite_master where type = 'table' and name not like '%kysely%'")
      .all() as { name: string }[];
    expect(
      tables
        .map(({ name }) => name)
        .filter((name) => !name.startsWith('sqlite'))
        .sort(),
    ).toEqual([
      'access_tokens',
      'births',
      'device_keys',
      'device_texts',
      'devices',
      'fresh_births',
      'quarantine',
      'settings',
      'tokens',
    ]);
  }
});
