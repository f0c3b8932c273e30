/**
 * Whether memory stays where it is: the network as it is deployed, with windows, under half of its highest rate for five
 * minutes; resident memory of every process once a second from /proc. The first minute is for warming up; over the
 * rest the trend (slope.ts) decides. What lives on the heap after a collection is told beside it, so that a
 * collector that takes its time is not mistaken for a leak, nor hides one.
 */

import { join } from 'node:path';
import { type Child, type Message, startModule } from './child.ts';
import { findProgram } from './find-program.ts';
import { BATCH_READINGS } from './fleet.ts';
import { startInflux } from './influx-server.ts';
import type { LiveOrder, LivePlan, LiveResult, LiveRun } from './live-load-main.ts';
import type { Benchmark } from './main.ts';
import { type BrokerUnderTest, STORE_FLOW, startBroker, startFlows } from './network-under-test.ts';
import { type Own, temporaryFolder, withResources } from './resources.ts';
import { type BenchCase, benchCase } from './result.ts';
import { type Sample, slopeOf } from './slope.ts';

const DEVICES = 100;
const WINDOW = 500;
const DATABASE = 'bench';
const SATURATED_SECONDS = 10;
/** Fills what is bounded by bytes, as the broker's tail ring of 32 MiB, before anything is judged. */
const FILL_MESSAGES = 60_000;
const FILL_MAX_SECONDS = 240;
/** At 5,000 messages a second this is ten bytes a message. */
const FLAT_MIB_PER_MINUTE = 3;
const CAUGHT_UP_MS = 120_000;

/** Live memory after a collection, MiB. */
interface Live {
  readonly heap: number;
  readonly external: number;
  /** What V8 has taken from the system for its heap. */
  readonly heapTaken: number;
}

interface Watched {
  readonly name: string;
  readonly child: Child;
  /** Has the probe: a Node process other than the load generator. */
  readonly isOurs: boolean;
  readonly rss: Sample[];
  handlesAtStart: number;
  /** Once a minute after the warm-up, and at the end. */
  readonly live: Live[];
}

export const memory: Benchmark = (options) =>
  withResources(async (own) => {
    const { progress, short } = options;
    const influxd = findProgram('influxd');
    if (influxd === null) {
      progress('SKIPPED: memory needs influxd, which this machine does not have');
      return { cases: [], notes: ['**Skipped**: no influxd on this machine.'] };
    }
    const minutes = options.minutes ?? (short ? 0.1 : 5);
    const folder = temporaryFolder(own);
    const nodeArgs = [
      '--expose-gc',
      '--import',
      new URL('./memory-probe.mjs', import.meta.url).href,
    ];
    const influx = await startInflux(own, influxd);
    const broker = await startBroker(own, { folder, profileFolder: null, nodeArgs });
    const influxUrl = `${influx.url}/${DATABASE}`;
    const control = await startControl(own, { folder, broker, influxUrl, nodeArgs });
    const flows = await startFlows(own, {
      ...{ folder, broker, influxUrl, profileFolder: null, nodeArgs, flow: WINDOW_FLOW },
      control: control.address,
    });
    const load = await startLiveLoad(own, {
      http: broker.http,
      mqttPort: broker.mqttPort,
      joinLine: await broker.joinLine(DEVICES),
      devices: DEVICES,
    });
    const watched = [
      watch('broker', broker.child, true),
      watch('flows', flows, true),
      watch('control', control.child, true),
      watch('influxd', influx.child, false),
      watch('load generator', load.child, false),
    ];

    // Threads and caches of the first second are no measure of the rate.
    const first = await load.run({ seconds: short ? 1 : 5, rate: null, window: WINDOW });
    const saturated = await load.run({
      seconds: short ? 1 : SATURATED_SECONDS,
      minMessages: short ? 0 : FILL_MESSAGES,
      maxSeconds: FILL_MAX_SECONDS,
      rate: null,
      window: WINDOW,
    });
    const rate = saturated.messages / saturated.seconds / 2;
    progress(`highest rate ${Math.round(2 * rate)} messages/s; ${minutes} minutes at half of it`);
    const warmSeconds = Math.min(60, (minutes * 60) / 5);
    const result = await sampled(watched, { warmSeconds, progress }, () =>
      load.run({ seconds: minutes * 60, rate, window: WINDOW }),
    );
    const sent = first.messages + saturated.messages + result.messages;
    await checkNothingLost({ broker, count: () => influx.count(DATABASE, 'air', 'temp') }, sent);
    return {
      cases: watched.map((one) => caseOf(one, warmSeconds)),
      notes: [
        `${Math.round(result.messages / result.seconds)} messages/s of ${BATCH_READINGS} readings from ${DEVICES} devices for ${minutes} minutes, half of ${Math.round(2 * rate)} that this machine reached with the load generator signing as it sends (${Math.round(result.cpuPercent)} % of a core at half the rate).`,
        `Slope: median of all pairs of samples after the first ${Math.round(warmSeconds)} s. Flat is at most ${FLAT_MIB_PER_MINUTE} MiB a minute; influxd is not ours and only reported.`,
        'Nothing was lost: InfluxDB holds as many instants as were sent.',
        ...watched.map(noteOf),
      ],
      details: Object.fromEntries(watched.map((one) => [one.name, detailsOf(one, warmSeconds)])),
    };
  });

