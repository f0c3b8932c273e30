import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auditEdgeResult } from '@fieldproof/compute/edge-audit';
import type { BatchReading } from '@fieldproof/device-agent/batch';
import type { ClockReading } from '@fieldproof/device-agent/clock-state';
import { type Disk, systemDisk } from '@fieldproof/device-agent/disk';
import { EdgeHost } from '@fieldproof/device-agent/edge/edge-host';
import { checkEdge } from '@fieldproof/device-agent/edge/edge-settings';
import { RawReplay } from '@fieldproof/device-agent/edge/raw-replay';
import { readRawSegments } from '@fieldproof/device-agent/edge/raw-store';
import { silentLog } from '@fieldproof/device-agent/log';
import { decodeEdgeResult } from '@fieldproof/protocol/edge-result';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';

const NOON = 1_795_262_400_000;
const RAW = { keepDays: 7, maxBytes: 64 * 2 ** 20, sealEveryMs: 1000, resultEveryMs: 600_000 };
const folders: string[] = [];
let folder: string;
let boots: number;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edge-'));
  folders.push(folder);
  boots = 0;
});
afterAll(async () => {
  for (const each of folders) await rm(each, { recursive: true });
});

/** What the journal would do: seals each payload with the stamp of now. */
interface Sealed {
  readonly boot: number;
  readonly seq: number;
  readonly payload: Uint8Array;
  readonly now: ClockReading;
}

/** A host in its own boot, that began at `startMs` of the wall clock. */
class Rig {
  readonly host: EdgeHost;
  readonly sealed: Sealed[] = [];
  readonly boot: number;
  readonly startMs: number;
  boundMs: number | null = 20;
  steps = 0;
  monotonicMs = 0;

  private constructor(host: (rig: Rig) => EdgeHost, startMs: number) {
    boots += 1;
    this.boot = boots;
    this.startMs = startMs;
    this.host = host(this);
  }

  static async open(
    edge: object,
    {
      startMs = NOON,
      raw = RAW,
      disk = systemDisk,
    }: { startMs?: number; raw?: typeof RAW; disk?: Disk } = {},
  ): Promise<Rig> {
    const problems: string[] = [];
    const settings = await checkEdge(edge, ['air', 'soil'], problems);
    expect(problems).toEqual([]);
    const make = (rig: Rig): EdgeHost =>
      new EdgeHost({
        ...{ settings, raw, folder, disk, log: silentLog },
        boot: { counter: rig.boot, seed: Uint8Array.of(1, 2, 3, rig.boot) },
        monotonicMs: () => rig.monotonicMs,
        clockSteps: () => rig.steps,
        onFull: () => {},
      });
    const rig = new Rig(make, startMs);
    await rig.host.open();
    return rig;
  }

  /** Readings of air/temperature, one a second from `bootMs` on; returns what goes on as it is. */
  take(bootMs: number, values: readonly BatchReading['value'][], name = 'temperature') {
    const [metric, profile = 'air'] = name.split('/').reverse() as [string, string?];
    return values.flatMap((value, i) => [
      ...this.host.take([{ profile, metric, unit: 'Cel', value, bootMs: bootMs + 1000 * i }]),
    ]);
  }

  nowAt(bootMs: number): ClockReading {
    const wallMs = this.startMs + bootMs;
    return { bootMs, wallMs, offsetMs: this.startMs, boundMs: this.boundMs };
  }

  async run(bootMs: number, flush: 'no' | 'pending' | 'final' = 'no'): Promise<Sealed[]> {
    const now = this.nowAt(bootMs);
    this.monotonicMs = bootMs;
    const before = this.sealed.length;
    for await (const payload of this.host.run(now, flush)) {
      const seq = this.sealed.length;
      this.sealed.push({ boot: this.boot, seq, payload, now });
      await this.host.sealed(payload, seq, now);
    }
    return this.sealed.slice(before);
  }
}

