import { FrameReader } from '@fieldproof/protocol/frame';
import { describe, expect, test } from '@jest/globals';
import { MemoryFiles } from './memory-files.ts';
import { drain, envelope, openLog, put } from './open-log.ts';

const COUNT = 40;

/** The frames of all segments, one after another. */
function inSegments(files: MemoryFiles): Uint8Array {
  const segments = files.paths().filter((path) => path.endsWith('.seg'));
  return Uint8Array.from(Buffer.concat(segments.map((path) => files.get(path).subarray(16))));
}

/** Indexes of the frames, which are checked. */
function indexes(bytes: Uint8Array, from: number): number[] {
  const reader = new FrameReader(from);
  reader.push(bytes);
  const found: number[] = [];
  for (let frame = reader.next(); frame; frame = reader.next()) found.push(frame.index);
  reader.end();
  return found;
}

const from = (start: number, end = COUNT) =>
  Array.from({ length: end - start }, (_, i) => start + i);

describe('a tail', () => {
  // All in memory; the boundary between file and memory inside; nothing in memory.
  test.each([1 << 20, 2000, 500, 0])(
    'gives the bytes of the segments from any index on, with %i bytes of memory',
    async (ringBytes) => {
      const files = new MemoryFiles();
      const log = await openLog(files, { ringBytes, segmentBytes: 2500 });
      for (let seq = 0; seq < COUNT; seq += 4) {
        await Promise.all([0, 1, 2, 3].map((i) => put(log, envelope(seq + i))));
      }
      const all = await drain(log.tail(0, { live: false }));
      expect(all).toEqual(inSegments(files));
      for (let start = 0; start <= COUNT; start += 1) {
        const bytes = await drain(log.tail(start, { live: false }));
        expect(indexes(bytes, start)).toEqual(from(start));
        expect(all.subarray(all.length - bytes.length)).toEqual(bytes);
      }
      await log.close();
    },
  );

  test('above the size is refused at once', async () => {
    const log = await openLog(new MemoryFiles());
    await put(log, envelope(0));
    for (const start of [2, -1, 0.5]) {
      expect(() => log.tail(start)).toThrow(expect.objectContaining({ code: 'ERR_INDEX_RANGE' }));
    }
    expect(await drain(log.tail(1, { live: false }))).toHaveLength(0);
    await log.close();
  });

  test('that is not live ends at the end of when it was asked for', async () => {
    const log = await openLog(new MemoryFiles());
    await put(log, envelope(0));
    const chunks = log.tail(0, { live: false });
    await Promise.all([put(log, envelope(1)), put(log, envelope(2))]);
    expect(indexes(await drain(chunks), 0)).toEqual([0]);
    await log.close();
  });

  test('that is live gives new frames when they are durable, and ends with the log', async () => {
    const log = await openLog(new MemoryFiles(), { ringBytes: 600 });
    const tails = [0, 0, 0].map((start) => drain(log.tail(start)));
    for (let seq = 0; seq < COUNT; seq += 1) await put(log, envelope(seq));
    await log.close();
    for (const bytes of tails) expect(indexes(await bytes, 0)).toEqual(from(0));
  });

  test('has a frame before its sender is told', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    const seen: string[] = [];
    const reading = (async () => {
      for await (const _ of log.tail(0)) seen.push('tail');
    })();
    files.fault = ({ name, path }) => {
      if (name === 'sync' && path.endsWith('seg')) seen.push('sync');
      return undefined;
    };
    await put(log, envelope(0));
    await log.close();
    await reading;
    expect(seen.indexOf('tail')).toBeGreaterThan(seen.indexOf('sync'));
  });

  test('whose reader is slow holds one chunk, and nobody else up', async () => {
    const log = await openLog(new MemoryFiles(), { ringBytes: 500 });
    const slow = log.tail(0);
    for (let seq = 0; seq < COUNT; seq += 1) await put(log, envelope(seq));
    const first = await slow.next();
    expect(first.done).toBe(false);
    const rest = await (async () => {
      const end = log.close();
      const bytes = await drain(slow);
      await end;
      return bytes;
    })();
    const all = Uint8Array.from(Buffer.concat([first.value ?? new Uint8Array(0), rest]));
    expect(indexes(all, 0)).toEqual(from(0));
  });

  test('ends when its signal says so, also while it waits', async () => {
    const log = await openLog(new MemoryFiles());
    const stop = new AbortController();
    const waiting = drain(log.tail(0, { signal: stop.signal }));
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    expect(await waiting).toHaveLength(0);
    expect(await drain(log.tail(0, { signal: stop.signal }))).toHaveLength(0);
    await log.close();
  });

  test('goes on over a restart', async () => {
    const files = new MemoryFiles();
    let log = await openLog(files, { segmentBytes: 2500 });
    for (let seq = 0; seq < COUNT; seq += 1) await put(log, envelope(seq));
    await log.close();
    log = await openLog(files, { segmentBytes: 2500 });
    await put(log, envelope(COUNT));
    const bytes = await drain(log.tail(0, { live: false }));
    expect(indexes(bytes, 0)).toEqual(from(0, COUNT + 1));
    await log.close();
  });
});
