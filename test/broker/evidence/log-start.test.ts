import { encodeFrame, readFrame } from '@fieldproof/protocol/frame';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MemoryFiles } from './memory-files.ts';
import { device, drain, envelope, openLog, put } from './open-log.ts';

const SEGMENT = '/log/segments/0000000000000000.seg';
const MARK = '/log/segments/acknowledged';
const corrupt = expect.objectContaining({ code: 'ERR_LOG_CORRUPT' });

/** Files of a log that was killed after `count` entries, without checkpoint or snapshot. */
async function killed(count: number, segmentBytes = 1 << 20): Promise<MemoryFiles> {
  const files = new MemoryFiles();
  const log = await openLog(files, { segmentBytes });
  for (let seq = 0; seq < count; seq += 1) await put(log, envelope(seq));
  await log.publish();
  const after = files.afterKill();
  await log.close();
  return after;
}

/** A log of three acknowledged entries whose next commit, of `count`, is in the file and was never synced. */
async function killedInCommit(count: number) {
  const files = new MemoryFiles();
  const log = await openLog(files);
  for (let seq = 0; seq < 3; seq += 1) await put(log, envelope(seq));
  const acknowledged = files.get(SEGMENT).length;
  const cut = new Promise<MemoryFiles>((resolve) => {
    files.fault = ({ name, path }) => {
      if (name === 'sync' && path === SEGMENT) resolve(files.afterKill());
      return undefined;
    };
  });
  const outcomes = Array.from({ length: count }, (_, i) => put(log, envelope(3 + i)));
  const after = withoutPublished(await cut);
  files.fault = () => undefined;
  await Promise.all(outcomes);
  await log.close();
  return { files: after, bytes: after.get(SEGMENT), acknowledged };
}

function damagedBehind(bytes: Uint8Array, at: number): Uint8Array {
  const bad = bytes.slice();
  bad[at + 30]! ^= 1;
  return bad;
}

function frameOffsets(bytes: Uint8Array): number[] {
  const offsets = [16];
  for (let result = readFrame(bytes, 16); result.kind === 'frame'; ) {
    offsets.push(result.end);
    result = readFrame(bytes, result.end);
  }
  return offsets;
}

function withoutPublished(files: MemoryFiles): MemoryFiles {
  const copy = new MemoryFiles();
  for (const path of files.paths()) {
    if (!path.includes('/published/')) copy.put(path, files.get(path));
  }
  return copy;
}

