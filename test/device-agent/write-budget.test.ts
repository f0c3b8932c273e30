/**
 * What 1 Hz on ten channels writes to the card a day, counted at the file layer over four hours of it, each like the
 * other; time is moved by the test.
 */

import { checkConfig } from '@fieldproof/device-agent/config';
import { silentLog } from '@fieldproof/device-agent/log';
import { formatLossWindow, lossWindow } from '@fieldproof/device-agent/loss-window';
import { Outbox } from '@fieldproof/device-agent/outbox';
import { ReceiptFile } from '@fieldproof/device-agent/receipt-file';
import { formatDisk, saveStatus } from '@fieldproof/device-agent/status';
import { meteredDisk, WriteMeter, writeKinds } from '@fieldproof/device-agent/write-meter';
import { encodeTelemetry } from '@fieldproof/protocol/readings-encode';
import { describe, expect, test } from '@jest/globals';
import { fakeClock } from './fake-clock.ts';
import { FragileDisk } from './fragile-disk.ts';

const SPAN_S = 4 * 3600;
const SPANS_A_DAY = 6;
const SEAL_S = 10;
const BUDGET = 40_000_000;
const BOOT = { counter: 1, seed: Uint8Array.of(1, 2, 3, 4) };
/** What a batch of ten seconds is long, header and signature included. */
const ENVELOPE = new Uint8Array(batchBytes() + 160).fill(0x5a);

/** Ten metrics a second for ten seconds, as a room has them. */
function batchBytes(): number {
  const readings = Array.from({ length: SEAL_S * 10 }, (_, at) => ({
    ...{ profile: 'room', metric: `m${at % 10}`, unit: 'Cel' },
    value: Math.round((20 + Math.sin(at) * 3) * 100) / 100,
    timeMs: 1_767_225_600_000 + Math.floor(at / 10) * 1000,
  }));
  const payloads = encodeTelemetry(readings, { format: 'columns' });
  return payloads.reduce((sum, { payload }) => sum + payload.length, 0);
}

/** Four hours of the agent's work, in which the network answers within a seal or not at all. */
async function fourHours(options: { readonly hasFront: boolean; readonly isOnline: boolean }) {
  const { outbox: settings, disk: budget } = await checkConfig({});
  const clock = fakeClock();
  const meter = new WriteMeter({ clock, ...budget });
  const memory = options.hasFront ? '/run/agent' : undefined;
  const disk = meteredDisk(new FragileDisk(), meter, writeKinds('/data', memory));
  await disk.makeFolder('/data/state');
  const outbox = new Outbox({
    ...{ ...settings, folder: '/data/state/outbox', clock, log: silentLog, disk },
    ...{ frontFolder: memory, segmentBytes: 128 * 1024 },
  });
  await outbox.open();
  let seq = 0;
  const append = (bytes: Uint8Array, kind: 'telemetry' | 'event') =>
    outbox.append({ boot: BOOT, seq: seq++, kind, bytes });
  const receipts = new ReceiptFile({ folder: '/data/state', clock, log: silentLog, disk });
  const status = { text: 'x'.repeat(2500) } as never;
  for (let second = 0; second < SPAN_S; second += SEAL_S) {
    await append(ENVELOPE, 'telemetry');
    if (options.isOnline) {
      if (second % 50 === 0)
        await append(ENVELOPE.subarray(0, 140), 'event').then(() => outbox.sync());
      await clock.advance(2000);
      await outbox.settle(BOOT, [[0, 1_000_000]]);
      const entry = [second, new Uint8Array(32)];
      const bytes = new Uint8Array(900);
      await receipts.keep({ bytes, receipt: { entry } as never });
      await clock.advance(SEAL_S * 1000 - 2000);
    } else await clock.advance(SEAL_S * 1000);
    const isDue = options.hasFront || second % 60 === 0;
    if (isDue) await saveStatus(memory ?? '/data', status, disk);
  }
  await outbox.close();
  return { status: meter.status(), pending: outbox.stats().pending };
}

describe('a day of 1 Hz on ten channels', () => {
  test('with a front stays far below the budget, journal of the file system and all', async () => {
    const { status, pending } = await fourHours({ hasFront: true, isOnline: true });
    expect(status.bytesPerDay).toBeLessThan(BUDGET / 5);
    expect(pending).toBe(0);
    // What was acknowledged in time was never written.
    expect(status.kinds.outbox!.bytes).toBeLessThan(10_000);
    expect(status.kinds.status).toBeUndefined();
    expect(formatDisk(status)).toMatch(/^\d\.\d MB\/day of 40\.0$/);
  });

  test('without a network all day it stays below the budget too', async () => {
    const { status, pending } = await fourHours({ hasFront: true, isOnline: false });
    expect(status.bytesPerDay).toBeLessThan(BUDGET);
    expect(pending).toBe(SPAN_S / SEAL_S);
    expect(status.kinds.outbox!.bytes * SPANS_A_DAY).toBeGreaterThan(2_000_000);
  });

  test('without a front the bytes stay below it, and the pages are told', async () => {
    const { status } = await fourHours({ hasFront: false, isOnline: true });
    expect(status.bytes * SPANS_A_DAY).toBeLessThan(BUDGET);
    expect(status.bytesPerDay).toBeGreaterThan(BUDGET);
    expect(formatDisk(status)).toMatch(/over budget: see doctor$/);
  });
});

test('the day’s figure is of the last 24 hours, and none before the first is over', async () => {
  const clock = fakeClock();
  const meter = new WriteMeter({ clock, budgetBytesPerDay: BUDGET });
  meter.count('boot', { bytes: 100, pages: 1000, syncs: 3 });
  await clock.advance(3_599_000);
  expect(meter.status().bytesPerDay).toBeNull();
  expect(formatDisk(meter.status())).toMatch(/^0\.0 MB written; /);
  await clock.advance(1000);
  expect(meter.status().bytesPerDay).toBe(1000 * 4096 * 24);
  await clock.advance(30 * 3_600_000);
  expect(meter.status()).toMatchObject({ bytesPerDay: 0, pages: 1000, bytes: 100 });
});

test('what can be lost follows from the settings', async () => {
  const config = await checkConfig({});
  expect(lossWindow(config, true)).toMatchObject({ powerCutMs: 70_000, crashMs: 10_000 });
  expect(lossWindow(config, false)).toMatchObject({ powerCutMs: 11_000, crashMs: 10_000 });
  const always = await checkConfig({ outbox: { fsync: 'always' } });
  expect(formatLossWindow(lossWindow(always, false))).toBe(
    'by a power cut the last 10 s, by a crash 10 s',
  );
});