/** `[metric, seconds since noon or sealing, value]` */
const readingsOf = ({ payload }: Sealed): [string, number, number][] => {
  const { runs, timesUs, values } = decodeEdgeResult(payload).decoded;
  return runs.flatMap(({ metric, start, end }) =>
    Array.from({ length: end - start }, (_, i): [string, number, number] => {
      const us = timesUs[start + i]!;
      return [metric, us >= 2 ** 28 * 1e6 ? us / 1e6 - NOON / 1000 : us / 1e6, values[start + i]!];
    }),
  );
};

/** Computes all kept results again, as an auditor would; returns boot and seq of each. */
async function auditAll(disk = systemDisk): Promise<string[]> {
  const audited: string[] = [];
  for await (const records of readRawSegments(folder, disk)) {
    const replay = new RawReplay();
    for (const record of records) {
      const kept = replay.apply(record);
      if (kept === undefined) continue;
      const { payload, bootMs, boundMs, bootCounter, seq } = kept.record;
      const { chunks, states } = kept;
      expect(auditEdgeResult({ result: payload, bootMs, boundMs, chunks, states })).toMatchObject({
        ok: true,
      });
      audited.push(`${bootCounter}/${seq}`);
    }
  }
  return audited;
}

const MEANS = { temperature: 'window 10s mean' };