describe('a torn write', () => {
  test('at any byte of the last frame is cut off, reported, and followed by the next append', async () => {
    const whole = withoutPublished(await killed(3));
    const bytes = whole.get(SEGMENT);
    const [, , second, end] = frameOffsets(bytes);
    expect(end).toBe(bytes.length);
    for (let cut = second!; cut < end!; cut += 1) {
      const files = whole.afterKill();
      files.put(SEGMENT, bytes.slice(0, cut));
      const log = await openLog(files);
      expect(log.report).toMatchObject({ size: 2, droppedBytes: cut - second! });
      expect(log.receiptFor(device(0)).boots[0]?.settledThrough).toBe(1);
      expect(await put(log, envelope(2))).toMatchObject({ kind: 'accepted', index: 2 });
      await log.close();
      expect(files.get(SEGMENT)).toEqual(bytes);
    }
  });

  test('of an envelope that holds frames of its own is cut off at any byte', async () => {
    const forged = Array.from({ length: 8 }, (_, i) =>
      encodeFrame({ index: i + 1, entry: new Uint8Array(1), body: new Uint8Array(0) }),
    );
    const payload = { filler: Uint8Array.from(Buffer.concat(forged)) };
    const whole = new MemoryFiles();
    const log = await openLog(whole);
    await put(log, envelope(0));
    await put(log, envelope(1, { payload }));
    const bytes = whole.get(SEGMENT).slice();
    await log.close();
    const [, second, end] = frameOffsets(bytes);
    for (let cut = second! + 1; cut < end!; cut += 1) {
      const files = new MemoryFiles();
      files.put(SEGMENT, bytes.slice(0, cut));
      const opened = await openLog(files);
      expect(opened.report).toMatchObject({ size: 1, droppedBytes: cut - second! });
      await opened.close();
    }
  });

  test('that left zeros or other bytes behind is cut off whole', async () => {
    const whole = withoutPublished(await killed(2));
    const bytes = whole.get(SEGMENT);
    for (const rest of [new Uint8Array(5000), new Uint8Array(300).fill(0xff)]) {
      const files = whole.afterKill();
      files.put(SEGMENT, Uint8Array.from(Buffer.concat([bytes, rest])));
      const log = await openLog(files);
      expect(log.report).toMatchObject({ size: 2, droppedBytes: rest.length });
      await log.close();
      expect(files.get(SEGMENT)).toEqual(bytes);
    }
  });

  test('of the first bytes of a new segment loses nothing', async () => {
    const whole = withoutPublished(await killed(2));
    for (const head of ['', 'fieldproof', '\0'.repeat(16), 'fieldproof-seg-1']) {
      const files = whole.afterKill();
      files.put('/log/segments/0000000000000002.seg', new TextEncoder().encode(head));
      const log = await openLog(files);
      expect(log.report.size).toBe(2);
      expect(await put(log, envelope(2))).toMatchObject({ kind: 'accepted', index: 2 });
      await log.close();
      const again = await openLog(files);
      expect(again.report).toMatchObject({ size: 3, droppedBytes: 0 });
      await again.close();
    }
  });

  test('of a commit of many frames goes whole, whichever of its pages survived', async () => {
    const { files: whole, bytes, acknowledged } = await killedInCommit(40);
    const page = 512;
    for (let lost = Math.floor(acknowledged / page); lost * page < bytes.length; lost += 1) {
      for (const fill of [0, 0xa5]) {
        const bad = bytes.slice();
        bad.fill(fill, Math.max(lost * page, acknowledged), (lost + 1) * page);
        const files = whole.afterKill();
        files.put(SEGMENT, bad);
        const log = await openLog(files);
        const [tail] = log.report.dropped;
        expect(tail).toMatchObject({ file: SEGMENT, acknowledgedBytes: 0, index: log.size });
        expect(log.size).toBeGreaterThanOrEqual(3);
        for (let seq = 0; seq < 43; seq += 1) {
          const kind = seq < log.report.size ? 'duplicate' : 'accepted';
          expect(await put(log, envelope(seq))).toMatchObject({ kind });
        }
        await log.close();
        const again = await openLog(files);
        expect(again.report).toMatchObject({ size: 43, droppedBytes: 0, dropped: [] });
        await again.close();
      }
    }
  });

  test('is damage where it was acknowledged, and where no mark says how far that was', async () => {
    const { files: whole, bytes, acknowledged } = await killedInCommit(4);
    const bad = bytes.slice();
    bad[acknowledged - 1]! ^= 1;
    for (const [content, withMark] of [
      [bad, true],
      [bad, false],
      [damagedBehind(bytes, acknowledged), false],
    ] as const) {
      const files = whole.afterKill();
      files.put(SEGMENT, content);
      if (!withMark) await files.remove(MARK);
      await expect(openLog(files)).rejects.toEqual(corrupt);
    }
    for (let at = 0; at < 32; at += 1) {
      const files = whole.afterKill();
      files.put(SEGMENT, bad);
      const mark = files.get(MARK).slice();
      mark[at]! ^= 0x40;
      files.put(MARK, mark);
      await expect(openLog(files)).rejects.toEqual(corrupt);
    }
  });

  test('that took acknowledged entries is said as what it is', async () => {
    const files = withoutPublished(await killed(3));
    const bytes = files.get(SEGMENT);
    const [, , second] = frameOffsets(bytes);
    for (const cut of [second!, bytes.length - 1]) {
      files.put(SEGMENT, bytes.slice(0, cut));
      const log = await openLog(files.afterKill());
      const acknowledgedBytes = bytes.length - second!;
      const tail = { bytes: cut - second!, offset: second, index: 2, acknowledgedBytes };
      expect(log.report.dropped).toEqual([expect.objectContaining(tail)]);
      await log.close();
    }
    await files.remove(SEGMENT);
    await expect(openLog(files)).rejects.toEqual(corrupt);
  });

  test('of the reject log is said too', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    await put(log, envelope(0));
    const key = { device: device(0), bootCounter: 1, bootSeed: new Uint8Array(4), seq: 1 };
    await log.settleReject({ ...key, code: 'ERR_X' });
    const rejects = '/log/rejects/0000000000000000.seg';
    const bytes = files.get(rejects);
    files.put(rejects, bytes.slice(0, -1));
    const again = await openLog(files.afterKill());
    expect(again.report.dropped).toMatchObject([{ file: rejects, index: 0, offset: 16 }]);
    await again.close();
    await log.close();
  });

  test('that took back what is published stops the start', async () => {
    const files = await killed(3);
    files.put(SEGMENT, files.get(SEGMENT).slice(0, -1));
    await expect(openLog(files)).rejects.toEqual(corrupt);
  });
});

