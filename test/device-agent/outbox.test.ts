import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Boot } from '@fieldproof/device-agent/boot';
import { type Disk, systemDisk } from '@fieldproof/device-agent/disk';
import { silentLog } from '@fieldproof/device-agent/log';
import { Outbox } from '@fieldproof/device-agent/outbox';
import type { OutboxOptions } from '@fieldproof/device-agent/outbox-options';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { fakeClock } from './fake-clock.ts';

const BOOT: Boot = { counter: 7, seed: Uint8Array.of(1, 2, 3, 4) };
const NEXT: Boot = { counter: 8, seed: Uint8Array.of(9, 9, 9, 9) };

let folder: string;
const opened: Outbox[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-outbox-'));
});
afterEach(async () => {
  for (const outbox of opened.splice(0)) await outbox.close().catch(() => {});
  await rm(folder, { recursive: true });
});

async function openOutbox(options: Partial<OutboxOptions> = {}) {
  const outbox = new Outbox({
    folder,
    maxBytes: 1 << 20,
    maxEnvelopes: 10_000,
    segmentBytes: 1 << 16,
    fsync: 'always',
    fsyncEveryMs: 1000,
    clock: fakeClock(),
    log: silentLog,
    ...options,
  });
  opened.push(outbox);
  const report = await outbox.open();
  return { outbox, report };
}

/** Leaves an outbox as a killed process does: nothing more is written. */
function kill(outbox: Outbox): void {
  opened.splice(opened.indexOf(outbox), 1);
}

/** The machine's disk, its files opened in another way. */
function opening(open: Disk['open']): Disk {
  return { ...systemDisk, open };
}

function bytesOf(seq: number, length = 40): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (seq * 31 + at * 7) & 0xff);
}

async function append(outbox: Outbox, boot: Boot, seqs: readonly number[], length?: number) {
  for (const seq of seqs) {
    await outbox.append({ boot, seq, kind: 'telemetry', bytes: bytesOf(seq, length) });
  }
}

async function pending(outbox: Outbox): Promise<[number, number][]> {
  const cursor = outbox.cursor();
  const found: [number, number][] = [];
  for (let item = await cursor.next(); item !== undefined; item = await cursor.next()) {
    expect(Buffer.compare(item.bytes, bytesOf(item.seq, item.bytes.length))).toBe(0);
    found.push([item.boot.counter, item.seq]);
  }
  await cursor.close();
  return found;
}

const upTo = (count: number, from = 0) => Array.from({ length: count }, (_, at) => from + at);

