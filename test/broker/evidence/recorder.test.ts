import type { AppendOutcome } from '@fieldproof/broker/evidence/evidence-log';
import { Recorder, type RecorderOptions } from '@fieldproof/broker/evidence/recorder';
import { describe, expect, test } from '@jest/globals';
import { type Fault, MemoryFiles } from './memory-files.ts';
import { device, drain, envelope, openLog, put } from './open-log.ts';

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
