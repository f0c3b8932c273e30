/**
 * What an idle connected device costs the broker: resident memory, from 1,000 to 10,000 of them over TCP, beside Mosquitto;
 * and throughput with all of them connected, beside that with the ten that send alone. TLS apart.
 *
 * Memory is read after a garbage collection. The devices were enrolled before, so the registry is not in the figure.
 */

import { enrolInBulk } from './bulk-enrolment.ts';
import { type Child, startModule } from './child.ts';
import { findProgram } from './find-program.ts';
import type { IdleOrder } from './idle-main.ts';
import type { Benchmark } from './main.ts';
import { startMosquitto } from './mosquitto.ts';
import { type BrokerUnderTest, type Load, startBroker, startLoad } from './network-under-test.ts';
import { type Own, temporaryFolder, withResources } from './resources.ts';
import { type BenchCase, benchCase, median } from './result.ts';

interface Sizes {
  /** Connected when the first and the last figure are taken. */
  readonly from: number;
  readonly to: number;
  /** Over TLS besides: the figure is the difference that they make. */
  readonly tls: number;
  readonly messages: number;
  readonly runs: number;
}

const FULL: Sizes = { from: 1000, to: 10_000, tls: 2000, messages: 10_000, runs: 3 };
const SHORT: Sizes = { from: 50, to: 200, tls: 50, messages: 500, runs: 1 };
const SENDERS = 10;
const WINDOW = 500;
/** Processes that hold the idle clients, so that no limit on open files stands in the way. */
const HOLDERS = 4;
/** What is still being freed is freed after this. */
const SETTLE_MS = 1500;
const GOAL_BYTES = 12_000;
const PEER = 'Mosquitto';

export const connections: Benchmark = ({ short, progress, profileFolder }) =>
  withResources(async (own) => {
    const sizes = short ? SHORT : FULL;
    const folder = temporaryFolder(own);
    const seeds = await enrolDevices(folder, sizes.to + sizes.tls);
    const broker = await startBroker(own, {
      folder,
      profileFolder,
      tls: true,
      nodeArgs: ['--expose-gc', '--import', new URL('./memory-probe.mjs', import.meta.url).href],
    });
    const batches = ((2 * sizes.runs + 1) * sizes.messages) / SENDERS;
    progress(`signing ${batches * SENDERS} batches`);
    const load = await startLoad(own, {
      type: 'fleet',
      http: broker.http,
      mqttPort: broker.mqttPort,
      joinLine: await broker.joinLine(SENDERS),
      devices: SENDERS,
      batchesPerDevice: batches,
      format: 'senml',
    });
    const holders = await startHolders(own);
    await prepare(holders, broker, seeds);

    await throughput(broker, load, { ...sizes, runs: 1 });
    const alone = await throughput(broker, load, sizes);
    progress(`${SENDERS} connected: ${Math.round(median(alone.perSecond))} messages/s`);
    const idle = { port: broker.mqttPort, tls: false };
    await connect(holders, sizes.from, idle);
    const first = await memoryOf(broker.child);
    await connect(holders, sizes.to - sizes.from, idle);
    const last = await memoryOf(broker.child);
    const each = perClient(first, last, sizes.to - sizes.from);
    progress(`${sizes.to} connected: ${Math.round(each.rss)} bytes each`);
    const crowded = await throughput(broker, load, sizes);
    progress(`${sizes.to} connected: ${Math.round(median(crowded.perSecond))} messages/s`);
    const before = await memoryOf(broker.child);
    await connect(holders, sizes.tls, { port: broker.mqttsPort!, tls: true });
    const tls = perClient(before, await memoryOf(broker.child), sizes.tls);
    const peer = await measurePeer(own, sizes);
    if (peer === null) progress('SKIPPED: mosquitto is not installed, so there is no peer');
    const cases: BenchCase[] = [
      benchCase({
        case: `resident memory of an idle connected device over TCP, ${sizes.from} → ${sizes.to}`,
        unit: 'bytes',
        values: [each.rss],
        ...(peer !== null && { peers: { [PEER]: peer } }),
        goal: { on: 'value', max: GOAL_BYTES },
      }),
      benchCase({
        case: `the same over TLS, ${sizes.tls} more`,
        unit: 'bytes',
        values: [tls.rss],
      }),
      benchCase({
        case: `${SENDERS} devices send, ${sizes.to} more are connected`,
        unit: 'messages/s',
        values: crowded.perSecond,
        peers: { [ALONE]: median(alone.perSecond) },
        goal: { on: 'ratio', min: 0.9, peer: ALONE },
      }),
    ];
    const kb = (bytes: number): string => `${(bytes / 1000).toFixed(1)} kB`;
    return {
      cases,
      notes: [
        'Every device has logged in with nonce and signature and has subscribed to its own topics; none sends. Enrolment is not in the figure.',
        `Of each over TCP, on the heap of V8 ${kb(each.heapUsed)}, outside it, as far as Node counts it, ${kb(each.external)}; over TLS ${kb(tls.heapUsed)} and ${kb(tls.external)}. The kernel's socket buffers are in none of these figures, nor in those of the peer.`,
        `CPU time of the broker: ${alone.cpuMicros} µs a message with ${SENDERS} connected, ${crowded.cpuMicros} µs with ${sizes.to} more.`,
        `Resident memory of the broker with ${sizes.from}: ${Math.round(first.rss / 1e6)} MB, with ${sizes.to}: ${Math.round(last.rss / 1e6)} MB.`,
        ...(peer === null ? ['Mosquitto is not installed on this machine: no peer.'] : []),
      ],
    };
  });