async function sampled<T>(
  watched: readonly Watched[],
  options: { readonly warmSeconds: number; readonly progress: (line: string) => void },
  run: () => Promise<T>,
): Promise<T> {
  const start = performance.now();
  const secondsNow = () => (performance.now() - start) / 1000;
  for (const one of watched) one.handlesAtStart = one.child.handles();
  let asked = Promise.resolve();
  let nextLive = options.warmSeconds;
  const sample = () => {
    const at = secondsNow();
    for (const { child, rss } of watched) rss.push({ at, value: child.rssMiB() });
    if (at >= nextLive) {
      nextLive += 60;
      asked = asked.then(() => askLive(watched));
    }
    if (watched[0]!.rss.length % 30 === 0) {
      const now = watched.map(({ name, rss }) => `${name} ${Math.round(rss.at(-1)!.value)}`);
      options.progress(`${Math.round(at)} s, MiB: ${now.join(', ')}`);
    }
  };
  sample();
  const timer = setInterval(sample, 1000);
  try {
    const result = await run();
    await asked;
    await askLive(watched);
    return result;
  } finally {
    clearInterval(timer);
  }
}

async function askLive(watched: readonly Watched[]): Promise<void> {
  for (const one of watched.filter(({ isOurs }) => isOurs)) {
    const usage = (await one.child.ask({ order: 'memory', gc: true }, 'memory')) as Message & {
      readonly heapUsed: number;
      readonly heapTotal: number;
      readonly external: number;
    };
    one.live.push({
      heap: usage.heapUsed / 2 ** 20,
      external: usage.external / 2 ** 20,
      heapTaken: usage.heapTotal / 2 ** 20,
    });
  }
}

function watch(name: string, child: Child, isOurs: boolean): Watched {
  return { name, child, isOurs, rss: [], handlesAtStart: 0, live: [] };
}

function caseOf(one: Watched, warmSeconds: number): BenchCase {
  const { slope } = detailsOf(one, warmSeconds);
  return benchCase({
    case: `${one.name}, growth`,
    unit: 'MiB/min',
    values: [slope],
    ...(one.name === 'influxd' ? {} : { goal: { on: 'value', max: FLAT_MIB_PER_MINUTE } }),
  });
}

function detailsOf({ child, rss, handlesAtStart, live }: Watched, warm: number) {
  const values = rss.map(({ value }) => value);
  return {
    rssStart: values[0]!,
    rssEnd: values.at(-1)!,
    rssMax: Math.max(...values),
    slope: 60 * slopeOf(rss.filter(({ at }) => at >= warm)),
    handlesStart: handlesAtStart,
    handlesEnd: child.handles(),
    live,
    rss: values,
  };
}

function noteOf(one: Watched): string {
  const { rssStart, rssEnd, rssMax, handlesStart, handlesEnd, live } = detailsOf(one, 0);
  const series = live.map(({ heap, external }) => `${heap.toFixed(1)} + ${external.toFixed(1)}`);
  const heap = one.isOurs
    ? `; heap + outside of it after a collection, each minute: ${series.join(', ')} MiB`
    : '';
  return `${one.name}: resident ${rssStart.toFixed(0)} → ${rssEnd.toFixed(0)} MiB, most ${rssMax.toFixed(0)}; handles ${handlesStart} → ${handlesEnd}${heap}.`;
}

async function startControl(
  own: Own,
  options: {
    readonly folder: string;
    readonly broker: BrokerUnderTest;
    readonly influxUrl: string;
    readonly nodeArgs: readonly string[];
  },
): Promise<{ readonly child: Child; readonly address: { url: string; tokenFile: string } }> {
  const child = await startModule({
    name: 'control',
    module: '@fieldproof/analytics/control-main',
    nodeArgs: options.nodeArgs,
    env: {
      FIELDPROOF_CONTROL_DATA_DIR: join(options.folder, 'control'),
      FIELDPROOF_CONTROL_PORT: '0',
      FIELDPROOF_BROKER_URL: options.broker.http,
      FIELDPROOF_BROKER_TOKEN_FILE: join(options.broker.dataDir, 'tokens', 'admin'),
      INFLUX_URL: options.influxUrl,
    },
  });
  own(() => child.stop());
  const ready = child.ready as Message & { url: string; tokenFiles: { flows: string } };
  return { child, address: { url: ready.url, tokenFile: ready.tokenFiles.flows } };
}

async function startLiveLoad(own: Own, plan: LivePlan) {
  const child = await startModule({ name: 'load', module: '@fieldproof/bench/live-load-main' });
  own(() => child.stop());
  const ask = (order: LiveOrder, answer: string) => child.ask(order, answer);
  await ask({ order: 'prepare', plan }, 'prepared');
  return {
    child,
    run: async (run: LiveRun) =>
      (await ask({ order: 'run', ...run }, 'result')) as unknown as LiveResult,
  };
}

async function checkNothingLost(
  { broker, count }: { readonly broker: BrokerUnderTest; readonly count: () => Promise<number> },
  batches: number,
): Promise<void> {
  const { accepted } = await broker.verdicts();
  if (accepted !== batches + DEVICES) {
    throw new Error(`verdicts: expected ${batches + DEVICES} accepted, got ${accepted}`);
  }
  const wanted = batches * 10;
  let got = 0;
  for (const until = Date.now() + CAUGHT_UP_MS; Date.now() < until; ) {
    got = await count();
    if (got === wanted) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(`influxd: expected ${wanted} instants, got ${got}`);
}

/** Every reading to the store, and windows of ten seconds as well. */
const WINDOW_FLOW = [
  ...STORE_FLOW.map((node) =>
    node.id === 'telemetry' ? { ...node, wires: [['store', 'window']] } : node,
  ),
  {
    ...{ id: 'window', type: 'fieldproof-window', z: 'tab', name: '' },
    ...{ size: 10, grace: 5, horizon: 20, wires: [['store']] },
  },
];