describe('readings with edge functions', () => {
  test('are taken out of the batch, others are not; texts go on as they are', async () => {
    const rig = await Rig.open({
      temperature: 'deadband 1',
      'soil/ph': { function: 'rate', send: 'both' },
    });
    expect(rig.take(0, [20, 'on', true]).map(({ value }) => value)).toEqual(['on', true]);
    expect(rig.take(0, [20], 'humidity')).toHaveLength(1);
    expect(rig.take(0, [7, 8], 'soil/ph')).toHaveLength(2);
    const rows = [
      { metric: 'temperature', unit: 'Cel' },
      { metric: 'ph', unit: 'pH' },
    ];
    expect(rig.host.metricsOf('air', rows)).toEqual(rows);
    expect(rig.host.metricsOf('soil', rows)).toEqual([...rows, { metric: 'ph.rate', unit: '' }]);
  });

  test('give results that an auditor computes again from what is kept', async () => {
    const rig = await Rig.open({ temperature: 'window 10s mean,max', 'soil/ph': 'deadband 0.2' });
    rig.take(0, [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]);
    rig.take(0, [7, 7.1, 7.3], 'soil/ph');
    const [first] = await rig.run(12_000);
    expect(readingsOf(first!).sort()).toEqual([
      ...[
        ['ph', 0, 7],
        ['ph', 2, 7.3],
        ['temperature.max', 0, 29],
        ['temperature.mean', 0, 24.5],
      ],
    ]);
    rig.take(12_000, [40, 40]);
    expect(await rig.run(14_000)).toEqual([]);
    rig.take(20_000, [50]);
    const [second] = await rig.run(21_000);
    expect(readingsOf(second!)).toEqual([
      ...[
        ['temperature.mean', 10, 35.25],
        ['temperature.max', 10, 40],
      ],
    ] as never);
    const [one, two] = [first!, second!].map(({ payload }) => decodeEdgeResult(payload));
    const temperature = (result: typeof one) =>
      result!.streams.find(({ metric }) => metric === 'temperature')!;
    expect(temperature(two!).before).toEqual(temperature(one!).after);
    expect(temperature(two!)).toMatchObject({ count: 3, fromUs: (NOON + 12_000) * 1000 });
    expect(two!.raw.from).toBe(one!.raw.to + 1);
    expect(await auditAll()).toEqual(['1/0', '1/1']);
    expect(rig.host.status()).toMatchObject({
      ...{ results: 2, lost: 0, begunAnew: 0, line: 'unix', unseen: [] },
      streams: [{ stream: 'air/temperature', given: 15, results: 4 }, { stream: 'soil/ph' }],
    });
  });

  test('are covered now and then also when nothing comes out, and at the end', async () => {
    const rig = await Rig.open({ temperature: 'deadband 5' });
    rig.take(0, [20]);
    expect(await rig.run(1000)).toHaveLength(1);
    rig.take(2000, [20, 21, 20]);
    expect(await rig.run(10_000)).toEqual([]);
    rig.take(600_000, [20]);
    const [covering] = await rig.run(601_000);
    const { streams, readings } = decodeEdgeResult(covering!.payload);
    expect([streams[0]!.count, readings.length]).toEqual([4, 0]);
    rig.take(602_000, [20]);
    expect(await rig.run(603_000, 'final')).toHaveLength(1);
    expect(await auditAll()).toHaveLength(3);
  });

  test('make an alarm that waits for nobody', async () => {
    const raw = { ...RAW, sealEveryMs: 3_600_000 };
    const rig = await Rig.open(
      { temperature: 'threshold above 30', 'soil/ph': 'deadband 0' },
      { raw },
    );
    rig.take(0, [20]);
    rig.take(0, [1], 'soil/ph');
    expect(await rig.run(1000)).toHaveLength(1);
    rig.take(2000, [2], 'soil/ph');
    expect(await rig.run(3000)).toEqual([]);
    rig.take(4000, [31]);
    const [alarm] = await rig.run(5000);
    expect(readingsOf(alarm!)).toContainEqual(['temperature.alarm', 4, 1]);
  });

  test('come in order, once each, whatever order they came in', async () => {
    const rig = await Rig.open({ temperature: 'window 10s count,first' });
    rig.host.take(
      [3000, 1000, 3000, 2000, 11_000].map((bootMs, i) => {
        return { profile: 'air', metric: 'temperature', unit: 'Cel', value: i, bootMs };
      }),
    );
    const [result] = await rig.run(12_000);
    expect(readingsOf(result!)).toEqual([
      ['temperature.count', 0, 3],
      ['temperature.first', 0, 1],
    ]);
    expect(rig.host.status().streams[0]).toMatchObject({ given: 4, duplicate: 1 });
    expect(await auditAll()).toEqual(['1/0']);
  });

  test('by the ten thousand are cut into messages that fit', async () => {
    const rig = await Rig.open({ temperature: 'deadband 0', 'soil/ph': 'rate' });
    const many = Array.from({ length: 6000 }, (_, i) => Math.sqrt(i));
    rig.take(0, many);
    rig.take(0, many, 'soil/ph');
    const sealed = await rig.run(6_000_001, 'pending');
    expect(sealed.length).toBeGreaterThan(5);
    expect(Math.max(...sealed.map(({ payload }) => payload.length))).toBeLessThan(59_800);
    expect(sealed.flatMap(readingsOf)).toHaveLength(6000 + 5999);
    expect(await auditAll()).toHaveLength(sealed.length);
  });
});

describe('a run of many readings', () => {
  test('is replayed though a stream begins behind the first of its chunks', async () => {
    const edge = { 'air/temperature': 'window 1m', 'soil/ph': 'window 1m' };
    const rig = await Rig.open(edge);
    const air = { profile: 'air', metric: 'temperature', unit: 'Cel' };
    const soil = { profile: 'soil', metric: 'ph', unit: 'pH' };
    const many = (count: number, row: typeof air) =>
      rig.host.take(
        Array.from({ length: count }, (_, i) => ({ ...row, value: i, bootMs: i * 20 })),
      );
    many(3000, air);
    many(300, soil);
    await rig.run(60_000);
    many(10, { ...soil, unit: '%' });
    many(3000, air);
    await rig.run(61_000, 'pending');
    expect((await auditAll()).length).toBe(rig.sealed.length);
    const next = await Rig.open(edge, { startMs: NOON + 62_000 });
    expect(next.host.status()).toMatchObject({ begunAnew: 0, lastReason: null });
  });

  test('that all end at once are cut where a message is full, and still audit', async () => {
    const fields = Array.from({ length: 8 }, (_, i) => `p${i + 1}`).join(',');
    const rig = await Rig.open({
      'air/temperature': `window 2h ${fields} every 1m`,
      'soil/ph': 'order 1h | deadband 0',
      'air/humidity': 'window 2h count,mean,min,max,first,last,sum every 1m | rate',
    });
    for (const name of ['temperature', 'soil/ph', 'humidity']) {
      rig.take(
        0,
        Array.from({ length: 1700 }, (_, i) => Math.sin(i)),
        name,
      );
    }
    await rig.run(1_800_000, 'pending');
    for (const name of ['temperature', 'soil/ph', 'humidity']) rig.take(86_400_000, [1], name);
    await rig.run(86_401_000, 'pending');
    const { streams, lost } = rig.host.status();
    expect(lost).toBe(0);
    expect(streams.find(({ stream }) => stream === 'soil/ph')).toMatchObject({
      results: 1500,
      overflowed: 200,
    });
    expect(await auditAll()).toHaveLength(rig.sealed.length);
  });
});

