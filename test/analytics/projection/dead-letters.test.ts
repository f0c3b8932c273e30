import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AnalyticsError } from '@fieldproof/analytics/errors';
import { appendBatch, appendLines } from '@fieldproof/analytics/projection/dead-letters';
import { encodeFrame, readFrame } from '@fieldproof/protocol/frame';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dead-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const frame = (index: number) => ({
  index,
  entry: new Uint8Array(20).fill(index),
  body: new Uint8Array(50),
});
const batch = (...indexes: number[]) => ({ frames: indexes.map(frame) });
const bytesOf = (...indexes: number[]) =>
  Buffer.concat(indexes.map((index) => encodeFrame(frame(index))));

/** The letters of a file that is whole. */
function lettersIn(path: string): number[] {
  const bytes = readFileSync(path);
  const found: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const read = readFrame(bytes, at);
    if (read.kind !== 'frame') throw new Error(`at ${at}: ${read.kind}`);
    found.push(read.frame.index);
    at = read.end;
  }
  return found;
}

test('what a crash left half written is cut off, at any byte, and nothing before it', async () => {
  const size = encodeFrame(frame(1)).length;
  for (let cut = 1; cut < size; cut += 1) {
    // A process looks at a path once: each is one of its own.
    const path = join(folder, `${cut}.frames`);
    appendFileSync(path, bytesOf(1, 2));
    truncateSync(path, size + cut);
    await appendBatch(path, batch(7, 8));
    await appendBatch(path, batch(9));
    expect(lettersIn(path)).toEqual([1, 7, 8, 9]);
  }
});

test('refused lines begin on a line of their own behind a torn one', async () => {
  const error = new AnalyticsError('ERR_STORE_LINES_REFUSED', 'no');
  const lines = Buffer.from('air t=1 1\nair t=2 2\n');
  for (const [torn, kept] of [
    ['', ''],
    ['a t=1 1', ''],
    ['a t=1 1\nb t=', 'a t=1 1\n'],
    [`a t=1 1\nb t="${'x'.repeat(5000)}`, 'a t=1 1\n'],
  ]) {
    const path = join(folder, `${torn!.length}.lp`);
    appendFileSync(path, torn!);
    await appendLines(path, lines, { error, nowMs: 0 });
    const comment = `# 1970-01-01T00:00:00.000Z ERR_STORE_LINES_REFUSED: no\n`;
    expect(readFileSync(path, 'utf8')).toBe(`${kept}${comment}${lines.toString()}`);
  }
});

test('letters that are appended at once are all kept, behind a torn end too', async () => {
  const path = join(folder, 'a.frames');
  appendFileSync(path, bytesOf(1, 2).subarray(0, -30));
  const indexes = Array.from({ length: 20 }, (_, i) => 3 + i);
  await Promise.all(indexes.map((index) => appendBatch(path, batch(index))));
  expect(lettersIn(path)).toEqual([1, ...indexes]);
});

test('an append that fails takes nothing from those that go on beside it', async () => {
  const path = join(folder, 'a.frames');
  await appendBatch(path, batch(1));
  const handle = await open(path);
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const full = Object.assign(new Error('no space'), { code: 'ENOSPC' });
  // The disk is full in the middle of the first letter.
  jest.spyOn(prototype, 'writeFile').mockImplementationOnce(async () => {
    appendFileSync(path, 'torn');
    throw full;
  });
  const made = await Promise.allSettled([2, 3, 4].map((index) => appendBatch(path, batch(index))));
  jest.restoreAllMocks();
  expect(made.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
  expect(lettersIn(path)).toEqual([1, 3, 4]);
});

test('a file that is damaged at any byte is kept whole under another name, and that is said', async () => {
  const good = bytesOf(1, 2, 3);
  const size = good.length / 3;
  for (let at = 0; at < good.length; at++) {
    for (const mask of [0x01, 0x80]) {
      const path = join(folder, `${at}-${mask}.frames`);
      const damaged = Buffer.from(good);
      damaged[at]! ^= mask;
      writeFileSync(path, damaged);
      const said: AnalyticsError[] = [];
      await appendBatch(path, batch(7), (error) => said.push(error));
      await appendBatch(path, batch(8), (error) => said.push(error));
      expect(lettersIn(path)).toEqual([7, 8]);
      expect(readFileSync(`${path}.damaged-1`)).toEqual(damaged);
      expect(said.map(({ code }) => code)).toEqual(['ERR_DEAD_LETTERS_DAMAGED']);
      expect(said[0]!.message).toBe(
        `${path}: expected a frame at ${Math.floor(at / size) * size}, got damage: kept as ${path}.damaged-1`,
      );
    }
  }
});

test('a damaged file does not take the place of one that was put aside before', async () => {
  const path = join(folder, 'a.frames');
  writeFileSync(`${path}.damaged-1`, 'before');
  writeFileSync(path, Buffer.concat([Buffer.alloc(50), bytesOf(1)]));
  await appendBatch(path, batch(7));
  expect(readFileSync(`${path}.damaged-1`, 'utf8')).toBe('before');
  expect(existsSync(`${path}.damaged-2`)).toBe(true);
});
