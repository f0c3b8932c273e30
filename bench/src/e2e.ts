/**
 * Readings per second from the first PUBLISH to the last one visible in InfluxDB: signed batches of 50 over MQTT, gate,
 * evidence with fsync, Node-RED, InfluxDB. Beside it, in the same run, the same servers without signatures.
 */

import { cpus } from 'node:os';
import type { Child } from './child.ts';
import { findProgram } from './find-program.ts';
import { BATCH_READINGS } from './fleet.ts';
import { type InfluxServer, startInflux } from './influx-server.ts';
import type { Benchmark, BenchOptions } from './main.ts';
import {
  type BrokerUnderTest,
  type Load,
  startBroker,
  startFlows,
  startLoad,
} from './network-under-test.ts';
import { highestLossless, levelsBetween, type PeerOptions, tryPeer } from './peer-pipeline.ts';
import { type Own, temporaryFolder, withResources } from './resources.ts';
import { type BenchCase, benchCase, median } from './result.ts';

const DEVICES = 100;
const WINDOW = 500;
const DATABASE = 'bench';
const MEASUREMENT = 'air';
/** A field that every instant has. */
const FIELD = 'temp';
const FIELDS = 5;
const POLL_MS = 100;
const STALLED_MS = 30_000;
const ARRAYS = 'unsigned, arrays of 50';
const SINGLE = 'unsigned, one by one';

interface Sizes {
  /** Before the peers, and as many after them. */
  readonly runs: number;
  readonly batches: number;
  readonly warmUp: number;
  readonly holdSeconds: number;
  readonly arrays: readonly number[];
  readonly single: readonly number[];
}

const FULL: Sizes = {
  runs: 2,
  batches: 16_000,
  warmUp: 4000,
  holdSeconds: 4,
  arrays: levelsBetween(20_000, 330_000, 1.18),
  single: levelsBetween(1000, 14_000, 1.18),
};
const SHORT: Sizes = {
  runs: 1,
  batches: 500,
  warmUp: 100,
  holdSeconds: 0.5,
  arrays: [2000],
  single: [200],
};

type Flow = 'shipped' | 'store';

interface OurRun {
  readonly rate: number;
  /** Of the machine's other processes, in % of one core. */
  readonly rest: number;
  readonly cpu: Readonly<Record<string, number>>;
}

export const e2e: Benchmark = (options) =>
  withResources(async (own) => {
    const sizes = options.short ? SHORT : FULL;
    const influxd = findProgram('influxd');
    if (influxd === null) {
      options.progress('SKIPPED: e2e needs influxd, which this machine does not have');
      return { cases: [], notes: ['**Skipped**: no influxd on this machine.'] };
    }
    const influx = await startInflux(own, influxd);
    // Half of our runs before the peers and half after: a machine has better minutes and worse ones.
    const measure = (flow: Flow) =>
      withResources((inner) => measureOurs(inner, { options, sizes, influx, flow }));
    const before = await measure('store');
    const shippedBefore = options.short ? [] : await measure('shipped');
    const peers = await measurePeers(influx, { options, sizes });
    const shipped = [...shippedBefore, ...(await measure('shipped'))];
    const runs = options.short ? before : [...before, ...(await measure('store'))];
    const about = `verified readings, ${DEVICES} devices, batches of ${BATCH_READINGS}`;
    const toPeer = (what: string, of: readonly OurRun[], name: string, min: number): BenchCase =>
      benchCase({
        case: `${about}, ${what}, to ${name}`,
        unit: 'readings/s',
        values: of.map(({ rate }) => rate),
        peers: name in peers.rates ? { [name]: peers.rates[name]! } : {},
        goal: { on: 'ratio', min, peer: name },
      });
    const stored = 'stored as the peers do';
    const asShipped = 'the flow as shipped, with one-minute windows';
    return {
      cases: [
        toPeer(stored, runs, ARRAYS, 2.5),
        toPeer(stored, runs, SINGLE, 60),
        toPeer(asShipped, shipped, ARRAYS, 2.5),
        toPeer(asShipped, shipped, SINGLE, 60),
      ],
      notes: [
        `SenML, signed beforehand, a TCP connection for each device, ${WINDOW} in flight: as fast as PUBACKs allow. The time ends when the last reading is visible to a query, within ${POLL_MS} ms.`,
        'Nothing was lost: InfluxDB counted as many values, over all fields, as readings were sent, and the broker as many accepted.',
        `CPU of one core, and of one reading, where they are only stored: ${cpuNote(runs)}.`,
        `The same with the flow as shipped: ${cpuNote(shipped)}. All times are in the past, so a window is due at once and is written again with each second's readings: more often, the slower the run.`,
        `The rest of the machine took ${restNote([...runs, ...shipped])} of one core while ours ran: what it takes is missing from our rates, and each peer's level is only the highest that held.`,
        'Peers: JSON over one connection at a steady rate, Mosquitto, plain Node-RED (mqtt in, json, function) writing with the influx package as the nodes of node-red-contrib-influxdb do. A level counts when everything is stored within 0.9 s of the last PUBLISH.',
        ...peers.notes,
      ],
    };
  });