describe('other functions from afar', () => {
  test('leave out streams whose results have the names of others', async () => {
    const rig = await Rig.open({ 'air/temperature.mean': 'deadband 0' });
    const both = { 'air/temperature.mean': 'deadband 0' };
    const settings = await checkEdge({ 'air/temperature': 'window 1s' }, ['air'], []);
    rig.host.change({ ...(await checkEdge(both, ['air'], [])), ...settings });
    await rig.run(0, 'pending');
    expect(rig.take(1000, [20, 21])).toHaveLength(2);
    expect(rig.take(1000, [20, 21], 'temperature.mean')).toEqual([]);
    await rig.run(3000, 'pending');
    expect(rig.host.status().lost).toBe(0);
    expect(await auditAll()).toEqual(['1/0']);
  });

  test('count what waited for the clock for a stream that has none any more', async () => {
    const rig = await Rig.open({ ...MEANS, 'soil/ph': 'deadband 0' });
    rig.boundMs = null;
    rig.take(0, [20, 22]);
    rig.take(0, [7], 'soil/ph');
    rig.host.change(await checkEdge({ 'soil/ph': 'deadband 0' }, ['soil'], []));
    await rig.run(3000);
    expect(rig.host.status()).toMatchObject({ waiting: 1, lost: 2 });
    rig.boundMs = 20;
    expect(await rig.run(4000, 'final')).toHaveLength(1);
    expect(rig.host.status()).toMatchObject({ waiting: 0, lost: 2 });
  });

  test('are in force after all that was pending is sealed', async () => {
    const rig = await Rig.open({ ...MEANS, 'soil/ph': 'deadband 1' });
    rig.take(0, [20, 22]);
    rig.take(0, [7], 'soil/ph');
    await rig.run(3000);
    rig.take(4000, [24]);
    rig.host.change(
      await checkEdge({ temperature: 'deadband 0', 'soil/ph': 'deadband 1' }, ['air', 'soil'], []),
    );
    const [last] = await rig.run(5000);
    expect(decodeEdgeResult(last!.payload).streams[0]).toMatchObject({
      metric: 'temperature',
      count: 1,
    });
    rig.take(6000, [24.5]);
    rig.take(6000, [9], 'soil/ph');
    const [next] = await rig.run(7000);
    expect(readingsOf(next!).sort()).toEqual([
      ['ph', 6, 9],
      ['temperature', 6, 24.5],
    ]);
    const before = decodeEdgeResult(next!.payload).streams.map((each) => [
      each.metric,
      each.before?.length,
    ]);
    expect(before.sort()).toEqual([
      ['ph', 32],
      ['temperature', undefined],
    ]);
    rig.host.change({});
    await rig.run(8000);
    expect(rig.take(9000, [30])).toHaveLength(1);
    expect(rig.host.status()).toMatchObject({ lost: 0, begunAnew: 0, streams: [] });
    expect(await auditAll()).toHaveLength(3);
  });
});

