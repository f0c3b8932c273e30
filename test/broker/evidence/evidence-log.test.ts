import type { EvidenceLog } from '@fieldproof/broker/evidence/evidence-log';
import type { SegmentIndex } from '@fieldproof/broker/evidence/segment-table';
import { decodeSidecar, SegmentTable } from '@fieldproof/broker/evidence/segment-table';
import { encodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MemoryFiles } from './memory-files.ts';
import { device, envelope, openLog, put, seed } from './open-log.ts';

const SMALL = { segmentBytes: 1500 };

describe('the same seq twice', () => {
  test('with the same bytes is a duplicate, with others equivocation, also after a restart', async () => {
    const files = new MemoryFiles();
    let log = await openLog(files, SMALL);
    for (let seq = 0; seq < 30; seq += 1) await put(log, envelope(seq));
    for (let round = 0; round < 2; round += 1) {
      for (const seq of [0, 7, 15, 29]) {
        const same = envelope(seq);
        const other = envelope(seq, { text: 'other' });
        expect(await log.judge(same.entry, same.entry.digest)).toBe('duplicate');
        expect(await log.judge(other.entry, other.entry.digest)).toBe('equivocation');
        expect(await put(log, same)).toEqual({ kind: 'duplicate' });
        expect(await put(log, other)).toEqual({ kind: 'equivocation' });
      }
      expect(log.size).toBe(30);
      await log.close();
      log = await openLog(files, SMALL);
    }
    expect(log.judge(envelope(30).entry, envelope(30).entry.digest)).toBe('new');
    await log.close();
  });

  test('is found without the sidecar files too', async () => {
    const files = new MemoryFiles();
    let log = await openLog(files, SMALL);
    for (let seq = 0; seq < 30; seq += 1) await put(log, envelope(seq));
    await log.close();
    const sidecars = files.paths().filter((path) => path.endsWith('.idx'));
    expect(sidecars.length).toBeGreaterThan(2);
    for (const [i, path] of sidecars.entries()) {
      if (i % 2 === 0) await files.remove(path);
      else
        files.put(
          path,
          files.get(path).map((byte, at) => (at === 40 ? byte ^ 1 : byte)),
        );
    }
    log = await openLog(files, SMALL);
    expect(log.report.replayed).toBe(0);
    for (let seq = 0; seq < 30; seq += 1) {
      expect(await put(log, envelope(seq))).toEqual({ kind: 'duplicate' });
      expect((await log.readFrame(seq)).body).toEqual(envelope(seq).body);
    }
    await log.close();
  });

  test('while the first is on its way to the disk waits for it', async () => {
    const log = await openLog(new MemoryFiles());
    const first = put(log, envelope(0));
    const judged = log.judge(envelope(0).entry, envelope(0).entry.digest);
    const same = put(log, envelope(0));
    const other = put(log, envelope(0, { text: 'other' }));
    expect(judged).toBeInstanceOf(Promise);
    expect(await judged).toBe('duplicate');
    expect(await first).toMatchObject({ kind: 'accepted', index: 0 });
    expect(await same).toEqual({ kind: 'duplicate' });
    expect(await other).toEqual({ kind: 'equivocation' });
    expect(log.size).toBe(1);
    await log.close();
  });

  test('while the first fails is refused like it, and not called equivocation', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    files.fault = ({ name }) => (name === 'sync' ? {} : undefined);
    const outcomes = [put(log, envelope(0)), put(log, envelope(0, { text: 'other' }))];
    const judged = log.judge(envelope(0).entry, envelope(0).entry.digest);
    for (const outcome of outcomes) expect(await outcome).toMatchObject({ kind: 'refused' });
    expect(await judged).toBe('new');
    files.fault = () => undefined;
    expect(await put(log, envelope(0, { text: 'other' }))).toMatchObject({ kind: 'accepted' });
    await log.close();
  });

  test('many senders of the same few envelopes get one acceptance each, and one entry', async () => {
    const list = fc.array(fc.tuple(fc.nat(3), fc.nat(3), fc.nat(1)), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(list, async (sends) => {
        const log = await openLog(new MemoryFiles(), { segmentBytes: 900 });
        const texts = ['', 'other'];
        const outcomes = await Promise.all(
          sends.map(async ([n, seq, text], i) => {
            if (i % 7 === 6) await new Promise((resolve) => setImmediate(resolve));
            return await put(log, envelope(seq, { device: n, text: texts[text]! }));
          }),
        );
        const winners = new Map<string, number>();
        for (const [i, { kind }] of outcomes.entries()) {
          const [n, seq, text] = sends[i]!;
          if (kind === 'accepted') winners.set(`${n}/${seq}`, text);
        }
        const accepted = outcomes.filter(({ kind }) => kind === 'accepted').length;
        expect([accepted, log.size]).toEqual([winners.size, winners.size]);
        for (const [i, { kind }] of outcomes.entries()) {
          const [n, seq, text] = sends[i]!;
          const isSame = winners.get(`${n}/${seq}`) === text;
          expect(isSame ? ['accepted', 'duplicate'] : ['equivocation']).toContain(kind);
        }
        await log.close();
      }),
      { numRuns: 40 },
    );
  });
});

