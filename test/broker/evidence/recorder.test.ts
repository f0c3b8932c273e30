import type { AppendOutcome } from '@fieldproof/broker/evidence/log-contract';
import { Recorder, type RecorderOptions } from '@fieldproof/broker/evidence/recorder';
import { describe, expect, test } from '@jest/globals';
import { until } from '../../support/network.ts';
import { type Fault, MemoryFiles } from './memory-files.ts';
import { device, drain, envelope, openLog, put, seed } from './open-log.ts';

const full = { kind: 'refused', error: expect.objectContaining({ code: 'ERR_LOG_FULL' }) };

describe('a full disk', () => {
  test('at any operation refuses what is not durable, and recording goes on when there is space', async () => {
    const settings = { segmentBytes: 1500 };
    const total = await operationsOf(settings);
    let refusals = 0;
    for (let at = 1; at <= total; at += 1) {
      for (const written of [0, 10]) {
        const files = new MemoryFiles();
        const log = await openLog(files, settings);
        const from = files.operations.length;
        files.fault = () =>
          files.operations.length >= from + at && files.operations.length < from + at + 3
            ? { written }
            : undefined;
        const outcomes = await appendThrice(log);
        const refused = outcomes.filter(({ kind }) => kind === 'refused');
        refusals += refused.length;
        for (const outcome of refused) expect(outcome).toEqual(full);
        files.fault = () => undefined;

        // What was refused is sent again, and what was accepted is known.
        for (const [seq, outcome] of outcomes.entries()) {
          const kind = outcome.kind === 'accepted' ? 'duplicate' : 'accepted';
          expect(await put(log, envelope(seq))).toMatchObject({ kind });
        }
        const live = await drain(log.tail(0, { live: false }));
        await log.close();
        const again = await openLog(files, settings);
        expect(again.report).toMatchObject({ size: outcomes.length, droppedBytes: 0 });
        expect(await drain(again.tail(0, { live: false }))).toEqual(live);
        await again.close();
      }
    }
    expect(refusals).toBeGreaterThan(0);
  });

  test.each([
    ['made', 'open'],
    ['begun', 'write'],
    ['made durable', 'syncFolder'],
  ])(
    'that let no segment be %s leaves none behind that keeps the log from opening',
    async (_what, name) => {
      const files = new MemoryFiles();
      const settings = { segmentBytes: 1500 };
      const log = await openLog(files, settings);
      await put(log, envelope(0, { bytes: 500 }));
      let isFull = true;
      files.fault = (operation) => (isFull && operation.name === name ? {} : undefined);
      expect(await put(log, envelope(1, { bytes: 1000 }))).toEqual(full);
      isFull = false;
      // These would have room in the segment before.
      expect(await put(log, envelope(2))).toMatchObject({ kind: 'accepted', index: 1 });
      expect(await put(log, envelope(1, { bytes: 1000 }))).toMatchObject({ kind: 'accepted' });
      const again = await openLog(files.afterKill(), settings);
      expect(again.size).toBe(3);
      await again.close();
      await log.close();
    },
  );

  test('nothing whose sync failed is there after a restart, even when its bytes reached the file', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    await put(log, envelope(0));
    files.fault = ({ name, path }) => (name === 'sync' && path.endsWith('.seg') ? {} : undefined);
    expect(await put(log, envelope(1))).toEqual(full);
    files.fault = () => undefined;
    expect(await put(log, envelope(2))).toMatchObject({ kind: 'accepted', index: 1 });
    const log2 = await openLog(files.afterKill());
    expect(log2.size).toBe(2);
    expect(log2.receiptFor(device(0)).boots[0]).toMatchObject({
      settledThrough: 0,
      ranges: [[2, 2]],
    });
    await log2.close();
    await log.close();
  });

  test('is not tried again before the pause is over', async () => {
    let now = 0;
    const failed: unknown[] = [];
    const files = new MemoryFiles();
    const fill: Fault = ({ name }) => (name === 'write' ? {} : undefined);
    files.fault = fill;
    const recorder = await makeRecorder(files, {
      monotonicMs: () => now,
      retryMs: 1000,
      onFailure: (error) => failed.push(error),
    });
    await expect(append(recorder)).rejects.toMatchObject({ code: 'ERR_LOG_FULL' });
    files.fault = () => undefined;
    const operations = files.operations.length;
    now = 999;
    expect(recorder.isRefusing).toBe(true);
    await expect(append(recorder)).rejects.toMatchObject({ code: 'ERR_LOG_FULL' });
    expect(files.operations.length).toBe(operations);
    now = 1000;
    expect(recorder.isRefusing).toBe(false);
    expect(await append(recorder)).toBe(0);
    expect(failed).toEqual([expect.objectContaining({ code: 'ENOSPC' })]);
    await recorder.close();
  });

  test('is no longer named when there is room again, though nobody writes', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files, { probeMs: 5 });
    await put(log, envelope(0));
    let probes = 0;
    files.fault = ({ name, path }) => {
      if (name !== 'write') return undefined;
      if (path.endsWith('probe')) probes += 1;
      return { written: 10 };
    };
    expect(await put(log, envelope(1))).toEqual(full);
    const reject = { device: device(0), bootCounter: 1, bootSeed: seed, seq: 5, code: 'ERR_X' };
    await expect(log.settleReject(reject)).rejects.toMatchObject({ code: 'ERR_LOG_FULL' });
    await until('the disk was tried in vain', () => probes >= 4);
    expect(log.problem).toMatchObject({ code: 'ERR_LOG_FULL' });
    files.fault = () => undefined;
    await until('it is as if nothing was', () => log.problem === null);
    expect(files.paths().filter((path) => path.endsWith('probe'))).toEqual([]);
    expect(await put(log, envelope(1))).toMatchObject({ kind: 'accepted', index: 1 });
    await log.close();
  });

  test('that had no room for a reject is well again while entries are recorded', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files, { probeMs: 5 });
    files.fault = ({ name, path }) =>
      name === 'write' && path.includes('rejects') ? {} : undefined;
    const reject = { device: device(0), bootCounter: 1, bootSeed: seed, seq: 5, code: 'ERR_X' };
    await expect(log.settleReject(reject)).rejects.toMatchObject({ code: 'ERR_LOG_FULL' });
    expect(await put(log, envelope(0))).toMatchObject({ kind: 'accepted' });
    expect(log.problem).toMatchObject({ code: 'ERR_LOG_FULL' });
    files.fault = () => undefined;
    await until('rejects can be settled', () => log.problem === null);
    await log.close();
  });

  test('is probed with a file that a killed broker may leave behind: it is no segment and goes at the next start', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files, { probeMs: 1 });
    await put(log, envelope(0));
    let isProbing = false;
    files.fault = ({ name, path }) => {
      isProbing ||= name === 'remove' && files.paths().includes(path);
      // A probe that is killed is not removed either.
      return name === 'write' || isProbing ? {} : undefined;
    };
    expect(await put(log, envelope(1))).toEqual(full);
    await until('it was probed', () => isProbing);
    const left = files.afterKill();
    expect(left.paths()).toContain('/log/segments/probe');
    left.put('/log/rejects/probe', new Uint8Array(7));
    const again = await openLog(left);
    expect(left.paths().filter((path) => path.endsWith('probe'))).toEqual([]);
    expect(await put(again, envelope(1))).toMatchObject({ kind: 'accepted', index: 1 });
    await again.close();
    files.fault = () => undefined;
    await log.close();
  });

  test('is not found to have room by writing over a probe that has its blocks already', async () => {
    const files = new MemoryFiles();
    const recorder = await makeRecorder(files, { probeMs: 1 });
    await append(recorder);
    const old = new Uint8Array(1 << 17);
    files.put('/log/probe', old);
    let probes = 0;
    files.fault = ({ name, path }) => {
      if (path === '/log/probe' && name === 'write') probes += 1;
      if (name === 'write')
        return files.paths().some((it) => it === path && files.get(it) === old) ? undefined : {};
      return undefined;
    };
    await expect(append(recorder)).rejects.toMatchObject({ code: 'ERR_LOG_FULL' });
    await until('it was probed twice', () => probes >= 2);
    expect(recorder.failure).toMatchObject({ code: 'ERR_LOG_FULL' });
    await recorder.close();
  });

  test('may be closed while it is probed: the probe ends, and none comes after it', async () => {
    const files = new MemoryFiles();
    const recorder = await makeRecorder(files, { probeMs: 1 });
    await append(recorder);
    let probes = 0;
    let begun = () => {};
    const probing = new Promise<void>((resolve) => {
      begun = resolve;
    });
    files.fault = ({ name, path }) => {
      if (name !== 'write') return undefined;
      if (path === '/log/probe') {
        probes += 1;
        begun();
      }
      return {};
    };
    await expect(append(recorder)).rejects.toMatchObject({ code: 'ERR_LOG_FULL' });
    await probing;
    await recorder.close();
    expect(files.paths()).not.toContain('/log/probe');
    const { length } = files.operations;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([probes, files.operations.length]).toEqual([1, length]);
  });

  test('keeps a reject from being sent as settled', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    const key = { device: device(0), bootCounter: 1, bootSeed: new Uint8Array(4), seq: 0 };
    files.fault = ({ name }) => (name === 'sync' ? {} : undefined);
    await expect(log.settleReject({ ...key, code: 'ERR_X' })).rejects.toMatchObject({
      code: 'ERR_LOG_FULL',
    });
    expect(log.receiptFor(device(0)).boots).toEqual([]);
    files.fault = () => undefined;
    await log.settleReject({ ...key, code: 'ERR_X' });
    expect(log.receiptFor(device(0)).boots[0]?.rejected).toEqual([[0, 'ERR_X']]);
    await log.close();
  });
});