describe('the outbox', () => {
  test('gives back after a restart what waits, byte for byte, boots and all', async () => {
    const { outbox: first } = await openOutbox();
    await append(first, BOOT, upTo(5));
    kill(first);
    const { outbox: second } = await openOutbox();
    expect(second.highestBootCounter).toBe(7);
    await append(second, NEXT, upTo(2));
    kill(second);
    const { outbox: third } = await openOutbox();
    expect(await pending(third)).toEqual([...upTo(5).map((n) => [7, n]), [8, 0], [8, 1]]);
    expect(third.stats().pending).toBe(7);
  });

  test('a write that was torn at any byte loses that envelope only', async () => {
    const { outbox } = await openOutbox();
    await append(outbox, BOOT, upTo(3));
    const whole = await stat(join(folder, '0000000001.seg'));
    await append(outbox, BOOT, [3]);
    kill(outbox);
    const path = join(folder, '0000000001.seg');
    const full = await readFile(path);
    for (let length = whole.size; length < full.length; length += 1) {
      for (const tail of ['cut', 'zeros']) {
        const torn = Buffer.from(full);
        torn.fill(0, length);
        await writeFile(path, tail === 'cut' ? full.subarray(0, length) : torn);
        // What zeros leave as it was is not torn.
        if (tail === 'zeros' && torn.equals(full)) continue;
        const { outbox: again, report } = await openOutbox();
        expect(await pending(again)).toEqual(upTo(3).map((n) => [7, n]));
        const lost = (tail === 'cut' ? length : full.length) - whole.size;
        expect(report).toEqual({ tornBytes: lost, damagedBytes: 0 });
        expect(again.holes()).toEqual([]);
        await append(again, NEXT, [0]);
        expect(await pending(again)).toEqual([...upTo(3).map((n) => [7, n]), [8, 0]]);
        kill(again);
      }
    }
  });

  test('every flipped bit is noticed, and only the envelope it hits is lost', async () => {
    const { outbox } = await openOutbox();
    await append(outbox, BOOT, upTo(4), 20);
    kill(outbox);
    const path = join(folder, '0000000001.seg');
    const good = await readFile(path);
    const magic = 20;
    for (let at = 0; at < good.length; at += 1) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1 << (at % 8);
      await writeFile(path, bad);
      const { outbox: again, report } = await openOutbox();
      expect(report.tornBytes + report.damagedBytes).toBeGreaterThan(0);
      const hit = at < magic ? -1 : Math.floor((at - magic) / ((good.length - magic) / 4));
      const whole = upTo(4).filter((seq) => seq !== hit);
      expect(await pending(again)).toEqual(whole.map((seq) => [7, seq]));
      await append(again, NEXT, [0]);
      expect(await pending(again)).toEqual([...whole.map((seq) => [7, seq]), [8, 0]]);
      kill(again);
    }
  });

  test('seqs lost in the middle are holes, to be declared', async () => {
    const { outbox } = await openOutbox();
    await append(outbox, BOOT, upTo(4));
    kill(outbox);
    const path = join(folder, '0000000001.seg');
    const bytes = await readFile(path);
    const frame = (bytes.length - 20) / 4;
    bytes[20 + frame + 30]! ^= 0xff;
    await writeFile(path, bytes);
    const { outbox: again, report } = await openOutbox();
    expect(report).toEqual({ tornBytes: 0, damagedBytes: frame });
    expect(again.holes()).toEqual([{ boot: BOOT, ranges: [[1, 1]] }]);
    await again.drop(BOOT, [[1, 1]]);
    expect(again.holes()).toEqual([]);
    expect(again.undeclared()).toEqual([{ boot: BOOT, ranges: [[1, 1]] }]);
    await again.sync();
    kill(again);
    const { outbox: third } = await openOutbox();
    expect(third.undeclared()).toEqual([{ boot: BOOT, ranges: [[1, 1]] }]);
    await third.settle(BOOT, [[0, 3]]);
    expect(third.undeclared()).toEqual([]);
  });

  test('hands out an envelope only when it is durable', async () => {
    const clock = fakeClock();
    let told = 0;
    const { outbox } = await openOutbox({ fsync: 'interval', clock, onDurable: () => told++ });
    told = 0;
    await append(outbox, BOOT, [0, 1]);
    expect(await pending(outbox)).toEqual([]);
    await clock.advance(1000);
    await outbox.sync();
    expect(told).toBe(1);
    expect(await pending(outbox)).toEqual([
      [7, 0],
      [7, 1],
    ]);
  });

  test('deletes segments by receipts only, and remembers what is settled', async () => {
    const { outbox } = await openOutbox();
    await append(outbox, BOOT, upTo(400), 1000);
    const before = outbox.stats();
    expect(before.segments).toBeGreaterThan(4);
    expect(
      await outbox.settle(BOOT, [
        [0, 199],
        [300, 309],
      ]),
    ).toBe(210);
    expect(outbox.stats().segments).toBeLessThan(before.segments);
    expect(await readdir(folder)).toHaveLength(outbox.stats().segments);
    const left = [...upTo(100, 200), ...upTo(90, 310)].map((n) => [7, n]);
    expect(await pending(outbox)).toEqual(left);
    await outbox.sync();
    kill(outbox);
    const { outbox: again } = await openOutbox();
    expect(await pending(again)).toEqual(left);
    expect(again.stats().pending).toBe(190);
  });

  test('a receipt cannot settle what was never sealed', async () => {
    const { outbox } = await openOutbox();
    await append(outbox, BOOT, upTo(3));
    await outbox.settle(BOOT, [[0, 1_000_000]]);
    await outbox.settle(NEXT, [[0, 5]]);
    await append(outbox, BOOT, [3]);
    await append(outbox, NEXT, [0]);
    expect(await pending(outbox)).toEqual([
      [7, 3],
      [8, 0],
    ]);
  });

  test('when full, the oldest segment can be given up', async () => {
    const { outbox } = await openOutbox({ maxBytes: 1 << 18 });
    let seq = 0;
    while (!outbox.isFull(1000)) await append(outbox, BOOT, [seq++], 1000);
    const victim = outbox.victim()!;
    expect(victim.lost).toEqual([{ boot: BOOT, ranges: [[0, victim.envelopes - 1]] }]);
    await outbox.giveUp(victim);
    expect(outbox.isFull(1000)).toBe(false);
    expect(outbox.undeclared()).toEqual(victim.lost);
    expect((await pending(outbox))[0]).toEqual([7, victim.envelopes]);
    expect(outbox.stats().pending).toBe(seq - victim.envelopes);
  });

  test('the number of envelopes is a limit too', async () => {
    const { outbox } = await openOutbox({ maxEnvelopes: 20 });
    await append(outbox, BOOT, upTo(20));
    expect(outbox.isFull(1)).toBe(true);
    expect(outbox.victim()).toBeUndefined();
    await outbox.roll();
    expect(outbox.victim()?.envelopes).toBe(20);
  });

  test('a full disk loses the envelope that did not fit and nothing else', async () => {
    let space = 3000;
    const { outbox } = await openOutbox({
      disk: opening(async (path, flags, mode) => {
        const file = await systemDisk.open(path, flags, mode);
        const write = file.write.bind(file) as (
          ...args: unknown[]
        ) => Promise<{ bytesWritten: number }>;
        file.write = (async (bytes: Uint8Array, offset: number, length: number, at: number) => {
          if (space <= 0) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
          const fits = Math.min(length, space);
          space -= fits;
          return await write(bytes, offset, fits, at);
        }) as typeof file.write;
        return file;
      }),
    });
    let refused = 0;
    for (const seq of upTo(10)) {
      await append(outbox, BOOT, [seq], 500).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'ERR_AGENT_OUTBOX' });
        refused += 1;
      });
    }
    expect(refused).toBe(5);
    space = 10_000;
    await append(outbox, BOOT, [10], 500);
    kill(outbox);
    const { outbox: again, report } = await openOutbox();
    expect(report).toEqual({ tornBytes: 0, damagedBytes: 0 });
    expect(await pending(again)).toEqual([...upTo(5), 10].map((n) => [7, n]));
    expect(again.holes()).toEqual([{ boot: BOOT, ranges: [[5, 9]] }]);
  });

  test('on a full disk a receipt frees what the network has, so that recording goes on', async () => {
    let isFull = false;
    const failing: Partial<OutboxOptions> = {
      segmentBytes: 2000,
      disk: opening(async (path, flags, mode) => {
        const file = await systemDisk.open(path, flags, mode);
        const write = file.write.bind(file) as (...args: unknown[]) => Promise<never>;
        file.write = (async (...args: unknown[]) => {
          const files = (await readdir(folder)).length;
          if (isFull && files >= 5) {
            throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
          }
          return await write(...args);
        }) as typeof file.write;
        return file;
      }),
    };
    const { outbox } = await openOutbox(failing);
    await append(outbox, BOOT, upTo(15), 500);
    expect(outbox.stats().segments).toBe(5);
    isFull = true;
    await expect(append(outbox, BOOT, [15], 500)).rejects.toMatchObject({
      code: 'ERR_AGENT_OUTBOX',
    });
    await outbox.drop(BOOT, [[15, 15]]);
    expect(await outbox.settle(BOOT, [[0, 7]])).toBe(8);
    expect(outbox.stats().segments).toBeLessThan(5);
    await append(outbox, BOOT, [16], 500);
    await outbox.sync();
    kill(outbox);
    const { outbox: again } = await openOutbox();
    expect(await pending(again)).toEqual([...upTo(7, 8), 16].map((seq) => [7, seq]));
    expect(again.undeclared()).toEqual([{ boot: BOOT, ranges: [[15, 15]] }]);
    expect(again.holes()).toEqual([]);
  });

  test('a mark whose write failed is written with the next one', async () => {
    let isFull = false;
    const { outbox } = await openOutbox({
      disk: opening(async (path, flags, mode) => {
        const file = await systemDisk.open(path, flags, mode);
        const write = file.write.bind(file) as (...args: unknown[]) => Promise<never>;
        file.write = (async (...args: unknown[]) => {
          if (isFull) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
          return await write(...args);
        }) as typeof file.write;
        return file;
      }),
    });
    await append(outbox, BOOT, upTo(4));
    await outbox.settle(BOOT, [[0, 1]]);
    isFull = true;
    await expect(outbox.sync()).rejects.toMatchObject({ code: 'ERR_AGENT_OUTBOX' });
    isFull = false;
    await outbox.sync();
    kill(outbox);
    const { outbox: again } = await openOutbox();
    expect(await pending(again)).toEqual([
      [7, 2],
      [7, 3],
    ]);
  });

  test('a cursor that is closed while it reads gives nothing and leaves no file open', async () => {
    const handles = new Set<object>();
    const { outbox } = await openOutbox({
      disk: opening(async (path, flags, mode) => {
        const file = await systemDisk.open(path, flags, mode);
        if (flags !== 'r') return file;
        handles.add(file);
        const close = file.close.bind(file);
        file.close = async () => {
          await close();
          handles.delete(file);
        };
        return file;
      }),
    });
    await append(outbox, BOOT, upTo(4));
    const cursor = outbox.cursor();
    const reading = cursor.next();
    await cursor.close();
    expect(await reading).toBeUndefined();
    expect(await cursor.next()).toBeUndefined();
    expect(handles.size).toBe(0);
  });

  test('what lies behind damage that came while it ran is handed out, and what is written later too', async () => {
    const { outbox } = await openOutbox();
    await append(outbox, BOOT, upTo(4));
    const path = join(folder, '0000000001.seg');
    const bytes = await readFile(path);
    const frame = (bytes.length - 20) / 4;
    // The length of the second frame: nothing in it says any more where the third begins.
    bytes[20 + frame + 2] = 0xff;
    await writeFile(path, bytes);
    const cursor = outbox.cursor();
    const seqs = async (count: number) => {
      const found: (number | undefined)[] = [];
      for (let at = 0; at < count; at += 1) found.push((await cursor.next())?.seq);
      return found;
    };
    expect(await seqs(4)).toEqual([0, 2, 3, undefined]);
    await append(outbox, BOOT, [4]);
    expect(await seqs(2)).toEqual([4, undefined]);
    await cursor.close();
  });

  test('a process that dies while it tidies the front loses nothing that waits there', async () => {
    const front = `${folder}-front`;
    let hasDied = false;
    const { outbox } = await openOutbox({
      frontFolder: front,
      spillBytes: 4000,
      disk: opening(async (path, flags, mode) => {
        const file = await systemDisk.open(path, flags, mode);
        const write = file.write.bind(file) as (...args: unknown[]) => Promise<never>;
        file.write = (async (...args: unknown[]) => {
          if (hasDied) throw Object.assign(new Error('killed'), { code: 'KILLED' });
          return await write(...args);
        }) as typeof file.write;
        return file;
      }),
    });
    await append(outbox, BOOT, upTo(30), 100);
    hasDied = true;
    await outbox.settle(BOOT, [[0, 27]]);
    kill(outbox);
    const { outbox: again } = await openOutbox({ frontFolder: front, spillBytes: 4000 });
    expect((await pending(again)).slice(-2)).toEqual([
      [7, 28],
      [7, 29],
    ]);
    await again.close();
    await rm(front, { recursive: true });
  });

  test('what a card does not give for once is not cut off: it is handed out when it can be read', async () => {
    const { outbox } = await openOutbox();
    await append(outbox, BOOT, upTo(6), 2000);
    kill(outbox);
    const hot = opening(async (path, flags, mode) => {
      const file = await systemDisk.open(path, flags, mode);
      const read = file.read.bind(file) as (...args: unknown[]) => Promise<never>;
      file.read = (async (...args: unknown[]) => {
        const [at, length] = [args[3] as number, args[2] as number];
        if (path.endsWith('1.seg') && at + length > 8192) {
          throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
        }
        return await read(...args);
      }) as typeof file.read;
      return file;
    });
    const { outbox: worn, report } = await openOutbox({ disk: hot });
    expect(report.tornBytes).toBe(0);
    expect(report.damagedBytes).toBeGreaterThan(2000);
    expect(await pending(worn)).toEqual(upTo(4).map((seq) => [7, seq]));
    await append(worn, NEXT, [0]);
    kill(worn);
    const { outbox: cool } = await openOutbox();
    expect(await pending(cool)).toEqual([...upTo(6).map((seq) => [7, seq]), [8, 0]]);
  });

  test('a segment that was cut down to nothing does not stop the start', async () => {
    const { outbox } = await openOutbox();
    await append(outbox, BOOT, upTo(2));
    await outbox.roll();
    await append(outbox, BOOT, [2]);
    kill(outbox);
    await truncate(join(folder, '0000000002.seg'), 7);
    const { outbox: again } = await openOutbox();
    expect(await pending(again)).toEqual([
      [7, 0],
      [7, 1],
    ]);
    await append(again, NEXT, [0]);
    expect(await pending(again)).toEqual([
      [7, 0],
      [7, 1],
      [8, 0],
    ]);
  });

  test('what is surely too old may be given up, also where years passed between two boots', async () => {
    const clock = fakeClock();
    const day = 86_400_000;
    const options = { maxAgeMs: 8 * day, segmentBytes: 1 << 16, clock };
    const { outbox } = await openOutbox({ ...options, trueTimeMs: () => clock.wallMs() });
    await append(outbox, BOOT, [0, 1]);
    await clock.advance(2 * day);
    // Nothing that is young keeps it, nor does it take young ones along.
    await append(outbox, BOOT, [2]);
    expect(outbox.expired()).toBeUndefined();
    await clock.advance(7 * day);
    expect(outbox.expired()).toBeUndefined();
    await clock.advance(day + 1);
    expect(outbox.expired()?.lost).toEqual([{ boot: BOOT, ranges: [[0, 1]] }]);
    await outbox.sync();
    kill(outbox);
    // Without a clock nobody knows how long it was off, so nothing is too old.
    const { outbox: unsure } = await openOutbox({ ...options, trueTimeMs: () => null });
    expect(unsure.expired()).toBeUndefined();
    kill(unsure);
    const { outbox: later } = await openOutbox({ ...options, trueTimeMs: () => clock.wallMs() });
    expect(later.expired()?.lost).toEqual([{ boot: BOOT, ranges: [[0, 1]] }]);
    await later.giveUp(later.expired()!);
    expect(later.expired()).toBeUndefined();
    expect(await pending(later)).toEqual([[7, 2]]);
    expect(later.undeclared()).toEqual([{ boot: BOOT, ranges: [[0, 1]] }]);
  });

  test('with a front what is settled in time never touches the card, and the rest does when it is due', async () => {
    const clock = fakeClock();
    const front = `${folder}-front`;
    const { outbox } = await openOutbox({ frontFolder: front, spillAfterMs: 5000, clock });
    const written = outbox.stats().bytesWritten;
    await append(outbox, BOOT, [0, 1, 2]);
    expect(await pending(outbox)).toEqual(upTo(3).map((seq) => [7, seq]));
    await outbox.settle(BOOT, [[0, 1]]);
    await clock.advance(4999);
    expect(outbox.stats().bytesWritten).toBe(written);
    const cursor = outbox.cursor();
    expect(await cursor.next()).toMatchObject({ seq: 2 });
    await clock.advance(1);
    await outbox.sync();
    expect(outbox.stats()).toMatchObject({ frontBytes: 0, pending: 1 });
    // It has moved while it was read: it comes once more, from the card.
    expect(await cursor.next()).toMatchObject({ seq: 2 });
    expect(await cursor.next()).toBeUndefined();
    await cursor.close();
    kill(outbox);
    await rm(front, { recursive: true });
    const { outbox: again } = await openOutbox({ frontFolder: front, clock });
    expect(await pending(again)).toEqual([[7, 2]]);
    expect(again.holes()).toEqual([]);
    await again.close();
    await rm(front, { recursive: true });
  });

  test('agrees with a model under any order of seals, receipts, drops and restarts', async () => {
    const range = fc
      .tuple(fc.nat(120), fc.nat(30))
      .map(([from, more]) => [from, from + more] as const);
    const command = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          do: fc.constant('append' as const),
          length: fc.integer({ min: 1, max: 9000 }),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          do: fc.constant('settle' as const),
          old: fc.boolean(),
          ranges: fc.array(range, { maxLength: 3 }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('giveUp' as const) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 10, maxLength: 60 }), async (commands) => {
        await rm(folder, { recursive: true, force: true });
        let { outbox } = await openOutbox({ maxBytes: 1 << 30 });
        let counter = 1;
        let seq = 0;
        const boots = [bootOf(1)];
        const model = new Map<string, Set<number>>([['1', new Set()]]);
        for (const step of commands) {
          if (step.do === 'append') {
            await append(outbox, bootOf(counter), [seq], step.length);
            model.get(String(counter))!.add(seq++);
          } else if (step.do === 'settle') {
            const boot = step.old ? boots[0]! : boots[boots.length - 1]!;
            await outbox.settle(boot, step.ranges);
            const waits = model.get(String(boot.counter))!;
            for (const [from, to] of step.ranges) {
              for (const each of [...waits]) if (each >= from && each <= to) waits.delete(each);
            }
          } else if (step.do === 'giveUp') {
            const victim = outbox.victim();
            if (victim === undefined) continue;
            for (const { boot, ranges } of victim.lost) {
              for (const [from, to] of ranges) {
                for (let each = from; each <= to; each += 1) {
                  expect(model.get(String(boot.counter))!.delete(each)).toBe(true);
                }
              }
            }
            await outbox.giveUp(victim);
          } else {
            // Marks are durable with the next sync; a crash before it only means a resend.
            await outbox.sync();
            kill(outbox);
            ({ outbox } = await openOutbox({ maxBytes: 1 << 30 }));
            counter += 1;
            seq = 0;
            boots.push(bootOf(counter));
            model.set(String(counter), new Set());
          }
          const expected = [...model].flatMap(([boot, seqs]) =>
            [...seqs].map((n) => [Number(boot), n]),
          );
          expect(await pending(outbox)).toEqual(expected);
          expect(outbox.stats().pending).toBe(expected.length);
          expect(outbox.holes()).toEqual([]);
        }
        await outbox.close();
        kill(outbox);
      }),
      { numRuns: 40 },
    );
  });
});

function bootOf(counter: number): Boot {
  return { counter, seed: Uint8Array.of(counter, 0, 0, 0) };
}