interface Context {
  readonly options: BenchOptions;
  readonly sizes: Sizes;
}

async function measureOurs(
  own: Own,
  {
    options,
    sizes,
    influx,
    flow,
  }: Context & { readonly influx: InfluxServer; readonly flow: Flow },
): Promise<OurRun[]> {
  const { progress, profileFolder } = options;
  const folder = temporaryFolder(own);
  const broker = await startBroker(own, { folder, profileFolder });
  const total = sizes.warmUp + sizes.runs * sizes.batches;
  progress(`signing ${total} batches`);
  const load = await startLoad(own, {
    type: 'fleet',
    http: broker.http,
    mqttPort: broker.mqttPort,
    joinLine: await broker.joinLine(DEVICES),
    devices: DEVICES,
    batchesPerDevice: Math.ceil(total / DEVICES),
    format: 'senml',
  });
  // The store makes it too, at its first write: it is asked for sooner here.
  await influx.dropDatabase(DATABASE);
  await influx.createDatabase(DATABASE);
  const influxUrl = `${influx.url}/${DATABASE}`;
  const flows = await startFlows(own, {
    ...{ folder, broker, influxUrl, profileFolder },
    ...(flow === 'shipped' ? { flow } : {}),
  });
  const processes = { broker: broker.child, 'Node-RED': flows, influxd: influx.child };
  const context = { load, influx, processes };
  let stored = await runOnce(context, { batches: sizes.warmUp, before: 0 });
  const runs: OurRun[] = [];
  for (let run = 1; run <= sizes.runs; run++) {
    stored = await runOnce(context, { batches: sizes.batches, before: stored.instants });
    runs.push(stored);
    progress(`${flow} flow, run ${run}: ${Math.round(stored.rate)} readings/s`);
  }
  await checkNothingLost({ broker, influx }, total);
  return runs;
}

interface RunContext {
  readonly load: Load;
  readonly influx: InfluxServer;
  readonly processes: Readonly<Record<string, Child>>;
}

async function runOnce(
  { load, influx, processes }: RunContext,
  { batches, before }: { readonly batches: number; readonly before: number },
): Promise<OurRun & { readonly instants: number }> {
  const entries = Object.entries(processes);
  const cpuBefore = entries.map(([, child]) => child.cpuSeconds());
  const machineBefore = machineCpuSeconds();
  const sent = await load.run({ order: 'run', messages: batches, window: WINDOW, rate: null });
  const instants = before + (batches * BATCH_READINGS) / FIELDS;
  const endMs = await untilStored(influx, instants);
  const seconds = (endMs - sent.firstSentMs) / 1000;
  const cpu = entries.map(
    ([name, child], i) => [name, (100 * (child.cpuSeconds() - cpuBefore[i]!)) / seconds] as const,
  );
  const ours = { ...Object.fromEntries(cpu), 'load generator': sent.cpuPercent };
  const machine = (100 * (machineCpuSeconds() - machineBefore)) / seconds;
  return {
    rate: (batches * BATCH_READINGS) / seconds,
    instants,
    cpu: ours,
    rest: Math.max(0, machine - Object.values(ours).reduce((sum, each) => sum + each, 0)),
  };
}

