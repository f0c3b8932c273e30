import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auditConservation } from '@fieldproof/analytics/audit/conservation';
import { readDuckdbFile } from '@fieldproof/analytics/audit/stored-readings';
import { runCli } from '@fieldproof/analytics/cli/program';
import { type RunningControl, startControl } from '@fieldproof/analytics/control';
import { ProjectRun } from '@fieldproof/analytics/project/project-run';
import { httpLineSink, type LineSinkOptions } from '@fieldproof/analytics/projection/line-sink';
import { InfluxStore } from '@fieldproof/analytics/store/influx-store';
import type { TimeSeriesStore } from '@fieldproof/analytics/store/time-series-store';
import type { EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type Influxd, startInfluxd } from '../../support/influxd.ts';
import { describeWith } from '../../support/services.ts';
import { type FakeDevice, FakeLog, fakeDevice, NOON } from '../projection/evidence.ts';
import { TailServer, TOKEN, until } from '../projection/tail-server.ts';

/** A month before what is made for other tests: windows are due by any clock. */
const BACK_MS = 30 * 86_400_000;
const START = NOON - BACK_MS;

class PastLog extends FakeLog {
  override add(entry: EvidenceEntry, body?: Uint8Array): number {
    return super.add(entry.type === 'batch' ? { ...entry, at: entry.at - BACK_MS } : entry, body);
  }
}

