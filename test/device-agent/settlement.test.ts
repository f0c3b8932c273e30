import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Journal } from '@fieldproof/device-agent/journal';
import { silentLog } from '@fieldproof/device-agent/log';
import { Outbox } from '@fieldproof/device-agent/outbox';
import { ParkedStore } from '@fieldproof/device-agent/parked';
import { Settlement } from '@fieldproof/device-agent/settlement';
import type { Receipt } from '@fieldproof/protocol/settlement-messages';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { fakeClock } from './fake-clock.ts';

const SEED = Uint8Array.of(1, 2, 3, 4);
const NOTHING = new Map<string, never>();

describe('a receipt', () => {
  let folder: string;
  let outbox: Outbox;
  let parked: ParkedStore;
  let settlement: Settlement;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'agent-settlement-'));
    const clock = fakeClock();
    const log = silentLog;
    outbox = new Outbox({
      folder: join(folder, 'outbox'),
      maxBytes: 1 << 20,
      maxEnvelopes: 1000,
      segmentBytes: 1 << 16,
      fsync: 'always',
      fsyncEveryMs: 1000,
      clock,
      log,
    });
    await outbox.open();
    parked = new ParkedStore({ folder: join(folder, 'parked'), max: 2 });
    await parked.open();
    const journal = { oweGap() {} } as unknown as Journal;
    settlement = new Settlement({ outbox, parked, journal, clock, log });
    for (let seq = 0; seq < 6; seq += 1) {
      await outbox.append({
        boot: { counter: 7, seed: SEED },
        seq,
        kind: 'telemetry',
        bytes: Uint8Array.of(seq),
      });
    }
  });
  afterEach(async () => {
    await outbox.close();
    await rm(folder, { recursive: true });
  });

  const receipt = (boots: Receipt['boots']): Receipt => ({
    at: 1,
    boots,
    entry: [0, new Uint8Array(32)],
    heads: [],
    checkpoint: null,
  });

  test('counts as recorded what it settles, not what it lists as rejected', async () => {
    const listed = receipt([[7, SEED, 2, [[4, 4]], [[1, 'ERR_TIME_FUTURE']]]]);
    expect(await settlement.receipt(listed, NOTHING)).toBe(3);
    expect(outbox.pendingRanges({ counter: 7, seed: SEED })).toEqual([
      [3, 3],
      [5, 5],
    ]);
    expect(settlement.counts()).toMatchObject({
      settled: 3,
      rejected: 1,
      lastReject: { code: 'ERR_TIME_FUTURE' },
    });
    expect(parked.list()).toHaveLength(1);
  });

  test('does its work although a rejected envelope cannot be parked; that one waits', async () => {
    await rm(join(folder, 'parked'), { recursive: true });
    await writeFile(join(folder, 'parked'), '');
    const listed = receipt([[7, SEED, 5, [], [[1, 'ERR_TIME_FUTURE']]]]);
    expect(await settlement.receipt(listed, NOTHING)).toBe(5);
    expect(outbox.pendingRanges({ counter: 7, seed: SEED })).toEqual([[1, 1]]);
    await rm(join(folder, 'parked'));
    await parked.open();
    await settlement.receipt(listed, NOTHING);
    expect(outbox.stats().pending).toBe(0);
    expect(parked.list()).toHaveLength(1);
  });

  test('has all rejects acknowledged, also of envelopes that the parked store has no room for', async () => {
    const seqs = () => parked.toAcknowledge().map(({ seq }) => seq);
    const rejected: [number, string][] = [0, 1, 2, 3].map((seq) => [seq, 'ERR_TIME_FUTURE']);
    const listed = receipt([[7, SEED, 3, [], rejected]]);
    await settlement.receipt(listed, NOTHING);
    expect(parked.list().map(({ seq }) => seq)).toEqual([2, 3]);
    expect(seqs()).toEqual([0, 1, 2, 3]);
    parked.acknowledged(parked.toAcknowledge());
    expect(seqs()).toEqual([]);
    // After a start only the receipt tells.
    await parked.open();
    await settlement.receipt(listed, NOTHING);
    expect(seqs().sort()).toEqual([0, 1, 2, 3]);
    const many = Array.from({ length: 1100 }, (_, seq): [number, string] => [seq + 10, 'ERR_X']);
    await settlement.receipt(receipt([[7, SEED, 3, [], many]]), NOTHING);
    expect(seqs()).toHaveLength(1024);
  });

  test('of 32 newer boots ends the declarations of a closed one, but not of an open one', async () => {
    const boot = { counter: 7, seed: SEED };
    await outbox.drop(boot, [[2, 3]]);
    const above = (from: number, count: number): Receipt['boots'] =>
      Array.from({ length: count }, (_, at) => [from + at, SEED, 0, [], []]);
    await settlement.receipt(receipt(above(8, 31)), NOTHING);
    expect(outbox.undeclared()).toEqual([{ boot, ranges: [[2, 3]] }]);
    await settlement.receipt(receipt(above(8, 32)), NOTHING);
    expect(outbox.undeclared()).toEqual([]);
    // What was never sent stays all the same.
    expect(outbox.pendingRanges(boot)).toEqual([
      [0, 1],
      [4, 5],
    ]);
  });

  test('applied twice, or after a newer one, changes nothing', async () => {
    const newer = receipt([[7, SEED, 4, [], []]]);
    const older = receipt([[7, SEED, 1, [], []]]);
    expect(await settlement.receipt(newer, NOTHING)).toBe(5);
    expect(await settlement.receipt(newer, NOTHING)).toBe(0);
    expect(await settlement.receipt(older, NOTHING)).toBe(0);
    expect(outbox.stats().pending).toBe(1);
  });
});
