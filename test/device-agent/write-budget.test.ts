/**
 * What 1 Hz on ten channels writes to the card a day, counted at the file layer over four hours of it, each like the
 * other; time is moved by the test.
 */

import { checkConfig } from '@fieldproof/device-agent/config';
import { EdgeHost } from '@fieldproof/device-agent/edge/edge-host';
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
const EDGE_SPAN_MS = 3_700_000;
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

/** A good hour of ten channels a second through edge functions, with a front for the messages. */
async function edgeHour(text: string, raw: object = {}) {
  const metrics = Array.from({ length: 10 }, (_, i) => `m${i}`);
  const edge = Object.fromEntries(metrics.map((metric) => [metric, text]));
  const sensors = [{ driver: 'simulated', profile: 'room' }];
  const config = await checkConfig({ edge, sensors, raw });
  const { edge: settings, outbox: queue, disk: budget } = config;
  const clock = fakeClock();
  const meter = new WriteMeter({ clock, ...budget });
  const memory = '/run/agent';
  const disk = meteredDisk(new FragileDisk(), meter, writeKinds('/data', memory));
  await disk.makeFolder('/data/state');
  const outbox = new Outbox({
    ...{ ...queue, folder: '/data/state/outbox', clock, log: silentLog, disk },
    ...{ frontFolder: memory, segmentBytes: 128 * 1024 },
  });
  await outbox.open();
  const host = new EdgeHost({
    ...{ settings, raw: config.raw, folder: '/data/state/raw', disk, log: silentLog, boot: BOOT },
    ...{ monotonicMs: () => clock.monotonicMs(), clockSteps: () => 0, onFull: () => {} },
  });
  await host.open();
  for (let second = 0; 1000 * second < EDGE_SPAN_MS; second += SEAL_S) {
    for (let i = 0; i < SEAL_S * 10; i++) {
      const at = second + Math.floor(i / 10);
      const value = Math.round((20 + 3 * Math.sin(at / 900 + i) + Math.sin(at * i)) * 100) / 100;
      const metric = `m${i % 10}`;
      host.take([{ profile: 'room', metric, unit: 'Cel', value, bootMs: at * 1000 }]);
    }
    await clock.advance(SEAL_S * 1000);
    const [bootMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    const now = { bootMs, wallMs, offsetMs: wallMs - bootMs, boundMs: 20 };
    for await (const payload of host.run(now)) {
      const seq = host.status().results;
      const bytes = new Uint8Array(payload.length + 160);
      await outbox.append({ boot: BOOT, seq, kind: 'result', bytes });
      await host.sealed(payload, seq, now);
    }
    await outbox.settle(BOOT, [[0, 1_000_000]]);
  }
  await host.close();
  await outbox.close();
  return { disk: meter.status(), edge: host.status() };
}

test('a day of edge functions on all of them stays below the budget, most of it the syncs of a result a minute', async () => {
  const { disk, edge } = await edgeHour('window 1m mean,max | deadband 0.2');
  expect(edge).toMatchObject({ lost: 0, begunAnew: 0 });
  expect(disk.bytesPerDay).toBeLessThan(BUDGET);
  expect(disk.bytesPerDay).toBeGreaterThan(30_000_000);
  expect((disk.bytes * 86_400_000) / EDGE_SPAN_MS).toBeLessThan(7_000_000);
  const rare = await edgeHour('window 1m mean,max | deadband 0.2', { sealEveryMs: 300_000 });
  expect(rare.disk.bytesPerDay).toBeLessThan(12_000_000);
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
  const edge = { temperature: 'window 1m' };
  const sensors = [{ driver: 'simulated', profile: 'room' }];
  const said = formatLossWindow(lossWindow(await checkConfig({ edge, sensors }), true));
  expect(said).toBe(
    'by a power cut the last 70 s of what the network does not have, by a crash 10 s; of streams with edge functions by a power cut the last 610 s, by any restart the open windows unless the clock is confirmed within 60 s',
  );
  const always = await checkConfig({ outbox: { fsync: 'always' } });
  expect(formatLossWindow(lossWindow(always, false))).toBe(
    'by a power cut the last 10 s, by a crash 10 s',
  );
});
