/**
 * Stores and flows that stop, under load, with real processes: an InfluxDB that takes requests and never answers, that
 * says 503, that is gone, that takes seconds for each write; a control process with the embedded store and a flows
 * process that are stopped (SIGSTOP). Receipts go on, the lag is seen, memory is bounded while 70 MB wait, and in the
 * end both stores hold every reading.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { encode } from '@fieldproof/protocol/cbor';
import { SupervisedProcess } from '@fieldproof/stack/child-process';
import { readSecret } from '@fieldproof/stack/network';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type FlowsProcess, startFlows } from '../flows/flows-process.ts';
import { type Influxd, startInfluxd } from '../support/influxd.ts';
import { until } from '../support/network.ts';
import { describeWith, REPOSITORY } from '../support/services.ts';
import { type BrokerProcess, startBrokerProcess } from './support/broker-process.ts';
import { Flooder } from './support/flooder.ts';
import { memoryOf } from './support/process-memory.ts';
import { type StallingProxy, startStallingProxy } from './support/stalling-proxy.ts';

/** Of about 40 kB each; a phase is more than flows may have in hand unacknowledged (8 batches of 4 MiB). */
const FIRST = 1000;
const PHASE = 250;
const TEXT = 'x'.repeat(10_000);
/** Eight batches as evidence and as tables, four bodies of 4 MiB, and what a garbage collector lets stand. */
const ROOM_MIB = 250;

