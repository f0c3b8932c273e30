/**
 * What an idle connected device costs the broker: resident memory, from 1,000 to 10,000 of them over TCP, beside Mosquitto;
 * and throughput with all of them connected, beside that of a second broker to which only the ten that send are. TLS apart.
 *
 * Memory is read after a garbage collection. The devices were enrolled before, so the registry is not in the figure. The
 * two brokers take turns, so that a machine that is faster for a while is so for both.
 */

import { enrolInBulk } from './bulk-enrolment.ts';
import { type Child, startModule } from './child.ts';
import { findProgram } from './find-program.ts';
import type { IdleOrder } from './idle-main.ts';
import type { Benchmark } from './main.ts';
import { startMosquitto } from './mosquitto.ts';
import { type BrokerUnderTest, startBroker, startLoad } from './network-under-test.ts';
import { type Own, temporaryFolder, withResources } from './resources.ts';
import { type BenchCase, benchCase, median } from './result.ts';
import { type Side, takeTurns } from './turns.ts';

interface Sizes {
  /** Connected when the first and the last figure are taken. */
  readonly from: number;
  readonly to: number;
  /** Over TLS besides: the figure is the difference that they make. */
  readonly tls: number;
  readonly messages: number;
  /** Turns of each broker, after `WARM_UP`. */
  readonly turns: number;
  /** Processes that hold the idle clients, so that no limit on open files stands in the way. */
  readonly holders: number;
}

const FULL: Sizes = { from: 1000, to: 10_000, tls: 2000, messages: 20_000, turns: 5, holders: 4 };
const SHORT: Sizes = { from: 5, to: 25, tls: 5, messages: 100, turns: 1, holders: 1 };
/** Turns that do not count: collections of garbage, of which there are some before, throw compiled code away. */
const WARM_UP = 2;
const SENDERS = 10;
const WINDOW = 500;
/** What is still being freed is freed after this. */
const SETTLE_MS = 1500;
const GOAL_BYTES = 12_000;
const PEER = 'Mosquitto';

export const connections: Benchmark = ({ short, progress, profileFolder }) =>
  withResources(async (own) => {
    const sizes = short ? SHORT : FULL;
    const folder = temporaryFolder(own);
    const seeds = await enrolDevices(folder, sizes);
    const broker = await startSide(own, { folder, profileFolder });
    const holders = await startHolders(own, sizes.holders);
    await prepare(holders, broker, seeds);
    const idle = { port: broker.mqttPort, tls: false };
    await connect(holders, sizes.from, idle);
    const first = await memoryOf(broker.child);
    await connect(holders, sizes.to - sizes.from, idle);
    const last = await memoryOf(broker.child);
    const each = perClient(first, last, sizes.to - sizes.from);
    progress(`${sizes.to} connected: ${Math.round(each.rss)} bytes each`);

    const alone = await startSide(own, { folder: temporaryFolder(own), profileFolder: null });
    progress(`signing ${2 * batchesOf(sizes)} batches`);
    const turns = await takeTurns(
      { alone: await withLoad(own, alone, sizes), crowded: await withLoad(own, broker, sizes) },
      { warmUp: WARM_UP, turns: sizes.turns, messages: sizes.messages, window: WINDOW },
    );
    progress(
      `${Math.round(median(turns.crowded.perSecond))} messages/s, alone ${Math.round(median(turns.alone.perSecond))}`,
    );
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
        values: turns.crowded.perSecond,
        peers: { [ALONE]: median(turns.alone.perSecond) },
        goal: { on: 'ratio', min: 0.9, peer: ALONE },
      }),
    ];
    const kb = (bytes: number): string => `${(bytes / 1000).toFixed(1)} kB`;
    return {
      cases,
      notes: [
        'Every device has logged in with nonce and signature and has subscribed to its own topics; none sends. Enrolment is not in the figure.',
        `Of each over TCP, on the heap of V8 ${kb(each.heapUsed)}, outside it, as far as Node counts it, ${kb(each.external)}; over TLS ${kb(tls.heapUsed)} and ${kb(tls.external)}. The kernel's socket buffers are in none of these figures, nor in those of the peer.`,
        `CPU time of the broker, median of ${sizes.turns} turns: ${Math.round(median(turns.alone.cpuMicros))} µs a message with ${SENDERS} connected, ${Math.round(median(turns.crowded.cpuMicros))} µs with ${sizes.to} more.`,
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

async function startHolders(own: Own, count: number): Promise<Child[]> {
  const holders: Child[] = [];
  for (let n = 0; n < count; n++) {
    const holder = await startModule({ name: 'idle', module: '@fieldproof/bench/idle-main' });
    own(() => holder.stop());
    holders.push(holder);
  }
  return holders;
}

/** A broker's data folder with so many devices, and some more for each time that they are dealt unevenly. */
function enrolDevices(folder: string, { to, tls, holders }: Sizes): Promise<string[]> {
  return withResources(async (own) => {
    const broker = await startBroker(own, { folder, profileFolder: null, tls: true });
    await broker.child.stop();
    return enrolInBulk(broker.dataDir, to + tls + 3 * holders);
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

function batchesOf({ messages, turns }: Sizes): number {
  return messages * (turns + WARM_UP);
}

/** A broker with the probe. */
async function startSide(
  own: Own,
  { folder, profileFolder }: { readonly folder: string; readonly profileFolder: string | null },
): Promise<BrokerUnderTest> {
  const probe = new URL('./memory-probe.mjs', import.meta.url).href;
  const nodeArgs = ['--expose-gc', '--import', probe];
  return startBroker(own, { folder, profileFolder, tls: true, nodeArgs });
}

async function withLoad(own: Own, broker: BrokerUnderTest, sizes: Sizes): Promise<Side> {
  const load = await startLoad(own, {
    ...{ type: 'fleet', http: broker.http, mqttPort: broker.mqttPort, format: 'senml' },
    joinLine: await broker.joinLine(SENDERS),
    devices: SENDERS,
    batchesPerDevice: batchesOf(sizes) / SENDERS,
  });
  return { broker: broker.child, load };
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
  const holders = await startHolders(own, sizes.holders);
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
