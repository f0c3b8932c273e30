/**
 * One broker process under full load: messages verified, recorded durably and acknowledged per second, receipts
 * included, beside raw verification of the same messages on one thread; and how long a PUBACK takes at half of it.
 */

import type { Child } from './child.ts';
import type { Benchmark } from './main.ts';
import { startBroker, startLoad } from './network-under-test.ts';
import type { RawLibrary, RawVerification } from './raw-verify.ts';
import { temporaryFolder, withResources } from './resources.ts';
import { benchCase, median } from './result.ts';

const DEVICES = 100;
const WINDOW = 500;
/** The ceiling of DESIGN: what Node verifies by itself. */
const RAW = 'raw Ed25519 of Node (OpenSSL), one thread';
const RAW_SODIUM = 'raw Ed25519 of libsodium, one thread';

interface Sizes {
  readonly runs: number;
  readonly messages: number;
  readonly warmUp: number;
  readonly raw: number;
}

const FULL: Sizes = { runs: 3, messages: 20_000, warmUp: 5000, raw: 10_000 };
const SHORT: Sizes = { runs: 1, messages: 2000, warmUp: 500, raw: 500 };

export const gate: Benchmark = ({ short, progress, profileFolder }) =>
  withResources(async (own) => {
    const sizes = short ? SHORT : FULL;
    const total = sizes.warmUp + (sizes.runs + 1) * sizes.messages;
    const broker = await startBroker(own, { folder: temporaryFolder(own), profileFolder });
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
    const saturated = { order: 'run', window: WINDOW, rate: null } as const;
    await load.run({ ...saturated, messages: sizes.warmUp });

    const rates: number[] = [];
    const raw: Record<RawLibrary, RawVerification[]> = { openssl: [], libsodium: [] };
    const verifyRaw = async () => {
      for (const library of ['openssl', 'libsodium'] as const) {
        raw[library].push(await load.verify(library, sizes.raw));
      }
    };
    const rawPerSecond = (library: RawLibrary) => raw[library].map(({ perSecond }) => perSecond);
    const rawMicros = (library: RawLibrary) =>
      Math.round(median(raw[library].map(({ cpuMicros: micros }) => micros)));
    await verifyRaw();
    const cpu: number[] = [];
    const cpuMicros: number[] = [];
    const split: Split[] = [];
    const generator: number[] = [];
    const generatorMicros: number[] = [];
    const queueing: number[] = [];
    for (let run = 1; run <= sizes.runs; run++) {
      const before = broker.child.cpuSeconds();
      const threads = broker.child.threadSeconds();
      const result = await load.run({ ...saturated, messages: sizes.messages });
      const cpuSeconds = broker.child.cpuSeconds() - before;
      split.push(splitOf(broker.child, threads, result.messages));
      generatorMicros.push((1e4 * result.cpuPercent * result.seconds) / result.messages);
      cpu.push((100 * cpuSeconds) / result.seconds);
      cpuMicros.push((1e6 * cpuSeconds) / result.messages);
      rates.push(result.messages / result.seconds);
      generator.push(result.cpuPercent);
      queueing.push(result.p99Ms);
      await verifyRaw();
      progress(`run ${run}: ${Math.round(rates.at(-1)!)} messages/s`);
    }
    const half = median(rates) / 2;
    const paced = await load.run({
      order: 'run',
      messages: Math.min(sizes.messages, Math.round(half * 6)),
      window: 50_000,
      rate: half,
    });
    const sent = DEVICES + sizes.warmUp + sizes.runs * sizes.messages + paced.messages;
    const { accepted, received } = await broker.verdicts();
    if (accepted !== sent || received !== sent) {
      throw new Error(`verdicts: expected ${sent} accepted, got ${accepted} of ${received}`);
    }
    const twoCores = (library: RawLibrary) =>
      (2 * rawMicros(library)) / (median(cpuMicros) + median(generatorMicros));
    const percent = (values: readonly number[]): string => `${Math.round(median(values))} %`;
    return {
      cases: [
        benchCase({
          case: `verified, recorded, receipted; ${DEVICES} devices, ${WINDOW} in flight`,
          unit: 'messages/s',
          values: rates,
          peers: {
            [RAW]: median(rawPerSecond('openssl')),
            [RAW_SODIUM]: median(rawPerSecond('libsodium')),
          },
          goal: { on: 'ratio', min: 1.15, peer: RAW },
        }),
        benchCase({
          case: `PUBACK p99 at half of it, ${Math.round(half)} messages/s offered`,
          unit: 'ms',
          values: [paced.p99Ms],
          goal: { on: 'value', max: 100 },
        }),
      ],
      notes: [
        'SenML batches of 50 readings, signed beforehand, a TCP connection for each device.',
        `CPU of one core under full load: broker ${percent(cpu)}, load generator ${percent(generator)}. Raw verifications/s: OpenSSL ${spread(rawPerSecond('openssl'))}, libsodium ${spread(rawPerSecond('libsodium'))}.`,
        `CPU time: broker ${Math.round(median(cpuMicros))} µs a message (${spread(cpuMicros)}), a raw verification ${rawMicros('openssl')} µs with OpenSSL, ${rawMicros('libsodium')} µs with libsodium, which the broker uses.`,
        `Of these, main thread ${micros(split, 'main')}, two verifying threads ${micros(split, 'verifying')}, others (garbage, files) ${micros(split, 'others')} µs; the generator takes ${Math.round(median(generatorMicros))} µs.`,
        `By CPU time alone two cores to themselves would give ${twoCores('openssl').toFixed(2)} × raw OpenSSL, ${twoCores('libsodium').toFixed(2)} × raw libsodium: what other work on the machine takes does not enter this figure, that it makes everything dearer does.`,
        `PUBACK p99 under full load ${Math.round(median(queueing))} ms, most of it queueing; p50 at half of it ${paced.p50Ms.toFixed(1)} ms.`,
        `The broker counted ${accepted} accepted, as many as were sent, and sent ${paced.receipts} receipts. Its resident memory at the end: ${Math.round(broker.child.rssMiB())} MiB.`,
      ],
    };
  });

/** CPU time of a message by threads of the broker, µs. */
interface Split {
  readonly main: number;
  readonly verifying: number;
  readonly others: number;
}

/** What the threads have used since `before`; those that verify are the two busiest beside the main thread. */
function splitOf(broker: Child, before: ReadonlyMap<number, number>, messages: number): Split {
  const used = (thread: number, seconds: number) =>
    ((seconds - (before.get(thread) ?? 0)) * 1e6) / messages;
  const threads = [...broker.threadSeconds()];
  const main = threads.filter(([thread]) => thread === broker.pid);
  const others = threads.filter(([thread]) => thread !== broker.pid);
  const sorted = others.map(([thread, seconds]) => used(thread, seconds)).sort((a, b) => b - a);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    main: sum(main.map(([thread, seconds]) => used(thread, seconds))),
    verifying: sum(sorted.slice(0, 2)),
    others: sum(sorted.slice(2)),
  };
}

function micros(split: readonly Split[], part: keyof Split): string {
  return String(Math.round(median(split.map((run) => run[part]))));
}

function spread(values: readonly number[]): string {
  return `${Math.round(Math.min(...values))} – ${Math.round(Math.max(...values))}`;
}