describeWith(['influxd'], 'stores and flows that stop', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-stalls-'));
  const toEnd: (() => Promise<unknown>)[] = [];
  const stopped = new Set<number>();
  let broker: BrokerProcess;
  let influx: Influxd;
  let proxy: StallingProxy;
  let control: { url: string; token: string; pid: number };
  let toInflux: FlowsProcess;
  let toControl: FlowsProcess;
  let flooder: Flooder;

  beforeAll(async () => {
    influx = await startInfluxd();
    toEnd.push(() => influx.stop());
    proxy = await startStallingProxy(influx.url);
    toEnd.push(() => proxy.close());
    broker = await startBrokerProcess(folder, { HTTP_STALL_MS: 1000 });
    toEnd.push(() => broker.stop());
    const child = new SupervisedProcess({
      name: 'control',
      entry: resolve(REPOSITORY, 'analytics/src/control-main.ts'),
      args: [],
      env: {
        NODE_OPTIONS: '',
        INFLUX_URL: '',
        FIELDPROOF_CONTROL_DATA_DIR: join(folder, 'control'),
        FIELDPROOF_CONTROL_PORT: '0',
        FIELDPROOF_BROKER_URL: broker.http,
        FIELDPROOF_BROKER_TOKEN_FILE: join(broker.dataDir, 'tokens/admin'),
      },
      logFile: join(folder, 'control.log'),
      onEvent: () => {},
    });
    const { url, tokenFiles } = (await child.start()) as unknown as {
      url: string;
      tokenFiles: { admin: string; flows: string };
    };
    toEnd.push(() => child.stop());
    control = { url, token: readSecret(tokenFiles.admin), pid: child.pid! };
    const common = {
      'broker-url': broker.http,
      'tail-token-file': join(broker.dataDir, 'tokens/service'),
      'control-url': url,
      'control-token-file': tokenFiles.flows,
    };
    const influxArgs = { ...common, 'influx-url': `${proxy.url}/fieldproof` };
    toInflux = await startFlows(join(folder, 'influx'), influxArgs, flowOf('influx'));
    toEnd.push(() => toInflux.end());
    toControl = await startFlows(join(folder, 'embedded'), common, flowOf('embedded'));
    toEnd.push(() => toControl.end());
    const device = await broker.device();
    flooder = await Flooder.open(device);
    await flooder.send('birth', [device.seal({ kind: 'birth' })]);
  });

  afterAll(async () => {
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
    flooder?.close();
    for (const end of toEnd.reverse()) await end();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Sends batches and waits for their PUBACKs: whatever stores do, these come. */
  let batches = 0;
  const firstS = Math.floor(Date.now() / 1000) - 5400;
  const send = async (count: number) => {
    const { device } = flooder;
    await flooder.send(
      'telemetry',
      (function* () {
        for (let i = 0; i < count; i++) {
          const time = firstS + batches++;
          const records: Map<number, number | string>[] = ['a', 'b', 'c', 'd'].map(
            (name) =>
              new Map<number, number | string>([
                [0, `air/${name}`],
                [3, TEXT],
                [6, time],
              ]),
          );
          const number: [number, number | string][] = [
            [0, 'air/n'],
            [2, batches],
            [6, time],
          ];
          yield device.seal({ payload: encode([...records, new Map(number)]) });
        }
      })(),
    );
    await until('all are acknowledged', () => flooder.acknowledged === batches + 1);
  };

  const inInflux = async (): Promise<number> => {
    const q = 'SELECT count("n") FROM "air"';
    const query = new URLSearchParams({ db: 'fieldproof', q });
    const answer = (await (await fetch(`${influx.url}/query?${query}`)).json()) as {
      results: { series?: { values: [unknown, number][] }[] }[];
    };
    return answer.results[0]?.series?.[0]?.values[0]?.[1] ?? 0;
  };

  const ask = async (path: string): Promise<unknown> => {
    const headers = { authorization: `Bearer ${control.token}` };
    return (await fetch(`${control.url}${path}`, { headers })).json();
  };

  const inControl = async (): Promise<number> => {
    const path = '/v1/query?profile=air&metric=n&from=-6h&limit=1000000';
    const { series = [] } = (await ask(path)) as { series?: { timesMs: number[] }[] };
    return series.reduce((sum, { timesMs }) => sum + timesMs.length, 0);
  };

  const lag = async () => {
    const { projection } = (await ask('/v1/status')) as {
      projection: { name: string; lagMs: number; nextIndex: number; evidenceSize: number } | null;
    };
    return projection;
  };

  const stop = (pid: number) => {
    stopped.add(pid);
    process.kill(pid, 'SIGSTOP');
  };
  const goOn = (pid: number) => {
    stopped.delete(pid);
    process.kill(pid, 'SIGCONT');
  };

  test('slow nobody down, are seen, cost bounded memory, and catch up without a hole', async () => {
    await send(20);
    await until('both have the first ones', async () => {
      return (await inInflux()) === batches && (await inControl()) === batches;
    });
    const pids = {
      broker: broker.pid,
      influx: toInflux.child.pid!,
      embedded: toControl.child.pid!,
    };
    const before = Object.entries(pids).map(([name, pid]) => [name, pid, memoryOf(pid)] as const);

    proxy.become('silent');
    await send(FIRST);
    await until('the store was asked', () => proxy.requests > 0);
    await until('the lag is seen', async () => {
      const seen = await lag();
      return seen?.name === 'flows-influx' && seen.lagMs > 0 && seen.nextIndex < seen.evidenceSize;
    });
    expect(await inInflux()).toBeLessThan(batches);

    stop(control.pid);
    proxy.become('unavailable');
    await send(PHASE);
    await until('it was tried again', () => proxy.requests > 0);
    proxy.become('refuse');
    await send(PHASE);
    await until('it was tried again', () => proxy.requests > 0);
    goOn(control.pid);

    const { stalled } = (await broker.status()).http;
    stop(toControl.child.pid!);
    proxy.become({ slowMs: 2000 });
    await send(PHASE);
    await until('the broker has cut off the tail that is not read', async () => {
      return (await broker.status()).http.stalled > stalled;
    });
    goOn(toControl.child.pid!);

    proxy.become('forward');
    await until('InfluxDB has all', async () => (await inInflux()) === batches);
    await until('the embedded store has all', async () => (await inControl()) === batches);
    await until('no lag is left', async () => (await lag())?.lagMs === 0);
    for (const [name, pid, memory] of before) {
      if (memory === undefined) continue;
      const more = memoryOf(pid)!.peak - memory.rss;
      expect({ name, isBounded: more < ROOM_MIB, more }).toMatchObject({ isBounded: true });
    }
    const { verdicts } = await broker.status();
    expect(verdicts).toMatchObject({ accepted: batches + 1, rejected: 0, duplicate: 0 });
  });
});

/** Everything to the store, and windows too; the node's id names the projection. */
function flowOf(id: string): object[] {
  return [
    { id: 'tab', type: 'tab', label: 'x' },
    { id: 'n', type: 'fieldproof-network', name: '' },
    {
      ...{ id, type: 'fieldproof-telemetry', z: 'tab', network: 'n', x: 100, y: 100 },
      wires: [['s', 'w']],
    },
    {
      ...{ id: 'w', type: 'fieldproof-window', z: 'tab', size: 60, grace: 1, horizon: 60 },
      ...{ x: 300, y: 200, wires: [['s']] },
    },
    { id: 's', type: 'fieldproof-store', z: 'tab', network: 'n', x: 500, y: 100, wires: [] },
  ];
}
