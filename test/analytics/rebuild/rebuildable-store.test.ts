import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RebuildableStore } from '@fieldproof/analytics/rebuild/rebuildable-store';
import { afterEach, beforeEach, expect, test } from '@jest/globals';

const precision = 'u';
const NONE = { code: 'ERR_REBUILD_NONE' };
const lines = (...seconds: number[]) =>
  Buffer.from(seconds.map((s) => `air,device=d t=${s} ${s}000000\n`).join(''));

let folder: string;
let store: RebuildableStore;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-rebuildable-'));
  store = new RebuildableStore({ dataDir: folder });
  await store.open();
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

const times = async () => {
  const found = await store.range({ profile: 'air', metric: 't', fromMs: 0, toMs: 1e6 });
  return found.flatMap(({ timesMs }) => [...timesMs]);
};

test('a rebuild writes nothing into the store of one that began after it, and does not exchange or end that', async () => {
  await store.writeLines(lines(1, 2, 3, 4), { precision });
  const first = await store.begin();
  await store.writeRebuilt(lines(1, 2), { precision, id: first.id });
  const second = await store.begin();
  expect(second).toMatchObject({ profiles: ['air'] });
  await expect(store.writeRebuilt(lines(3), { precision, id: first.id })).rejects.toMatchObject(
    NONE,
  );
  await expect(store.hold(first.id)).rejects.toMatchObject(NONE);
  await store.writeRebuilt(lines(1, 2, 3), { precision, id: second.id });
  await store.hold(second.id);
  await expect(store.commit({ id: first.id })).rejects.toMatchObject(NONE);
  await store.abort(first.id);
  expect(await times()).toEqual([1000, 2000, 3000, 4000]);
  await store.writeRebuilt(lines(4, 5), { precision, id: second.id });
  await store.commit({ id: second.id });
  expect(await times()).toEqual([1000, 2000, 3000, 4000, 5000]);
});

test('who names no rebuild means the one that began last', async () => {
  await store.begin();
  await store.writeRebuilt(lines(7), { precision });
  await store.hold();
  await store.commit();
  expect(await times()).toEqual([7000]);
  await expect(store.hold()).rejects.toMatchObject(NONE);
});