/** CPU seconds of all processes since the machine's start. */
function machineCpuSeconds(): number {
  let ms = 0;
  for (const { times } of cpus()) ms += times.user + times.nice + times.sys + times.irq;
  return ms / 1000;
}

/** Unix ms at which the last instant was seen. @throws {Error} when no more come. */
async function untilStored(influx: InfluxServer, instants: number): Promise<number> {
  let count = 0;
  for (let progressMs = Date.now(); Date.now() - progressMs < STALLED_MS; ) {
    const now = await influx.count(DATABASE, MEASUREMENT, FIELD);
    if (now >= instants) return Date.now();
    if (now > count) progressMs = Date.now();
    count = now;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`influxd: expected ${instants} instants, got ${count}`);
}

async function checkNothingLost(
  { broker, influx }: { readonly broker: BrokerUnderTest; readonly influx: InfluxServer },
  batches: number,
): Promise<void> {
  const { accepted } = await broker.verdicts();
  if (accepted !== batches + DEVICES) {
    throw new Error(`verdicts: expected ${batches + DEVICES} accepted, got ${accepted}`);
  }
  const stored = await influx.count(DATABASE, MEASUREMENT);
  if (stored === batches * BATCH_READINGS) return;
  throw new Error(`influxd: expected ${batches * BATCH_READINGS} values, got ${stored}`);
}

async function measurePeers(
  influx: InfluxServer,
  { options, sizes }: Context,
): Promise<{ readonly rates: Readonly<Record<string, number>>; readonly notes: string[] }> {
  const mosquitto = findProgram('mosquitto');
  if (mosquitto === null) {
    options.progress('SKIPPED: the peers of e2e need mosquitto, which this machine does not have');
    return { rates: {}, notes: ['**Peers skipped**: no mosquitto on this machine.'] };
  }
  const rates: Record<string, number> = {};
  const notes: string[] = [];
  for (const [name, form] of [
    [ARRAYS, 'arrays'],
    [SINGLE, 'single'],
  ] as const) {
    const peer: PeerOptions = { mosquitto, influx, form };
    const tried: string[] = [];
    const best = await highestLossless(sizes[form], async (rate) => {
      const trial = await tryPeer(peer, rate, sizes.holdSeconds);
      const lost = trial.lostPercent > 0 ? `, ${trial.lostPercent.toFixed(1)} % lost` : '';
      tried.push(`${rate} ${trial.passed ? 'held' : `failed${lost}`}`);
      options.progress(`${name}: ${tried.at(-1)}`);
      return trial;
    });
    // The level itself, not what the climb and the drain made of it: the higher figure, in the peer's favour.
    if (best !== null) rates[name] = best.rate;
    notes.push(`${name}, readings/s tried: ${tried.join('; ')}.`);
  }
  return { rates, notes };
}

function cpuNote(runs: readonly OurRun[]): string {
  const microseconds = ({ cpu, rate }: OurRun, name: string) => (cpu[name]! * 1e4) / rate;
  return Object.keys(runs[0]?.cpu ?? {})
    .map((name) => {
      const percent = Math.round(median(runs.map(({ cpu }) => cpu[name]!)));
      const each = median(runs.map((run) => microseconds(run, name)));
      return `${name} ${percent} % (${each.toFixed(2)} µs)`;
    })
    .join(', ');
}

function restNote(runs: readonly OurRun[]): string {
  const rests = runs.map(({ rest }) => Math.round(rest));
  return `${Math.min(...rests)} to ${Math.max(...rests)} %`;
}