describe('group commit', () => {
  test('what arrives in one turn is one write and one sync, told in order after it', async () => {
    const files = new MemoryFiles();
    const recorder = await makeRecorder(files);
    await append(recorder);
    files.operations.length = 0;
    const told: number[] = [];
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        told.push(await append(recorder));
        expect(files.operations.map(({ name }) => name)).toEqual(['write', 'sync']);
      }),
    );
    expect(told).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    await recorder.close();
  });

  test('a commit takes no more than commitBytes', async () => {
    const files = new MemoryFiles();
    const chunks: number[] = [];
    const recorder = await makeRecorder(files, {
      commitBytes: 300,
      onCommit: ({ chunk }) => chunks.push(chunk.length),
    });
    await Promise.all(Array.from({ length: 7 }, () => append(recorder, 100)));
    expect(chunks).toEqual([242, 242, 242, 121]);
    await recorder.close();
  });

  test('pending bytes hold senders back until they are durable', async () => {
    const recorder = await makeRecorder(new MemoryFiles(), { maxPendingBytes: 200 });
    const first = append(recorder, 100);
    expect([recorder.isFull, recorder.pendingBytes]).toEqual([false, 121]);
    const second = append(recorder, 100);
    expect(recorder.isFull).toBe(true);
    await recorder.drained();
    expect([recorder.isFull, recorder.pendingBytes]).toEqual([false, 0]);
    await Promise.all([first, second]);
    await recorder.close();
  });

  test('after close everything is refused, and what came before is durable', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    const before = put(log, envelope(0));
    const closed = log.close();
    expect(await put(log, envelope(1))).toEqual(full);
    expect(await before).toMatchObject({ kind: 'accepted' });
    await closed;
    expect(log.isRefusing).toBe(true);
  });
});

