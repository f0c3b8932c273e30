import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type WindowBatch, WindowService } from '@fieldproof/analytics/projection/window-service';
import type { ReadingTable } from '@fieldproof/compute/readings';
import { encode } from '@fieldproof/protocol/cbor';
import { crc32c } from '@fieldproof/protocol/crc32c';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

const NOON = 1_795_262_400_000;
let folder = '';
let now = NOON;
let problems: string[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'window-'));
  now = NOON;
  problems = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = (windowMs = 60_000) =>
  WindowService.open({
    path: join(folder, 'w.state'),
    windowMs,
    graceMs: 5000,
    horizonMs: 3_600_000,
    saveMs: 5,
    clock: () => now,
    log: (error) => problems.push((error as Error & { code: string }).code),
  });

const table = (timeMs: number, value: number): ReadingTable => ({
  profile: 'air',
  device: 'd',
  cell: '',
  group: '',
  source: 'sensor',
  timesMs: Float64Array.of(timeMs),
  columns: [{ metric: 't', unit: 'Cel', type: 'float', values: Float64Array.of(value) }],
});

/** Entries `from` to `to`, each with one reading. */
function batch(from: number, to: number, timeMs = NOON, atMs = now): WindowBatch {
  const entryIndexes = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  return {
    stream: 't',
    tables: entryIndexes.map((i) => table(timeMs, i)),
    entryIndexes,
    settled: [[from, to]],
    atMs,
  };
}

test('a repeated entry counts once, after a restart too, whatever the batches are cut like', async () => {
  const first = await open();
  await first.apply(batch(0, 5));
  await first.apply(batch(3, 8));
  await first.close();
  const second = await open();
  await second.apply(batch(0, 9));
  now += 70_000;
  const group = await second.tick();
  expect(group?.rows).toMatchObject([{ count: 10, sum: 45, version: 1, startMs: NOON }]);
  await second.close();
});

test('what was said to be durable is there after a process that was not ended', async () => {
  const first = await open();
  await first.apply(batch(0, 1));
  await first.apply(batch(2, 3, NOON + 60_000));
  await first.apply(batch(4, 5));
  now += 70_000;
  const group = await first.tick();
  // No close.
  const second = await open();
  expect(second.unstored).toEqual([group]);
  await second.apply(batch(0, 6));
  second.stored(group!.id);
  now += 60_000;
  const next = await second.tick();
  expect(next?.rows).toMatchObject([
    { startMs: NOON, count: 5, sum: 16, version: 2 },
    { startMs: NOON + 60_000, count: 2, sum: 5, version: 1 },
  ]);
  const third = await open();
  expect(third.unstored).toEqual([next]);
  for (const service of [first, second, third]) await service.close();
});

test('a torn end of the journal is said, and its entries are taken when they come again', async () => {
  const first = await open();
  await first.apply(batch(0, 1));
  await first.apply(batch(2, 3));
  await first.close();
  const journal = join(folder, 'w.state.journal-1');
  writeFileSync(journal, readFileSync(journal).subarray(0, -1));
  const second = await open();
  expect(problems).toEqual(['ERR_WINDOW_STATE']);
  // A torn end may as well be damage to what was acknowledged.
  expect(second.needsReplay).toBe(true);
  second.replayed();
  await second.apply(batch(0, 3));
  now += 70_000;
  expect((await second.tick())?.rows).toMatchObject([{ count: 4, sum: 6 }]);
  await second.close();
});

test('late readings open only their own window, with a higher version', async () => {
  const service = await open();
  await service.apply(batch(0, 1));
  await service.apply(batch(2, 3, NOON + 60_000));
  now += 130_000;
  expect((await service.tick())?.rows).toHaveLength(2);
  await service.apply(batch(4, 4));
  expect((await service.tick())?.rows).toMatchObject([{ startMs: NOON, count: 3, version: 2 }]);
  expect(await service.tick()).toBeUndefined();
  await service.close();
});

test('rows stay until they are stored, through a restart', async () => {
  const first = await open();
  await first.apply(batch(0, 1));
  now += 70_000;
  const group = await first.tick();
  await first.close();
  const second = await open();
  expect(second.unstored).toMatchObject([{ id: group!.id, rows: [{ count: 2, version: 1 }] }]);
  second.stored(group!.id);
  await second.close();
  const third = await open();
  expect(third.unstored).toEqual([]);
  await third.apply(batch(2, 2));
  expect((await third.tick())?.id).toBeGreaterThan(group!.id);
  await third.close();
});