let folder = '';
let log: PastLog;
let server: TailServer;
let tailUrl = '';
let devices: FakeDevice[] = [];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rebuild-'));
  writeFileSync(join(folder, 'tail-token'), TOKEN);
  devices = [0, 1, 2].map(fakeDevice);
  log = new PastLog();
  server = new TailServer(log);
  tailUrl = await server.start();
});
afterEach(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

function fill(entries: number): void {
  for (const device of devices) if (log.size < 4) log.birth(device, 'replay');
  for (let i = 0; i < entries; i++) {
    const t = START / 1000 + log.size * 10;
    const points = [0, 1, 2, 3].map((s) => [t + s * 2, 0.1 * i + s] as const);
    log.telemetry(devices[i % 3]!, points);
  }
}

/** What people see: devices, newest values, raw points, buckets, windows but for how often they were emitted. */
async function answers(store: TimeSeriesStore): Promise<unknown> {
  const range = { fromMs: START - 1e6, toMs: START + 1e9, groupByDevice: true } as const;
  const metrics = ['mean', 'min', 'max', 'count', 'first', 'last', 'sum'];
  return {
    devices: await store.devices(),
    latest: (await store.latest({})).filter(({ metric }) => metric !== 'version'),
    raw: await store.range({ profile: 'air', metric: 'temp', ...range }),
    buckets: await store.range({ profile: 'air', metric: 'temp', bucketMs: 60_000, ...range }),
    windows: await Promise.all(
      metrics.map((name) => store.range({ profile: 'air_1m', metric: `temp_${name}`, ...range })),
    ),
  };
}

async function projectAll(sink: LineSinkOptions): Promise<void> {
  const run = await ProjectRun.start({
    name: 'flows',
    folder,
    tail: { url: tailUrl, token: async () => TOKEN },
    sink: httpLineSink(sink),
    windowsMs: [60_000],
    once: true,
  });
  await run.ended;
  await run.stop();
}

async function rebuild(
  args: readonly string[],
  options: { readonly env?: Record<string, string>; readonly interrupted?: AbortSignal } = {},
) {
  const out: string[] = [];
  const err: string[] = [];
  const { env = {}, interrupted } = options;
  const where = ['--broker-url', tailUrl, '--tail-token-file', join(folder, 'tail-token')];
  const code = await runCli(['rebuild', '--data', folder, ...where, ...args], {
    ...{ env, cwd: folder, fetch },
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    ...(interrupted === undefined ? {} : { interrupted: () => interrupted }),
  });
  return { code, out: out.join(''), err: err.join('') };
}

describe('rebuilding the embedded store', () => {
  let control: RunningControl;
  const sink = () => ({ url: control.url, token: async () => token });
  let token = '';
  beforeEach(async () => {
    control = await startControl({ dataDir: join(folder, 'control'), port: 0 });
    token = readFileSync(control.tokenFiles.admin!, 'utf8').trim();
  });
  afterEach(() => control.stop());

  test('the same queries have the same answers, and what was not recorded is gone', async () => {
    fill(60);
    await projectAll(sink());
    const before = await answers(control.store);
    const forged = `air,device=${fakeDevice(1).id},source=replay temp=99 ${START}000\n`;
    await control.store.writeLines(Buffer.from(forged), { precision: 'u' });
    expect(await answers(control.store)).not.toEqual(before);
    expect(await rebuild([])).toMatchObject({ code: 0, out: 'rebuilt\n' });
    expect(await answers(control.store)).toEqual(before);
    const { out } = await rebuild(['--json']);
    expect(JSON.parse(out)).toMatchObject({ nextIndex: log.size, readings: 240, refused: 0 });
    expect(await answers(control.store)).toEqual(before);
  });

  test('queries are answered and writes go on meanwhile, and nothing is lost or doubled', async () => {
    fill(200);
    const live = await ProjectRun.start({
      name: 'live',
      folder,
      tail: { url: tailUrl, token: async () => TOKEN },
      sink: httpLineSink(sink()),
    });
    let isDone = false;
    let asked = 0;
    const asking = (async () => {
      while (!isDone && asked < 2000) {
        expect((await control.store.latest({})).length).toBeGreaterThanOrEqual(0);
        asked++;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    const growing = (async () => {
      while (!isDone && log.size < 5000) {
        fill(5);
        server.push();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    const result = await rebuild([]).finally(() => {
      isDone = true;
    });
    await Promise.all([asking, growing]);
    expect(result).toMatchObject({ code: 0 });
    expect(asked).toBeGreaterThan(3);
    await until(() => live.status.projection.cursorIndex === log.size);
    await live.stop();
    await control.stop();
    const report = await auditConservation({
      frames: async function* () {
        yield* log.frames;
      },
      rejects: [],
      checkpoint: undefined,
      devices: [],
      store: readDuckdbFile(join(folder, 'control', 'store', 'readings.duckdb')),
    });
    expect(report.checks.filter(({ violations }) => violations > 0)).toEqual([]);
    expect(report.counts.store?.stored).toBe(report.counts.readings.placeable);
  });

  test('interrupted, it changes nothing, and can be run again', async () => {
    fill(30);
    await projectAll(sink());
    const before = await answers(control.store);
    const ended = await rebuild([], { interrupted: AbortSignal.abort() });
    expect(ended.code).toBe(1);
    expect(ended.err).toContain('ERR_REBUILD_INTERRUPTED');
    expect(await answers(control.store)).toEqual(before);
    expect(await rebuild([])).toMatchObject({ code: 0 });
    expect(await answers(control.store)).toEqual(before);
  });

  test('profiles that no evidence gives are not thrown away unasked', async () => {
    fill(9);
    await projectAll(sink());
    const own = Buffer.from('weather,device=x rain=1 1000000\n');
    await control.store.writeLines(own, { precision: 'u' });
    const refused = await rebuild([]);
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('got none of weather');
    expect((await control.store.latest({ profile: 'weather' })).length).toBe(1);
    await control.store.writeLines(own, { precision: 'u' });
    expect(await rebuild(['--force'])).toMatchObject({ code: 0 });
    expect(await control.store.latest({ profile: 'weather' })).toEqual([]);
  });
});

describeWith(['influxd'], 'rebuilding InfluxDB', () => {
  let influx: Influxd;
  beforeAll(async () => {
    influx = await startInfluxd();
  });
  afterAll(() => influx.stop());
  let count = 0;

  async function withStore<T>(database: string, use: (store: TimeSeriesStore) => Promise<T>) {
    const store = new InfluxStore({ url: influx.url, database });
    await store.open();
    return use(store).finally(() => store.close());
  }

  test('the same queries have the same answers, in another database or in place', async () => {
    const source = `source${count++}`;
    fill(60);
    await projectAll({ url: influx.url, database: source });
    const before = await withStore(source, answers);
    const args = ['--influx-url', influx.url, '--source', source];
    expect(await rebuild(args)).toMatchObject({ code: 0 });
    expect(await withStore(`${source}_rebuilt`, answers)).toEqual(before);

    const again = await rebuild(args);
    expect(again.err).toContain('ERR_REBUILD_TARGET');
    const forged = Buffer.from('air,device=x temp=99 1000000\n');
    await withStore(source, (store) => store.writeLines(forged, { precision: 'u' }));
    expect(await rebuild([...args, '--database', source, '--replace'])).toMatchObject({ code: 0 });
    expect(await withStore(source, answers)).toEqual(before);
  });

  test('interrupted, it goes on where it stopped', async () => {
    const source = `source${count++}`;
    fill(60);
    await projectAll({ url: influx.url, database: source });
    const args = ['--influx-url', influx.url, '--source', source];
    const ended = await rebuild(args, { interrupted: AbortSignal.abort() });
    expect(ended.err).toContain('ERR_REBUILD_INTERRUPTED');
    expect(await rebuild(args)).toMatchObject({ code: 0 });
    expect(await withStore(`${source}_rebuilt`, answers)).toEqual(await withStore(source, answers));
  });
});