describe('the clock', () => {
  test('that is late is waited for, so that the streams begin on Unix time', async () => {
    const rig = await Rig.open(MEANS);
    rig.boundMs = null;
    rig.take(0, [20, 22]);
    expect(await rig.run(10_000)).toEqual([]);
    rig.boundMs = 20;
    rig.take(11_000, [30]);
    const [result] = await rig.run(20_000);
    expect(readingsOf(result!)).toEqual([['temperature.mean', 0, 21]]);
    expect(rig.host.status()).toMatchObject({ begunAnew: 0, lost: 0 });
  });

  test('that does not come is given up: results count from their sealing', async () => {
    const rig = await Rig.open(MEANS);
    rig.boundMs = null;
    rig.take(0, [20, 22]);
    rig.take(11_000, [30]);
    const [result] = await rig.run(60_000);
    expect(readingsOf(result!)).toEqual([['temperature.mean', -60, 21]]);
    expect(decodeEdgeResult(result!.payload).streams[0]).toMatchObject({ toUs: -49_000_000 });
    // From its confirmation on everything begins anew.
    rig.boundMs = 20;
    rig.take(61_000, [40, 41]);
    await rig.run(63_000, 'pending');
    const { streams } = decodeEdgeResult(rig.sealed[1]!.payload);
    expect(streams[0]).toMatchObject({ before: null, count: 2 });
    expect(rig.host.status()).toMatchObject({
      begunAnew: 1,
      lastReason: 'the clock was synchronised',
    });
    expect(await auditAll()).toEqual(['1/0', '1/1']);
  });

  test('that is set begins the streams anew; what is in no result is counted', async () => {
    const rig = await Rig.open(MEANS);
    rig.take(0, [20]);
    await rig.run(1000);
    rig.take(2000, [20]);
    await rig.run(3000);
    rig.steps = 1;
    rig.take(4000, [20]);
    await rig.run(5000, 'pending');
    expect(decodeEdgeResult(rig.sealed[1]!.payload).streams[0]).toMatchObject({
      before: null,
      count: 1,
    });
    expect(rig.host.status()).toMatchObject({
      begunAnew: 1,
      lost: 1,
      lastReason: 'the clock was set',
    });
    expect(await auditAll()).toEqual(['1/0', '1/1']);
  });
});