describe('damage before the end', () => {
  test('of any single byte stops the start, and changes nothing', async () => {
    const whole = withoutPublished(await killed(4));
    const bytes = whole.get(SEGMENT);
    const end = frameOffsets(bytes).at(-2)!;
    for (let at = 0; at < end; at += 1) {
      const bad = bytes.slice();
      bad[at]! ^= 0x10;
      const files = whole.afterKill();
      files.put(SEGMENT, bad);
      await expect(openLog(files)).rejects.toEqual(corrupt);
      expect(files.get(SEGMENT)).toEqual(bad);
    }
  });

  test('of any shape stops the start', async () => {
    const whole = withoutPublished(await killed(12, 700));
    const segments = whole.paths().filter((path) => path.endsWith('.seg'));
    expect(segments.length).toBeGreaterThan(2);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(segments.length - 2),
        fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(40),
        async (which, where, insert, remove) => {
          const path = segments[which]!;
          const bytes = whole.get(path);
          const at = Math.floor(where * bytes.length);
          const bad = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]);
          fc.pre(!bad.equals(bytes));
          const files = whole.afterKill();
          files.put(path, Uint8Array.from(bad));
          await expect(openLog(files)).rejects.toEqual(corrupt);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('in the form of a missing segment stops the start', async () => {
    const whole = await killed(12, 700);
    for (const path of whole.paths().filter((name) => name.endsWith('.seg'))) {
      const files = whole.afterKill();
      await files.remove(path);
      await expect(openLog(files)).rejects.toEqual(corrupt);
    }
  });

  test('an entry that is replaced under a right checksum does not have the published root', async () => {
    const files = await killed(3);
    const bytes = files.get(SEGMENT);
    const first = readFrame(bytes, 16);
    if (first.kind !== 'frame') throw new Error('expected a frame');
    const { frame } = first;
    const entry = frame.entry.slice();
    entry[40]! ^= 1;
    const forged = bytes.slice();
    forged.set(encodeFrame({ ...frame, entry }), 16);
    files.put(SEGMENT, forged);
    await expect(openLog(files)).rejects.toThrow('its root is not the published one');
  });

  test('a checkpoint that is none, or of another log, stops the start', async () => {
    const files = await killed(1);
    const path = '/log/published/checkpoint';
    const text = new TextDecoder().decode(files.get(path));
    for (const bad of ['', text.replace('fieldproof/test', 'fieldproof/other'), text.slice(5)]) {
      files.put(path, new TextEncoder().encode(bad));
      await expect(openLog(files)).rejects.toEqual(corrupt);
    }
  });
});

describe('a snapshot', () => {
  const steps = fc.array(
    fc.record({
      device: fc.nat(2),
      boot: fc.integer({ min: 1, max: 3 }),
      seq: fc.nat(12),
      what: fc.constantFrom('telemetry', 'gap', 'birth', 'reject', 'restart', 'publish'),
    }),
    { maxLength: 40 },
  );

  test('and a full reading give the state of the log that never stopped', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        const files = new MemoryFiles();
        const settings = { segmentBytes: 1500, snapshotIntervalMs: 0 };
        let log = await openLog(files, settings);
        for (const { device: n, boot, seq, what } of list) {
          const bootSeed = Uint8Array.of(1, 2, 3, 4);
          const at = [boot, bootSeed, seq];
          if (what === 'restart') {
            await log.close();
            log = await openLog(files, settings);
          } else if (what === 'publish') await log.publish();
          else if (what === 'reject') {
            const key = { device: device(n), bootCounter: boot, bootSeed, seq };
            await log.settleReject({ ...key, code: 'ERR_TIME_FUTURE' });
          } else {
            const payload = { gaps: [[...at, seq + 2, 'full']], rejectsSeen: [at] };
            await put(log, envelope(seq, { device: n, boot, kind: what, payload }));
          }
        }
        const state = (opened: typeof log) =>
          [0, 1, 2].map((n) => {
            const { boots, entry } = opened.receiptFor(device(n));
            return { boots, entry };
          });
        const expected = state(log);

        // As after a kill: the snapshot is older than the log.
        const early = files.afterKill();
        await log.close();
        const scanned = files.afterKill();
        await scanned.remove('/log/state.snapshot');
        const damaged = files.afterKill();
        const snapshot = files.paths().includes('/log/state.snapshot');
        if (snapshot) {
          const bytes = files.get('/log/state.snapshot').slice();
          bytes[bytes.length - 1]! ^= 1;
          damaged.put('/log/state.snapshot', bytes);
        }
        for (const variant of [files, scanned, damaged, early]) {
          const again = await openLog(variant, settings);
          expect(state(again)).toEqual(expected);
          if (variant === files && snapshot) expect(again.report.replayed).toBe(0);
          if (variant === scanned) expect(again.report.usedSnapshot).toBe(false);
          await again.close();
        }
      }),
      { numRuns: 40 },
    );
  });

  test('of another log is of no use, and does no harm', async () => {
    const files = await killed(5);
    const other = new MemoryFiles();
    const log = await openLog(other);
    for (let seq = 0; seq < 5; seq += 1) await put(log, envelope(seq, { text: 'other' }));
    await log.close();
    files.put('/log/state.snapshot', other.get('/log/state.snapshot'));
    const opened = await openLog(files);
    expect(opened.report).toMatchObject({ size: 5, replayed: 5, usedSnapshot: false });
    await opened.close();
  });
});