describe('the boots of a device', () => {
  test('are those with entries, the first recorded first, also after a restart', async () => {
    const files = new MemoryFiles();
    let log = await openLog(files);
    const other = Uint8Array.of(0, 0, 0, 1);
    const stranger = { device: device(0), bootCounter: 2, bootSeed: other };
    // Refused before anything of counter 2 is recorded; 3 is only named by a gap.
    await log.settleReject({ ...stranger, seq: 0, code: 'ERR_BOOT_CLONED' });
    const gaps = [[3, seed, 0, 5, 'full']];
    await put(log, envelope(0, { boot: 2, kind: 'gap', payload: { gaps } }));
    await put(log, envelope(0, { boot: 1 }));
    const counters = () => log.bootsOf(device(0)).map(({ counter }) => counter);
    expect(counters()).toEqual([2, 1]);
    log = await openLog(files.afterKill());
    expect(counters()).toEqual([2, 1]);
    expect(log.bootsOf(device(0))[0]?.seed).toBe(0x01020304);
  });
});

describe('a device that acknowledges no rejects', () => {
  const key = { device: device(0), bootCounter: 1, bootSeed: seed };
  const rejectFrom = (log: EvidenceLog, from: number, count: number) =>
    Promise.all(
      Array.from({ length: count }, (_, i) =>
        log.settleReject({ ...key, seq: from + i, code: 'ERR_TIME_FUTURE' }),
      ),
    );
  const settledThrough = (log: EvidenceLog) => log.receiptFor(device(0)).boots[0]?.settledThrough;

  test('settles 1,024 of them and leaves holes for the others, until a birth acknowledges', async () => {
    const files = new MemoryFiles();
    let log = await openLog(files);
    const settled = await rejectFrom(log, 0, 1100);
    expect(settled.map((isSettled, seq) => isSettled === seq < 1024)).not.toContain(false);
    // The receipt ends before the first that it does not list.
    expect(settledThrough(log)).toBe(255);
    // What it rejects again takes no room.
    expect(await rejectFrom(log, 0, 3)).toEqual([true, true, true]);
    log = await openLog(files.afterKill());
    expect(await rejectFrom(log, 1024, 1)).toEqual([false]);
    const rejectsSeen = Array.from({ length: 1024 }, (_, seq) => [1, seed, seq]);
    await put(log, envelope(0, { boot: 2, kind: 'birth', payload: { rejectsSeen } }));
    expect(settledThrough(log)).toBe(1023);
    expect(await rejectFrom(log, 1024, 2)).toEqual([true, true]);
    // The others it has declared, as after any reject without a seq.
    const gaps = [[1, seed, 1026, 1099, 'rejected']];
    await put(log, envelope(1, { boot: 2, kind: 'gap', payload: { gaps } }));
    expect(settledThrough(log)).toBe(1099);
  });

  test('has room again when its boots are closed, and no memory is left of them', async () => {
    const log = await openLog(new MemoryFiles());
    await rejectFrom(log, 0, 1024);
    for (let boot = 2; boot < 40; boot += 1) await put(log, envelope(0, { boot }));
    const boots = log.receiptFor(device(0)).boots;
    expect(boots.map(({ bootCounter }) => bootCounter)[0]).toBe(8);
    const newer = { ...key, bootCounter: 39, seq: 1, code: 'ERR_TIME_FUTURE' };
    expect(await log.settleReject(newer)).toBe(true);
    // The envelope that was rejected is judged afresh all the same.
    expect(await put(log, envelope(7))).toMatchObject({ kind: 'accepted' });
    expect(await put(log, envelope(7))).toMatchObject({ kind: 'duplicate' });
  });
});