async function appendThrice(log: Awaited<ReturnType<typeof openLog>>): Promise<AppendOutcome[]> {
  const outcomes: AppendOutcome[] = [];
  for (let seq = 0; seq < 9; seq += 3) {
    const burst = [seq, seq + 1, seq + 2].map((n) => put(log, envelope(n)));
    outcomes.push(...(await Promise.all(burst)));
  }
  return outcomes;
}

async function operationsOf(settings: Record<string, number>): Promise<number> {
  const files = new MemoryFiles();
  const log = await openLog(files, settings);
  const before = files.operations.length;
  await appendThrice(log);
  const count = files.operations.length - before;
  await log.close();
  return count;
}

async function makeRecorder(
  files: MemoryFiles,
  options: Partial<RecorderOptions> = {},
): Promise<Recorder> {
  return new Recorder({
    files,
    folder: '/log',
    writer: undefined,
    nextIndex: 0,
    monotonicMs: () => 0,
    onCommit: () => undefined,
    onFailure: () => undefined,
    segmentBytes: 1 << 20,
    commitBytes: 1 << 20,
    commitIntervalMs: 0,
    maxPendingBytes: 1 << 20,
    retryMs: 0,
    probeMs: 1e9,
    ...options,
  });
}

function append(recorder: Recorder, bodyBytes = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    recorder.append(Uint8Array.of(1), new Uint8Array(bodyBytes), (error, index) => {
      if (error === null) resolve(index);
      else reject(error);
    });
  });
}
