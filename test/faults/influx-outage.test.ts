/**
 * InfluxDB is gone for ten minutes of the devices' time, while they go on measuring: their clocks are injected and run
 * forty times as fast. Receipts go on; when InfluxDB is back, it gets every reading once, and the windows are right.
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readInfluxDatabase } from '@fieldproof/analytics/audit/stored-readings';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { until } from '../support/network.ts';
import { describeWith } from '../support/services.ts';
import { BrokenNetwork } from './broken-network.ts';
import { Load } from './load.ts';
import { settle } from './settle.ts';

const RATE = 40;
const MINUTE_MS = 60_000;
const OUTAGE_MS = 10 * MINUTE_MS;
const PARTS = 5;
const DEVICES = 3;
const PROFILES = ['room0', 'room1'];
const METRICS = ['temperature', 'humidity', 'pressure'];
/** Of the default flow. */
const WINDOW_S = 60;
const WINDOW_NAME = '1m';

interface Window {
  count: number;
  min: number;
  max: number;
}

describeWith(['influxd'], 'InfluxDB gone for ten minutes under load', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-outage-'));
  const startedWallMs = Date.now() - 30 * MINUTE_MS;
  let network: BrokenNetwork;
  let load: Load;

  beforeAll(async () => {
    const dataDir = join(folder, 'data');
    network = await BrokenNetwork.start({ dataDir, store: 'influx', fleet: false });
    mkdirSync(join(folder, 'load'));
    load = new Load({
      ...{ folder: join(folder, 'load'), joinLine: await network.createJoinLine(10) },
      ...{ processes: 1, agents: DEVICES, sensors: PROFILES.length, proxyHost: null },
      fast: { rate: RATE, startWallMs: startedWallMs },
    });
    await load.prepare();
    await load.start();
  }, 300_000);

  afterAll(async () => {
    await load?.stop();
    await network?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('devices go on forgetting, nothing is lost or doubled, windows are right', async () => {
    await until('readings are stored', async () => (await stored()).readings > 100);
    await network.influx!.kill();
    const before = load.totals.readings;
    // What counts is the devices' time, however slow this machine is.
    for (let part = 0; part < PARTS; part++) {
      const { receipts } = load;
      await new Promise((done) => setTimeout(done, OUTAGE_MS / PARTS / RATE));
      await until('new receipts arrive', () => load.receipts > receipts);
    }
    await until('the devices have forgotten what was recorded', () =>
      load.progress.every(({ pending }) => pending < 50),
    );
    const during = load.totals.readings - before;
    expect(during).toBeGreaterThan(DEVICES * PROFILES.length * METRICS.length * 20);
    await network.influx!.restart();

    const series = DEVICES * PROFILES.length * METRICS.length;
    // A window is written when its time is over; the last two of a series need not be.
    const missing = ({ windows, expected }: Awaited<ReturnType<typeof stored>>) =>
      [...expected.keys()].filter((key) => !windows.has(key)).length;
    const { audit, auditText, exitCode, misplaced, badLines } = await settle(network, load, {
      startedWallMs,
      isDrained: async () => missing(await stored()) <= 3 * series,
    });
    expect({ auditText, badLines, misplaced, exitCode }).toEqual({
      ...{ auditText: '', badLines: [], misplaced: 0, exitCode: 0 },
    });
    expect(audit).toMatchObject({ code: 0, report: { ok: true } });
    for (const { name, checked } of audit.report!.checks) {
      expect({ name, isChecked: checked > 0 }).toEqual({ name, isChecked: true });
    }
    const { readings, windows, expected } = await stored();
    expect(readings).toBeGreaterThan(during);
    expect(windows.size).toBeGreaterThan(10 * series);
    for (const [key, window] of windows)
      expect({ key, ...window }).toEqual({ key, ...expected.get(key) });
  }, 600_000);

  /** What is in InfluxDB: readings, windows as they are stored, and as they come to from the readings. */
  const stored = async () => {
    const windows = new Map<string, Window>();
    const expected = new Map<string, Window>();
    let readings = 0;
    const source = readInfluxDatabase({ url: network.influx!.url, database: 'fieldproof' });
    for await (const { measurement, tags, fields, rows } of source) {
      const [profile = '', size] = measurement.split('_');
      if (!PROFILES.includes(profile)) continue;
      for (const { timeUs, values } of rows) {
        const startS = Math.floor(timeUs / 1e6 / WINDOW_S) * WINDOW_S;
        for (const metric of METRICS) {
          const key = `${tags.device} ${profile} ${metric} ${startS}`;
          const of = (field: string) => values[fields.indexOf(field)];
          if (size === WINDOW_NAME) {
            const [count, min, max] = [`${metric}_count`, `${metric}_min`, `${metric}_max`].map(of);
            if (typeof count !== 'number') continue;
            windows.set(key, { count, min: Number(min), max: Number(max) });
          } else {
            const value = of(metric);
            if (typeof value !== 'number') continue;
            readings++;
            const { count, min, max } = expected.get(key) ?? { count: 0, min: value, max: value };
            expected.set(key, {
              ...{ count: count + 1, min: Math.min(min, value), max: Math.max(max, value) },
            });
          }
        }
      }
    }
    return { readings, windows, expected };
  };
});
