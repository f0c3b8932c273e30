/**
 * Readings behind the log, when the flows process is killed without warning at random instants under load, and InfluxDB
 * goes away and comes back: real broker, control process, Node-RED and InfluxDB. In the end both stores
 * hold every recorded reading once, with its value, and every window as it is recomputed from the readings.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from '@fieldproof/protocol/cbor';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { SupervisedProcess } from '@fieldproof/stack/child-process';
import { readSecret } from '@fieldproof/stack/network';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { TestDevice } from '../broker/support/device.ts';
import { type FlowsProcess, startFlows } from '../flows/flows-process.ts';
import { type Influxd, startInfluxd } from '../support/influxd.ts';
import { until } from '../support/network.ts';
import { programPath } from '../support/program.ts';
import { describeWith } from '../support/services.ts';

const SEED = Number(process.env.SEED ?? 20_261_121);
const KILLS = 4;
const DEVICES = 3;
const METRICS = ['temp', 'Temp', 'time'];
const WINDOW_S = 5;

/** Of every reading: `device metric µs`. */
type Points = Map<string, number>;

describeWith(['influxd'], 'projections of a killed flows process', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-crash-'));
  const processes: SupervisedProcess[] = [];
  const devices: TestDevice[] = [];
  const random = mulberry32(SEED);
  const expected: Points = new Map();
  let influx: Influxd;
  let flowsArgs: Readonly<Record<'influx' | 'embedded', Record<string, string>>>;
  let control: { url: string; token: string };

  const launch = async (name: string, module: string, env: Record<string, string>) => {
    const child = new SupervisedProcess({
      name,
      entry: programPath(module),
      args: [],
      env: { NODE_OPTIONS: '', INFLUX_URL: '', ...env },
      logFile: join(folder, `${name}.log`),
      onEvent: () => {},
    });
    processes.push(child);
    return child.start();
  };

  beforeAll(async () => {
    influx = await startInfluxd();
    const brokerDir = join(folder, 'broker');
    const { network, addresses } = (await launch('broker', 'broker/src/broker-main.ts', {
      FIELDPROOF_BROKER_DATA_DIR: brokerDir,
      FIELDPROOF_BROKER_HTTP_PORT: '0',
      FIELDPROOF_BROKER_MQTT_PORT: '0',
    })) as unknown as { network: string; addresses: { http: string; mqtt: string } };
    const tokenFile = join(brokerDir, 'tokens/admin');
    const { url, tokenFiles } = (await launch('control', 'analytics/src/control-main.ts', {
      FIELDPROOF_CONTROL_DATA_DIR: join(folder, 'control'),
      FIELDPROOF_CONTROL_PORT: '0',
      FIELDPROOF_BROKER_URL: addresses.http,
      FIELDPROOF_BROKER_TOKEN_FILE: tokenFile,
      FIELDPROOF_NETWORK: network,
    })) as unknown as { url: string; tokenFiles: { admin: string; flows: string } };
    control = { url, token: readSecret(tokenFiles.admin) };
    const tail = {
      'broker-url': addresses.http,
      'tail-token-file': join(brokerDir, 'tokens/service'),
    };
    flowsArgs = {
      influx: { ...tail, 'influx-url': influx.url },
      embedded: { ...tail, 'control-url': url, 'control-token-file': tokenFiles.flows },
    };
    for (let i = 0; i < DEVICES; i++) {
      const device = new TestDevice({ ...addresses, network });
      await device.enrol(
        await createJoinLine({ url: addresses.http, tokenFile }, { uses: 1, hours: 1 }),
      );
      await device.connect();
      await device.publish('birth', device.seal({ kind: 'birth' }));
      devices.push(device);
    }
  });

  afterAll(async () => {
    for (const device of devices) await device.close();
    for (const child of processes.reverse()) await child.stop();
    await influx?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** One batch of a random device: some instants, out of order between batches, each time used once. */
  let used = 0;
  const fromS = Math.floor(Date.now() / 1000) - 1800;
  const publish = async () => {
    const device = devices[Math.floor(random() * DEVICES)]!;
    const records: Map<number, number | string>[] = [];
    for (let i = 0; i < 6; i++) {
      const time = fromS + (((used++ * 7) % 1201) + Math.floor(used / 1201) / 16);
      for (const metric of METRICS) {
        const value = Math.round(random() * 2000) / 8;
        records.push(
          new Map<number, number | string>([
            [0, `air/${metric}`],
            [2, value],
            [6, time],
          ]),
        );
        expected.set(`${device.id} ${metric} ${time * 1e6}`, value);
      }
    }
    await device.publish('telemetry', device.seal({ payload: encode(records) }));
  };

  test('every recorded reading is stored once, and windows are right', async () => {
    let isLoading = true;
    const load = (async () => {
      while (isLoading) {
        await publish();
        await pause(15);
      }
    })();
    const killing = async (name: 'influx' | 'embedded') => {
      for (let kill = 0; kill < KILLS; kill++) {
        const flows = await start(name);
        if (name === 'influx' && kill === 1) {
          await influx.kill();
          setTimeout(() => void influx.restart(), 2500);
        }
        await pause(100 + random() * 1500);
        await flows.end('SIGKILL');
      }
    };
    const start = (name: 'influx' | 'embedded'): Promise<FlowsProcess> =>
      startFlows(join(folder, `flows-${name}`), flowsArgs[name], FLOW);
    await Promise.all([killing('influx'), killing('embedded')]);
    isLoading = false;
    await load;

    const last = await Promise.all([start('influx'), start('embedded')]);
    try {
      const windows = naiveWindows(expected);
      for (const read of [fromInflux, fromControl]) {
        const what = `${read.name} has all (SEED=${SEED})`;
        await until(what, async () => (await read('air', METRICS)).size === expected.size);
        expect(await read('air', METRICS)).toEqual(expected);
        for (const field of ['count', 'sum', 'min', 'max'] as const) {
          const metrics = METRICS.map((metric) => `${metric}_${field}`);
          const wanted = new Map(
            [...windows].map(([key, window]) => {
              const [device, metric, us] = key.split(' ');
              return [`${device} ${metric}_${field} ${us}`, window[field]];
            }),
          );
          const profile = `air_${WINDOW_S}s`;
          const isRight = async () => same(await read(profile, metrics), wanted);
          await until(`${read.name} has every ${field} (SEED=${SEED})`, isRight);
        }
      }
    } finally {
      for (const flows of last) expect(await flows.end()).toBe(0);
    }
    for (const flows of last) expect(flows.output()).not.toMatch(/"level":[56]0/);
  });

  const fromInflux = async (profile: string, metrics: readonly string[]): Promise<Points> => {
    const points: Points = new Map();
    for (const metric of metrics) {
      // A field may not be called time; see analytics/src/store/field-keys.ts.
      const field = metric === 'time' ? '_time' : metric;
      const query = new URLSearchParams({
        db: 'fieldproof',
        epoch: 'u',
        q: `SELECT "${field}", "device" FROM "${profile}"`,
      });
      const answer = (await (await fetch(`${influx.url}/query?${query}`)).json()) as {
        results: { series?: { values: [number, number, string][] }[] }[];
      };
      for (const [us, value, device] of answer.results[0]?.series?.[0]?.values ?? []) {
        putOnce(points, `${device} ${metric} ${us}`, value);
      }
    }
    return points;
  };

  const fromControl = async (profile: string, metrics: readonly string[]): Promise<Points> => {
    const points: Points = new Map();
    for (const metric of metrics) {
      const query = new URLSearchParams({ profile, metric, from: '-2h', limit: '1000000' });
      const response = await fetch(`${control.url}/v1/query?${query}`, {
        headers: { authorization: `Bearer ${control.token}` },
      });
      const { series } = (await response.json()) as {
        series: { device: string; timesMs: number[]; values: number[] }[];
      };
      for (const { device, timesMs, values } of series) {
        for (const [i, ms] of timesMs.entries()) {
          putOnce(points, `${device} ${metric} ${Math.round(ms * 1000)}`, values[i]!);
        }
      }
    }
    return points;
  };
});

const FLOW = [
  { id: 'tab', type: 'tab', label: 'x' },
  { id: 'n', type: 'fieldproof-network', name: '' },
  {
    ...{ id: 't', type: 'fieldproof-telemetry', z: 'tab', network: 'n', x: 100, y: 100 },
    wires: [['s', 'w']],
  },
  {
    ...{ id: 'w', type: 'fieldproof-window', z: 'tab', x: 200, y: 200 },
    ...{ size: WINDOW_S, grace: 1, horizon: 7200, wires: [['sw']] },
  },
  { id: 's', type: 'fieldproof-store', z: 'tab', network: 'n', x: 300, y: 100, wires: [] },
  { id: 'sw', type: 'fieldproof-store', z: 'tab', network: 'n', x: 300, y: 200, wires: [] },
];

/** Values are eighths, so that sums of any order are exact. */
function naiveWindows(points: Points) {
  const windows = new Map<string, { count: number; sum: number; min: number; max: number }>();
  for (const [key, value] of points) {
    const [device, metric, us] = key.split(' ');
    const start = Math.floor(Number(us) / 1e6 / WINDOW_S) * WINDOW_S * 1e6;
    const id = `${device} ${metric} ${start}`;
    const { count, sum, min, max } = windows.get(id) ?? {
      ...{ count: 0, sum: 0 },
      ...{ min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY },
    };
    windows.set(id, {
      ...{ count: count + 1, sum: sum + value },
      ...{ min: Math.min(min, value), max: Math.max(max, value) },
    });
  }
  return windows;
}

function putOnce(points: Points, key: string, value: number): void {
  if (points.has(key)) throw new Error(`stored twice: ${key}`);
  points.set(key, value);
}

function same(a: Points, b: Points): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** Numbers from 0 to below 1, the same for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