describe('a power cut', () => {
  test('at any operation keeps everything that was accepted, byte for byte', async () => {
    const settings = { segmentBytes: 2500, snapshotIntervalMs: 0 };
    const count = await operationsOf(settings);
    for (let cut = 1; cut <= count; cut += 1) {
      const files = new MemoryFiles();
      let after: MemoryFiles | undefined;
      const accepted: number[] = [];
      let acceptedThen: number[] = [];
      files.fault = () => {
        if (files.operations.length === cut) {
          acceptedThen = [...accepted];
          // Of what was not synced, some files keep all and some a part.
          after = files.afterPowerCut((path, unsynced) => (path.length * cut * 7) % (unsynced + 1));
        }
        return undefined;
      };
      await workload(files, settings, (seq) => accepted.push(seq));
      const log = await openLog(after!, settings);
      expect(log.size).toBeGreaterThanOrEqual(acceptedThen.length);
      for (const seq of acceptedThen) {
        expect(await put(log, envelope(seq))).toEqual({ kind: 'duplicate' });
      }
      const all = await drain(log.tail(0, { live: false }));
      await log.close();
      const again = await openLog(after!, settings);
      expect(await drain(again.tail(0, { live: false }))).toEqual(all);
      await again.close();
    }
  });

  async function workload(
    files: MemoryFiles,
    settings: Record<string, number>,
    onAccepted: (seq: number) => void,
  ): Promise<void> {
    const log = await openLog(files, settings);
    for (let seq = 0; seq < 24; seq += 3) {
      const burst = [seq, seq + 1, seq + 2].map(async (n) => {
        if ((await put(log, envelope(n))).kind === 'accepted') onAccepted(n);
      });
      await Promise.all(burst);
      if (seq % 9 === 0) await log.publish();
    }
    await log.close();
  }

  async function operationsOf(settings: Record<string, number>): Promise<number> {
    const files = new MemoryFiles();
    await workload(files, settings, () => undefined);
    return files.operations.length;
  }
});