test('old evidence is read by its own time: a rebuild gives the windows that there were', async () => {
  const service = await open();
  now = NOON + 30 * 86_400_000;
  await service.apply(batch(0, 1, NOON, NOON));
  expect(await service.tick()).toBeUndefined();
  await service.apply(batch(2, 2, NOON + 70_000, NOON + 70_000));
  expect((await service.tick())?.rows).toMatchObject([{ startMs: NOON, count: 2 }]);
  expect(service.tooLate).toBe(0);
  await service.close();
});

test('a damaged state gives way to the one before, and that is said', async () => {
  const first = await open();
  await first.apply(batch(0, 1));
  await first.apply(batch(2, 3));
  await first.close();
  writeFileSync(join(folder, 'w.state'), 'nonsense');
  const second = await open();
  expect(problems).toEqual(['ERR_WINDOW_STATE']);
  now += 70_000;
  // What the lost state had acknowledged does not come by itself.
  expect(second.needsReplay).toBe(true);
  expect(await second.tick()).toBeUndefined();
  await second.close();
  const third = await open();
  expect(third.needsReplay).toBe(true);
  third.replayed();
  expect(await third.tick()).toBeUndefined();
  await third.apply(batch(0, 3));
  expect((await third.tick())?.rows).toMatchObject([{ count: 4 }]);
  await third.close();
  expect((await open()).needsReplay).toBe(false);
});

test('a state that cannot be written is said, holds what it would acknowledge, and goes on', async () => {
  const first = await open();
  mkdirSync(join(folder, 'w.state.tmp'));
  let isDurable: boolean | undefined;
  const applied = first.apply(batch(0, 3)).then((is) => {
    isDurable = is;
  });
  while (first.problem === undefined) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(first.problem).toMatchObject({ code: 'ERR_STATE_WRITE', transient: true });
  expect(problems).toEqual(['ERR_STATE_WRITE']);
  expect(isDurable).toBeUndefined();
  now += 70_000;
  const ticked = first.tick();
  // Rows of a window that a crash would make anew are not given out.
  expect(first.unstored).toEqual([]);
  rmSync(join(folder, 'w.state.tmp'), { recursive: true });
  await applied;
  await ticked;
  expect(isDurable).toBe(true);
  expect(first.unstored).toMatchObject([{ rows: [{ count: 4 }] }]);
  expect(first.problem).toBeUndefined();
  await first.close();
});

test('a cursor that was lost with its generation does not stop the windows', async () => {
  const first = await open();
  await first.apply({ ...batch(0, 1), generation: 'two' });
  await first.close();
  const second = await open();
  await second.apply(batch(0, 3));
  now += 70_000;
  expect((await second.tick())?.rows).toMatchObject([{ count: 4 }]);
  await second.close();
});

test('another size begins new windows and does not count old entries again', async () => {
  const first = await open();
  await first.apply(batch(0, 3));
  await first.close();
  const second = await open(10_000);
  await second.apply(batch(0, 5));
  now += 70_000;
  expect((await second.tick())?.rows).toMatchObject([{ count: 2, endMs: NOON + 10_000 }]);
  await second.close();
});

test('an outage longer than the horizon makes no reading too late', async () => {
  const first = await open();
  await first.apply(batch(0, 0));
  now += 70_000;
  expect((await first.tick())?.rows).toHaveLength(1);
  // The store was down, so no evidence was read; then the process was down; then it is read where it had been.
  now += 5 * 3_600_000;
  await first.tick();
  await first.close();
  const second = await open();
  await second.tick();
  await second.apply(batch(1, 1, NOON + 60_000, NOON + 61_000));
  await second.apply(batch(2, 2, NOON + 120_000, NOON + 121_000));
  expect(second.tooLate).toBe(0);
  await second.apply(batch(3, 3, now, now));
  now += 70_000;
  const { rows } = (await second.tick())!;
  expect(rows.map(({ startMs, count }) => [startMs - NOON, count])).toEqual([
    [60_000, 1],
    [120_000, 1],
    [5 * 3_600_000 + 60_000, 1],
  ]);
  await second.apply(batch(4, 4, NOON + 60_000));
  expect(second.tooLate).toBe(1);
  await second.close();
});

test('plain readings are placed by the time of the entries that they came with', async () => {
  const service = await open();
  now = NOON + 30 * 86_400_000;
  await service.applyTables([table(NOON, 1)], NOON);
  await service.tick();
  await service.applyTables([table(NOON + 60_000, 1)], NOON + 60_000);
  expect(service.tooLate).toBe(0);
  await service.close();
});