describe('a restart', () => {
  test('keeps open windows, and what was in no result yet', async () => {
    const first = await Rig.open(MEANS);
    first.take(0, [20, 22]);
    await first.run(1500, 'pending');
    first.take(3000, [24]);
    await first.run(4000);
    // Killed here: the last run is in no result.
    const second = await Rig.open(MEANS, { startMs: NOON + 6000 });
    second.take(0, [26, 30, 30, 30, 30]);
    const [result] = await second.run(5000);
    expect(readingsOf(result!)).toEqual([
      ['temperature.mean', 0, (20 + 22 + 24 + 26 + 30 + 30 + 30) / 7],
    ]);
    expect(decodeEdgeResult(result!.payload)).toMatchObject({ raw: { from: 1, to: 2 } });
    expect(second.host.status()).toMatchObject({ begunAnew: 0, lost: 0 });
    expect(await auditAll()).toEqual(['1/0', '2/0']);
  });

  test('without a clock begins the streams anew', async () => {
    const first = await Rig.open(MEANS);
    first.take(0, [20, 22]);
    await first.run(3000, 'final');
    const second = await Rig.open(MEANS);
    second.boundMs = null;
    second.take(0, [26]);
    await second.run(1000, 'final');
    expect(decodeEdgeResult(second.sealed[0]!.payload).streams[0]).toMatchObject({ before: null });
    expect(second.host.status()).toMatchObject({ begunAnew: 1 });
    expect(await auditAll()).toEqual(['1/0', '2/0']);
  });

  test('behind whose readings the clock lies begins the streams anew', async () => {
    const first = await Rig.open(MEANS, { startMs: NOON + 86_400_000 });
    first.take(0, [20, 22]);
    await first.run(3000, 'final');
    const second = await Rig.open(MEANS);
    second.take(0, [26, 27]);
    const [result] = await second.run(2000, 'final');
    expect(decodeEdgeResult(result!.payload).streams[0]).toMatchObject({ before: null, count: 2 });
    expect(second.host.status()).toMatchObject({
      begunAnew: 1,
      lastReason: 'the clock is behind the readings before the restart',
      streams: [{ given: 2, late: 0 }],
    });
    expect(await auditAll()).toEqual(['1/0', '2/0']);
  });

  test('with other functions begins those streams anew, and goes on with the rest', async () => {
    const first = await Rig.open({ ...MEANS, 'soil/ph': 'deadband 1' });
    first.take(0, [20, 22]);
    first.take(0, [7], 'soil/ph');
    await first.run(3000, 'final');
    const second = await Rig.open({ temperature: 'window 10s max', 'soil/ph': 'deadband 1' });
    second.take(0, [26]);
    second.take(0, [7.5], 'soil/ph');
    await second.run(4000, 'final');
    const { streams } = decodeEdgeResult(second.sealed[0]!.payload);
    const before = Object.fromEntries(
      streams.map((each) => [each.metric, each.before?.length ?? null]),
    );
    expect(before).toEqual({ temperature: null, ph: 32 });
    expect(await auditAll()).toEqual(['1/0', '2/0']);
  });

  test('after a torn write goes on from what is whole, and after any damage at all', async () => {
    const first = await Rig.open(MEANS);
    first.take(0, [20, 22]);
    await first.run(3000, 'pending');
    first.take(5000, [24]);
    await first.run(6000);
    const [name] = await readdir(folder);
    const good = await readFile(join(folder, name!));
    for (let length = 0; length < good.length; length += 7) {
      await rm(folder, { recursive: true });
      await systemDisk.makeFolder(folder);
      await writeFile(join(folder, name!), good.subarray(0, length));
      const rig = await Rig.open(MEANS);
      rig.take(8000, [26]);
      expect(await rig.run(9000, 'final')).toHaveLength(1);
      const audited = await auditAll();
      expect(audited.at(-1)).toBe(`${rig.boot}/0`);
      await rig.host.close();
    }
  });
});

/** A disk whose bytes and names are lost by `cut`, but for those that were synced. */
function volatileDisk(failAt = Number.POSITIVE_INFINITY): {
  disk: Disk;
  cut: () => void;
  writes: () => number;
} {
  const files = new Map<string, { now: Uint8Array; safe: Uint8Array; isNamed: boolean }>();
  let writes = 0;
  const missing = (path: string) => Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
  const get = (path: string) => {
    const file = files.get(path);
    if (file === undefined) throw missing(path);
    return file;
  };
  const disk: Disk = {
    async open(path, flags) {
      if (flags.startsWith('w')) {
        const old = files.get(path);
        files.set(path, {
          now: new Uint8Array(),
          safe: old?.safe ?? new Uint8Array(),
          isNamed: old?.isNamed ?? false,
        });
      }
      const file = get(path);
      const sync = async () => {
        file.safe = file.now;
      };
      return {
        read: async () => ({ bytesRead: 0 }),
        async write(bytes, offset, length, position) {
          writes += 1;
          const part = bytes.subarray(offset, offset + length);
          if (writes === failAt) {
            const torn = part.subarray(0, part.length >> 1);
            file.now = Buffer.concat([file.now.subarray(0, position), torn]);
            throw Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' });
          }
          file.now = Buffer.concat([file.now.subarray(0, position), part]);
          return { bytesWritten: length };
        },
        truncate: async (length) => {
          file.now = file.now.slice(0, length);
        },
        stat: async () => ({ size: file.now.length }),
        sync,
        datasync: sync,
        close: async () => {},
      };
    },
    readFile: async (path) => get(path).now,
    readdir: async () => [...files.keys()].map((path) => path.split('/').at(-1)!),
    stat: async (path) => ({ size: get(path).now.length, mtimeMs: 0 }),
    makeFolder: async () => {},
    rename: async () => {},
    remove: async (path) => {
      files.delete(path);
    },
    syncFolder: async () => {
      for (const file of files.values()) file.isNamed = true;
    },
  };
  const cut = (): void => {
    for (const [path, file] of files) {
      if (file.isNamed) file.now = file.safe;
      else files.delete(path);
    }
  };
  return { disk, cut, writes: () => writes };
}

