import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AnalyticsError } from '@fieldproof/analytics/errors';
import type { SetAside } from '@fieldproof/analytics/projection/batcher';
import { appendBatch, appendLines } from '@fieldproof/analytics/projection/dead-letters';
import { encodeFrame, readFrame } from '@fieldproof/protocol/frame';
import { afterEach, beforeEach, expect, test } from '@jest/globals';

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
const batch = (...indexes: number[]) => ({ frames: indexes.map(frame) }) as unknown as SetAside;

test('what a crash left half written is cut off, at any byte, and nothing before it', async () => {
  const size = encodeFrame(frame(1)).length;
  for (let cut = 1; cut < size; cut += 1) {
    // A process looks at a path once: each is one of its own.
    const path = join(folder, `${cut}.frames`);
    appendFileSync(path, Buffer.concat([1, 2].map((i) => encodeFrame(frame(i)))));
    truncateSync(path, size + cut);
    await appendBatch(path, batch(7, 8));
    await appendBatch(path, batch(9));
    const bytes = readFileSync(path);
    const found: number[] = [];
    for (let at = 0; at < bytes.length; ) {
      const read = readFrame(bytes, at);
      if (read.kind !== 'frame') throw new Error(`at ${at}: ${read.kind}`);
      found.push(read.frame.index);
      at = read.end;
    }
    expect(found).toEqual([1, 7, 8, 9]);
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