test('a closed service leaves the file to the one that opened it since', async () => {
  const first = await open();
  await first.apply(batch(0, 1));
  now += 70_000;
  const group = (await first.tick())!;
  await first.close();
  const second = await open();
  await second.apply(batch(2, 3, NOON + 60_000));
  // A store of before says that it is done, and a batch comes late.
  first.stored(group.id);
  expect(await first.apply(batch(4, 5))).toBe(false);
  expect(await first.applyTables([table(NOON, 1)])).toBe(false);
  expect(await first.tick()).toBeUndefined();
  await new Promise((resolve) => setTimeout(resolve, 400));
  await second.close();
  const third = await open();
  now += 70_000;
  expect((await third.tick())?.rows).toMatchObject([{ startMs: NOON + 60_000, count: 2 }]);
  expect(third.unstored).toHaveLength(2);
  await third.close();
});

test('another size emits the windows that have ended, under their own length', async () => {
  const first = await open();
  await first.apply(batch(0, 3));
  now += 62_000;
  await first.apply(batch(4, 4, NOON + 61_000));
  await first.close();
  const second = await open(10_000);
  expect(second.unstored.flatMap(({ rows }) => rows)).toMatchObject([
    { startMs: NOON, endMs: NOON + 60_000, count: 4 },
  ]);
  await second.close();
});

test('a stream that is read anew makes its windows again, and counts nothing twice', async () => {
  const first = await open();
  await first.apply(batch(0, 7));
  await first.close();
  const second = await open();
  await second.apply({ ...batch(0, 4), generation: 'one' });
  await second.close();
  const third = await open();
  await third.apply({ ...batch(3, 5), generation: 'one' });
  now += 70_000;
  expect((await third.tick())?.rows).toMatchObject([{ count: 6, sum: 15, startMs: NOON }]);
  await third.close();
});

test('while too many rows wait for a store, nothing more is taken in; then it goes on', async () => {
  const service = await WindowService.open({
    path: join(folder, 'w.state'),
    windowMs: 60_000,
    graceMs: 5000,
    horizonMs: 3_600_000,
    maxUnstoredRows: 1,
    saveMs: 5,
    clock: () => now,
    log: (error) => problems.push(error.message),
  });
  await service.apply(batch(0, 0));
  now += 70_000;
  const group = await service.tick();
  let isTaken = false;
  const second = service.apply(batch(1, 1, now)).then((isDurable) => {
    isTaken = isDurable;
  });
  await service.tick();
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(isTaken).toBe(false);
  expect(service.openWindows).toBe(1);
  service.stored(group!.id);
  await second;
  expect(isTaken).toBe(true);
  expect(service.openWindows).toBe(2);
  await service.close();
  expect(await service.apply(batch(2, 2))).toBe(false);
});

test('readers of one log with generations of their own are all counted, each entry once', async () => {
  const service = await open();
  await service.apply(batch(0, 7));
  // One reader found that the log went back; another is new, and never met the log as it was.
  await service.apply({ ...batch(0, 4), generation: 'one' });
  await service.apply(batch(3, 5));
  await service.apply({ ...batch(4, 6), generation: 'one' });
  await service.apply(batch(6, 9));
  expect(service.needsReplay).toBe(false);
  now += 70_000;
  expect((await service.tick())?.rows).toMatchObject([{ count: 10, sum: 45 }]);
  await service.close();
});

test('a generation that is met past its beginning has the evidence read again', async () => {
  const first = await open();
  await first.apply(batch(0, 7));
  await first.apply({ ...batch(5, 6), generation: 'one' });
  expect(first.needsReplay).toBe(true);
  await first.close();
  const second = await open();
  expect(second.needsReplay).toBe(true);
  second.replayed();
  await second.apply({ ...batch(0, 6), generation: 'one' });
  now += 70_000;
  expect((await second.tick())?.rows).toMatchObject([{ count: 7 }]);
  await second.close();
});

test('a window that is new needs nothing read again, whatever the generation', async () => {
  const service = await open();
  await service.apply({ ...batch(5, 6), generation: 'one' });
  await service.apply({ ...batch(7, 8), generation: 'one' });
  expect(service.needsReplay).toBe(false);
  now += 70_000;
  expect((await service.tick())?.rows).toMatchObject([{ count: 4 }]);
  await service.close();
});

/** Entries of a log of its own, and the device that they are of. */
const other = (from: number, to: number, device = 'other'): WindowBatch => {
  const made = batch(from, to);
  return { ...made, stream: device, tables: made.tables.map((each) => ({ ...each, device })) };
};

