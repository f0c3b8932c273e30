import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  decodeCursor,
  deleteCursor,
  encodeCursor,
  loadCursor,
  saveCursor,
} from '@fieldproof/analytics/projection/cursor-file';
import {
  applyChange,
  dumpState,
  emptyState,
} from '@fieldproof/analytics/projection/projector-state';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { fakeDevice, NOON } from './evidence.ts';

let folder = '';
let path = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cursor-'));
  path = join(folder, 'sub', 'a.cursor');
});
afterEach(() => rmSync(folder, { recursive: true }));

function state() {
  const made = emptyState();
  const { key: bytes, id } = fakeDevice(1);
  const key = Buffer.from(bytes).toString('latin1');
  const boot = { key, id, counter: 0xffff_ffff, seed: 0xfedc_ba98 };
  applyChange(made, { type: 'log', logId: 'ab' });
  applyChange(made, { type: 'device', key, id, fields: { name: 'Dach', cell: '8a', group: 'ü' } });
  applyChange(made, { type: 'source', source: 'replay', ...boot });
  applyChange(made, { type: 'anchor', anchorMs: NOON - 0.5, ...boot });
  applyChange(made, { type: 'wait', index: 2 ** 40, ...boot, counter: 3 });
  return made;
}

test('index and state come back as they were', async () => {
  await saveCursor(path, { index: 2 ** 41, state: state() });
  const { index, state: loaded, problems } = await loadCursor(path);
  expect([index, problems]).toEqual([2 ** 41, []]);
  expect(dumpState(loaded)).toEqual(dumpState(state()));
  expect(loaded.waiting).toBe(1);
});

test('without a file it begins at 0', async () => {
  expect(await loadCursor(path)).toMatchObject({ index: 0, problems: [] });
});

test('a torn file gives way to the one before, and that is said', async () => {
  await saveCursor(path, { index: 5, state: emptyState() });
  await saveCursor(path, { index: 9, state: emptyState() });
  writeFileSync(path, readFileSync(path).subarray(0, 25));
  const { index, problems } = await loadCursor(path);
  expect(index).toBe(5);
  expect(problems.map(({ code }) => code)).toEqual(['ERR_CURSOR_CORRUPT']);
  writeFileSync(`${path}.previous`, 'nonsense');
  expect(await loadCursor(path)).toMatchObject({ index: 0, problems: [{}, {}] });
});

test('a crash between the renames leaves the one before', async () => {
  await saveCursor(path, { index: 5, state: emptyState() });
  writeFileSync(`${path}.previous`, readFileSync(path));
  rmSync(path);
  expect(await loadCursor(path)).toMatchObject({ index: 5, problems: [] });
});

test('every cut and every changed byte is found', () => {
  const good = encodeCursor({ index: 77, state: state() });
  expect(decodeCursor(good).index).toBe(77);
  for (let i = 0; i < good.length; i++) {
    expect(() => decodeCursor(good.subarray(0, i))).toThrow();
    expect(() => decodeCursor(good.map((b, j) => (j === i ? b ^ 1 : b)))).toThrow();
  }
});

test('a deleted cursor is gone with the one before', async () => {
  await saveCursor(path, { index: 5, state: emptyState() });
  await saveCursor(path, { index: 9, state: emptyState() });
  await deleteCursor(path);
  expect(await loadCursor(path)).toMatchObject({ index: 0 });
});