const ALONE = `${SENDERS} connected`;

interface Memory {
  readonly rss: number;
  readonly heapUsed: number;
  readonly external: number;
}

async function startHolders(own: Own): Promise<Child[]> {
  const holders: Child[] = [];
  for (let n = 0; n < HOLDERS; n++) {
    const holder = await startModule({ name: 'idle', module: '@fieldproof/bench/idle-main' });
    own(() => holder.stop());
    holders.push(holder);
  }
  return holders;
}

/** A broker's data folder with so many devices, and some more for each time that they are dealt unevenly. */
function enrolDevices(folder: string, devices: number): Promise<string[]> {
  return withResources(async (own) => {
    const broker = await startBroker(own, { folder, profileFolder: null, tls: true });
    await broker.child.stop();
    return enrolInBulk(broker.dataDir, devices + 3 * HOLDERS);
  });
}

const ask = (holder: Child, order: IdleOrder, answer: string) => holder.ask(order, answer);

async function prepare(
  holders: readonly Child[],
  broker: BrokerUnderTest,
  seeds: readonly string[],
): Promise<void> {
  const joinLine = await broker.joinLine(1);
  const each = Math.ceil(seeds.length / holders.length);
  const prepared = holders.map((holder, n) => {
    const own = seeds.slice(n * each, (n + 1) * each);
    const order = { order: 'prepare', http: broker.http, joinLine, seeds: own } as const;
    return ask(holder, order, 'prepared');
  });
  await Promise.all(prepared);
}

/** Connects `count` more, dealt over the holders. */
async function connect(
  holders: readonly Child[],
  count: number,
  address: { readonly port: number; readonly tls: boolean },
): Promise<void> {
  const shares = holders.map(
    (_, n) =>
      Math.floor(((n + 1) * count) / holders.length) - Math.floor((n * count) / holders.length),
  );
  const connected = holders.map((holder, n) =>
    ask(holder, { order: 'connect', count: shares[n]!, ...address }, 'connected'),
  );
  await Promise.all(connected);
}

async function throughput(
  broker: BrokerUnderTest,
  load: Load,
  { runs, messages }: Sizes,
): Promise<{ readonly perSecond: number[]; readonly cpuMicros: number }> {
  const perSecond: number[] = [];
  const cpu: number[] = [];
  for (let run = 0; run < runs; run++) {
    const before = broker.child.cpuSeconds();
    const result = await load.run({ order: 'run', messages, window: WINDOW, rate: null });
    cpu.push((1e6 * (broker.child.cpuSeconds() - before)) / messages);
    perSecond.push(messages / result.seconds);
  }
  return { perSecond, cpuMicros: Math.round(median(cpu)) };
}

/** After garbage collections, with pauses in which what they free is given back. */
async function memoryOf(child: Child): Promise<Memory> {
  for (let times = 0; times < 2; times++) {
    await child.ask({ order: 'memory', gc: true }, 'memory');
    await pause();
  }
  return (await child.ask({ order: 'memory', gc: true }, 'memory')) as unknown as Memory;
}

function perClient(before: Memory, after: Memory, clients: number): Memory {
  const each = (key: keyof Memory): number => (after[key] - before[key]) / clients;
  return { rss: each('rss'), heapUsed: each('heapUsed'), external: each('external') };
}

/** Bytes of resident memory of Mosquitto for an idle client that has subscribed; null where it is not installed. */
async function measurePeer(own: Own, sizes: Sizes): Promise<number | null> {
  const program = findProgram('mosquitto');
  if (program === null) return null;
  const { child, mqttPort } = await startMosquitto(own, program);
  const holders = await startHolders(own);
  const idle = { port: mqttPort, tls: false };
  await connect(holders, sizes.from, idle);
  await pause();
  const before = child.rssMiB();
  await connect(holders, sizes.to - sizes.from, idle);
  await pause();
  return ((child.rssMiB() - before) * 2 ** 20) / (sizes.to - sizes.from);
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}