describe('the raw store', () => {
  test('has every result that was sealed, whenever the power goes', async () => {
    for (let runs = 1; runs <= 8; runs++) {
      const { disk, cut } = volatileDisk();
      const first = await Rig.open(MEANS, { disk });
      for (let i = 0; i < runs; i++) {
        first.take(i * 7000, [20 + i, 21, 22]);
        await first.run(i * 7000 + 3000);
      }
      const chunks = new Set<number>();
      for (const { payload } of first.sealed) {
        const { from, to } = decodeEdgeResult(payload).raw;
        for (let n = from; n <= to; n++) chunks.add(n);
      }
      cut();
      const kept = new Set<number>();
      for await (const records of readRawSegments(folder, disk)) {
        for (const each of records) if (each.type === 'chunk') kept.add(each.number);
      }
      expect([...chunks].filter((n) => !kept.has(n))).toEqual([]);
      const second = await Rig.open(MEANS, { disk, startMs: NOON + 100_000 });
      second.take(0, [1]);
      expect(await second.run(1000, 'final')).toHaveLength(1);
      await auditAll(disk);
    }
  });

  test('that cannot be written loses no more than the results of that run, and says so', async () => {
    const { disk: counted, writes } = volatileDisk();
    const steps = async (disk: Disk): Promise<Rig> => {
      const rig = await Rig.open(MEANS, { disk });
      for (let i = 0; i < 6; i++) {
        rig.take(i * 7000, [20 + i, 21, 22]);
        await rig.run(i * 7000 + 3000).catch((error: { code?: string }) => {
          expect(error.code).toBe('ERR_AGENT_RAW');
        });
      }
      return rig;
    };
    await steps(counted);
    for (let failAt = 1; failAt <= writes(); failAt++) {
      const { disk, cut } = volatileDisk(failAt);
      const rig = await steps(disk);
      expect(rig.sealed.length).toBeGreaterThan(0);
      cut();
      await auditAll(disk);
      const next = await Rig.open(MEANS, { disk, startMs: NOON + 100_000 });
      next.take(0, [1]);
      expect(await next.run(1000, 'final')).toHaveLength(1);
    }
  });

  test('lets the oldest go when it is full, or old by a clock that is believed', async () => {
    const raw = { ...RAW, maxBytes: 2 ** 20 };
    const { disk } = volatileDisk();
    const rig = await Rig.open({ temperature: 'deadband 1000' }, { raw, disk });
    let noise = 1;
    for (let i = 0; i < 80; i++) {
      const values = Array.from({ length: 2500 }, () => {
        noise = (noise * 16_807) % 2_147_483_647;
        return noise / 7;
      });
      rig.take(i * 2_500_000, values);
      await rig.run((i + 1) * 2_500_000, 'pending');
    }
    const { bytes, evicted, segments } = rig.host.status().raw;
    expect(bytes).toBeLessThan(1.3 * 2 ** 20);
    expect(evicted).toBeGreaterThan(2);
    expect(await disk.readdir(folder)).toHaveLength(segments);
    expect((await auditAll(disk)).length).toBeGreaterThan(20);
    // Eight days later, but without a clock nothing is old.
    const later = 200_000_000 + 8 * 86_400_000;
    rig.boundMs = null;
    await rig.run(later);
    expect(rig.host.status().raw.segments).toBe(segments);
    rig.boundMs = 20;
    await rig.run(later + 1000);
    expect(rig.host.status().raw.segments).toBe(1);
  });
});