test('a log that goes back takes nothing from the windows of other logs and of plain readings', async () => {
  const first = await open();
  await first.apply(batch(0, 7));
  await first.apply(other(0, 3));
  await first.applyTables([{ ...table(NOON, 5), device: 'plain' }]);
  await first.apply({ ...batch(0, 1), generation: 'one' });
  expect(first.openWindows).toBe(3);
  await first.close();
  const second = await open();
  await second.apply({ ...batch(2, 4), generation: 'one' });
  await second.apply(other(2, 5));
  now += 70_000;
  expect((await second.tick())?.rows).toMatchObject([
    { device: 'd', count: 5, sum: 10 },
    { device: 'other', count: 6, sum: 15 },
    { device: 'plain', count: 1, sum: 5 },
  ]);
  expect(second.needsReplay).toBe(false);
  await second.close();
});

test('a series of several logs and of plain readings is one row, also when one of them goes back', async () => {
  const first = await open();
  await first.apply(batch(0, 3));
  await first.apply(other(1, 2, 'd'));
  await first.applyTables([{ ...table(NOON + 1, 100), cell: 'plain' }]);
  now += 70_000;
  expect((await first.tick())?.rows).toMatchObject([
    { count: 7, sum: 109, min: 0, max: 100, first: 0, last: 100, cell: '', version: 1 },
  ]);
  await first.close();
  const second = await open();
  expect(second.openWindows).toBe(3);
  // Nothing of that minute is in the log any more.
  await second.apply({ ...batch(0, 0, NOON + 60_000), generation: 'one' });
  now += 60_000;
  const { rows } = (await second.tick())!;
  expect(rows).toMatchObject([
    { startMs: NOON, count: 3, sum: 103, version: 2 },
    { startMs: NOON + 60_000, count: 1 },
  ]);
  await second.close();
});

test('a log that is read from long ago is in time beside one that is read as it grows', async () => {
  const service = await open();
  const from = NOON - 30 * 86_400_000;
  for (let i = 0; i < 4; i++) {
    const atMs = from + i * 3_600_000;
    await Promise.all([service.apply(other(i, i)), service.apply(batch(i, i, atMs, atMs))]);
    void service.tick();
    now += 1000;
  }
  expect(service.tooLate).toBe(0);
  now += 70_000;
  await service.tick();
  const rows = service.unstored.flatMap((group) => group.rows);
  expect(rows.filter(({ device }) => device === 'd').map(({ count }) => count)).toEqual([
    1, 1, 1, 1,
  ]);
  expect(rows.filter(({ device }) => device === 'other')).toMatchObject([{ count: 4 }]);
  await service.close();
});

test('a state of another release is said, kept, and made whole from the evidence', async () => {
  const body = Buffer.from(encode(new Map<string, string | number>([['format', 1]])));
  const head = Buffer.alloc(4);
  head.writeUInt32BE(crc32c(body));
  writeFileSync(join(folder, 'w.state'), Buffer.concat([head, body]));
  const first = await open();
  expect(problems).toEqual(['ERR_WINDOW_STATE_FORMAT']);
  expect(first.needsReplay).toBe(true);
  await first.apply(batch(2, 3));
  await first.close();
  const second = await open();
  expect(second.needsReplay).toBe(true);
  second.replayed();
  await second.apply(batch(0, 3));
  now += 70_000;
  expect((await second.tick())?.rows).toMatchObject([{ count: 4 }]);
  await second.close();
  expect(problems).toHaveLength(1);
  expect(readFileSync(join(folder, 'w.state.kept-1'))).toEqual(Buffer.concat([head, body]));
});

test('a snapshot that cannot be written is said, and stops nothing', async () => {
  const first = await open();
  await first.apply(batch(0, 0));
  mkdirSync(join(folder, 'w.state.tmp'));
  const many = Array.from({ length: 20_000 }, (_, i) => ({ ...table(NOON, 1), device: `d${i}` }));
  expect(await first.applyTables(many)).toBe(true);
  while (first.problem === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(first.problem).toMatchObject({ code: 'ERR_STATE_WRITE' });
  expect(await first.apply(batch(1, 1))).toBe(true);
  expect(problems).toEqual(['ERR_STATE_WRITE']);
  rmSync(join(folder, 'w.state.tmp'), { recursive: true });
  while (first.problem !== undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  await first.close();
  const second = await open();
  expect(second.openWindows).toBe(20_001);
  await second.close();
});