describe('what a receipt says', () => {
  test('gaps, rejects and their acknowledgement come from the log and survive a restart', async () => {
    const files = new MemoryFiles();
    let log = await openLog(files);
    const key = { device: device(0), bootCounter: 1, bootSeed: seed };
    await put(log, envelope(0, { kind: 'birth', payload: { rejectsSeen: [] } }));
    await log.settleReject({ ...key, seq: 1, code: 'ERR_TIME_FUTURE' });
    await log.settleReject({ ...key, seq: 2, code: 'ERR_SENML_MALFORMED' });
    await put(log, envelope(6, { kind: 'gap', payload: { gaps: [[1, seed, 3, 5, 'full']] } }));
    await put(
      log,
      envelope(0, { boot: 2, kind: 'birth', payload: { rejectsSeen: [[1, seed, 1]] } }),
    );
    const expected = {
      boots: [
        {
          bootCounter: 1,
          bootSeed: seed,
          settledThrough: 6,
          ranges: [],
          rejected: [[2, 'ERR_SENML_MALFORMED']],
        },
        { bootCounter: 2, bootSeed: seed, settledThrough: 0, ranges: [], rejected: [] },
      ],
    };
    expect(log.receiptFor(device(0))).toMatchObject(expected);
    const killed = await openLog(files.afterKill());
    expect(killed.receiptFor(device(0))).toMatchObject(expected);
    await killed.close();
    await log.close();
    log = await openLog(files);
    expect(log.receiptFor(device(0))).toMatchObject(expected);
    await log.close();
  });

  test('the newest entry and the newest checkpoint are named', async () => {
    const log = await openLog(new MemoryFiles());
    expect(log.receiptFor(device(0))).toEqual({
      boots: [],
      entry: null,
      heads: [],
      checkpoint: null,
    });
    const outcome = await put(log, envelope(0));
    if (outcome.kind !== 'accepted') throw new Error(outcome.kind);
    const { index, leafHash } = outcome;
    await log.publish();
    const { checkpoint } = log;
    expect(log.receiptFor(device(0))).toMatchObject({
      entry: { index, leafHash },
      heads: [[0, 1, checkpoint?.root]],
      checkpoint: checkpoint?.text,
    });
    const anchor = await log.append({
      type: 'time-anchor',
      device: device(0),
      bootCounter: 1,
      bootSeed: seed,
      offsetMs: 5,
      boundMs: 6,
      at: 7,
    });
    expect(log.receiptFor(device(0)).entry).toEqual(anchor);
    await log.close();
  });
});

describe('reading', () => {
  test('a body is found by its digest in any segment', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files, SMALL);
    for (let seq = 0; seq < 20; seq += 1) await put(log, envelope(seq));
    for (let seq = 0; seq < 20; seq += 1) {
      const { entry, body } = envelope(seq);
      expect(await log.bodyByDigest(entry.digest)).toEqual(body);
    }
    expect(await log.bodyByDigest(new Uint8Array(32))).toBeUndefined();
    await log.close();
  });

  test('an index from the size on is out of range', async () => {
    const log = await openLog(new MemoryFiles());
    await put(log, envelope(0));
    for (const index of [1, -1, 0.5, Number.NaN]) {
      await expect(log.readFrame(index)).rejects.toMatchObject({ code: 'ERR_INDEX_RANGE' });
    }
    await log.close();
  });

  test('a frame that has changed on disk is not given out', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    await put(log, envelope(0));
    files.get('/log/segments/0000000000000000.seg')[100]! ^= 1;
    await expect(log.readFrame(0)).rejects.toMatchObject({ code: 'ERR_LOG_CORRUPT' });
    await log.close();
  });

  test('entries of other types are read back as they were encoded', async () => {
    const log = await openLog(new MemoryFiles());
    const entry = { type: 'network', at: 1, descriptor: Uint8Array.of(1) } as const;
    const { index } = await log.append(entry);
    expect((await log.readFrame(index)).entry).toEqual(encodeEvidenceEntry(entry));
    await log.close();
  });
});

describe('a sidecar', () => {
  test('finds what the table finds', () => {
    const digests = fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }), { maxLength: 300 });
    fc.assert(
      fc.property(digests, (list) => {
        const table = new SegmentTable(5);
        for (const [i, digest] of list.entries()) {
          table.add(16 + 20 * i, i % 3 === 0 ? null : digest);
        }
        const sidecar = decodeSidecar(table.encode(), 5) as SegmentIndex;
        expect([sidecar.first, sidecar.count]).toEqual([5, list.length]);
        for (const [i, digest] of list.entries()) {
          expect(sidecar.offsetAt(i)).toBe(16 + 20 * i);
          for (const ordinal of table.candidates(digest)) {
            expect(sidecar.candidates(digest)).toContain(ordinal);
          }
          if (i % 3 !== 0) expect(table.candidates(digest)).toHaveLength(1);
        }
      }),
    );
  });

  test('of another segment, or with any byte changed, is none', () => {
    const table = new SegmentTable(5);
    table.add(16, new Uint8Array(32));
    const good = table.encode();
    expect(decodeSidecar(good, 6)).toBeUndefined();
    expect(decodeSidecar(good.subarray(1), 5)).toBeUndefined();
    for (let at = 0; at < good.length; at += 1) {
      const bad = good.slice();
      bad[at]! ^= 4;
      expect(decodeSidecar(bad, 5)).toBeUndefined();
    }
  });
});
