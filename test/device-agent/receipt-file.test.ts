import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@fieldproof/device-agent/log';
import { ReceiptFile } from '@fieldproof/device-agent/receipt-file';
import type { Receipt } from '@fieldproof/protocol/settlement-messages';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { fakeClock } from './fake-clock.ts';

/** A receipt for an entry; its bytes stand for the signed ones. */
function kept(index: number, leaf = 0): { bytes: Uint8Array; receipt: Receipt } {
  const receipt: Receipt = {
    at: index,
    boots: [],
    entry: [index, new Uint8Array(32).fill(leaf)],
    heads: [],
    checkpoint: null,
  };
  return { bytes: Uint8Array.of(index, leaf), receipt };
}

describe('the kept receipt', () => {
  let folder: string;
  const clock = fakeClock();

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'agent-receipt-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const make = () => new ReceiptFile({ folder, clock, log: silentLog });
  const read = async (name = 'receipt.cose') => [...(await readFile(join(folder, name)))];

  test('is replaced every 15 minutes at most, and at the stop', async () => {
    const file = make();
    await file.keep(kept(1));
    await file.keep(kept(2));
    expect(await read()).toEqual([1, 0]);
    await clock.advance(15 * 60_000);
    await file.keep(kept(3));
    expect(await read()).toEqual([3, 0]);
    await file.keep(kept(4));
    await file.flush();
    expect(await read()).toEqual([4, 0]);
    expect(await readdir(folder)).toEqual(['receipt.cose']);
  });

  test('outlives a restart, and a log that went back or forked does not replace it', async () => {
    await make().keep(kept(5));
    for (const next of [kept(4), kept(5, 1)]) {
      const file = make();
      await file.open(() => kept(5).receipt);
      expect(file.newest?.entry[0]).toBe(5);
      await file.keep(kept(5));
      expect(file.contradicted).toBe(false);
      await file.keep(next);
      expect(file.contradicted).toBe(true);
      expect(await read()).toEqual([5, 0]);
      expect(await read('receipt-contradiction.cose')).toEqual([...next.bytes]);
    }
  });

  test('that no longer verifies is put aside, not lost', async () => {
    await writeFile(join(folder, 'receipt.cose'), Uint8Array.of(9));
    const file = make();
    await file.open(() => {
      throw new Error('signature');
    });
    expect(file.newest).toBeUndefined();
    await file.keep(kept(1));
    expect(await read('receipt-old.cose')).toEqual([9]);
    expect(await read()).toEqual([1, 0]);
  });

  test('that cannot be written stops nothing', async () => {
    await rm(folder, { recursive: true });
    const file = make();
    await expect(file.keep(kept(1))).resolves.toBeUndefined();
    await expect(file.flush()).resolves.toBeUndefined();
    await writeFile(folder, '');
  });
});
