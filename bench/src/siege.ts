/**
 * What a siege costs honest devices: PUBACK latency at a steady rate with and without one, in the same run. Slow
 * CONNECTs, TLS handshakes that do not end and half packets hold connections; garbage, false logins and forged
 * messages flood. Attackers come from other addresses than the devices. All limits are as they are shipped.
 */

import { startModule } from './child.ts';
import type { LoadResult } from './load-generator.ts';
import type { Benchmark } from './main.ts';
import { startBroker, startLoad } from './network-under-test.ts';
import { type Own, temporaryFolder, withResources } from './resources.ts';
import { benchCase, median } from './result.ts';
import type { Attack, AttackCounts, SiegeOrder, SiegePlan } from './siege-main.ts';

export interface Siege {
  counts(): Promise<Readonly<Record<string, AttackCounts>>>;
}

interface Sizes {
  readonly runs: number;
  readonly messages: number;
  readonly rate: number;
  /** Attacking connections are multiplied with it. */
  readonly scale: number;
}

const DEVICES = 50;
const FULL: Sizes = { runs: 3, messages: 4000, rate: 400, scale: 1 };
const SHORT: Sizes = { runs: 1, messages: 400, rate: 200, scale: 0.1 };
const ATTACKING_DEVICES = 21;
/** Honest devices are at 127.0.0.1, which is trusted; everybody else is a stranger. */
export const STRANGERS_ENV = { FIELDPROOF_BROKER_TRUSTED_ADDRESSES: '127.0.0.1' } as const;

/** Who attacks, from which address, over how many connections. */
export function attackers(scale: number): readonly Attack[] {
  const many = (connections: number) => Math.max(1, Math.round(connections * scale));
  return [
    { kind: 'slow CONNECT', connections: many(500), from: '127.0.0.2' },
    { kind: 'slow CONNECT', connections: many(300), from: '127.0.0.3' },
    { kind: 'open handshake', connections: many(400), from: '127.0.0.4' },
    { kind: 'half packet', connections: 0, from: '127.0.0.1' },
    { kind: 'garbage', connections: many(50), from: '127.0.0.5' },
    { kind: 'bad login', connections: many(50), from: '127.0.0.6' },
    { kind: 'forgeries', connections: 1, from: '127.0.0.1' },
  ];
}

/** Starts the attackers; resolves when all are at it. */
export async function besiege(own: Own, plan: SiegePlan): Promise<Siege> {
  const child = await startModule({ name: 'siege', module: '@fieldproof/bench/siege-main' });
  own(() => child.stop());
  await child.ask({ order: 'attack', plan } satisfies SiegeOrder, 'attacking');
  return {
    counts: async () => {
      const { counts } = await child.ask({ order: 'count' } satisfies SiegeOrder, 'counted');
      return counts as Record<string, AttackCounts>;
    },
  };
}

export const siege: Benchmark = ({ short, progress, profileFolder }) =>
  withResources(async (own) => {
    const { runs, messages, rate, scale } = short ? SHORT : FULL;
    const folder = temporaryFolder(own);
    const broker = await startBroker(own, {
      ...{ folder, profileFolder, tls: true, rated: true, env: STRANGERS_ENV },
    });
    const { http, mqttPort } = broker;
    const total = (2 * runs + 1) * messages;
    progress(`signing ${total} batches`);
    const load = await startLoad(own, {
      ...{ type: 'fleet', http, mqttPort, devices: DEVICES, format: 'senml' },
      joinLine: await broker.joinLine(DEVICES),
      batchesPerDevice: Math.ceil(total / DEVICES),
    });
    const steady = () => load.run({ order: 'run', messages, rate, window: 50_000 });
    await steady();
    const calm: LoadResult[] = [];
    for (let run = 0; run < runs; run++) calm.push(await steady());
    progress('attackers come');
    const before = broker.child.cpuSeconds();
    const { counts } = await besiege(own, {
      ...{ http, mqttPort, mqttsPort: broker.mqttsPort!, devices: ATTACKING_DEVICES },
      joinLine: await broker.joinLine(ATTACKING_DEVICES),
      attacks: attackers(scale),
    });
    const startedAt = performance.now();
    const besieged: LoadResult[] = [];
    for (let run = 0; run < runs; run++) besieged.push(await steady());
    const seconds = (performance.now() - startedAt) / 1000;
    const cpu = (100 * (broker.child.cpuSeconds() - before)) / seconds;
    const found = Object.entries(await counts());
    const seen = found.map(([kind, { opened, cut, acknowledged }]) => {
      const told = acknowledged > 0 ? `, ${acknowledged} messages refused` : '';
      return `${kind}: ${opened} opened, ${cut} cut${told}`;
    });
    const compare = (name: 'p50Ms' | 'p99Ms') =>
      benchCase({
        case: `PUBACK ${name.slice(0, 3)} of honest devices under siege, ${rate} messages/s`,
        unit: 'ms',
        values: besieged.map((run) => run[name]),
        peers: { 'without it': median(calm.map((run) => run[name])) },
        goal: { on: 'ratio', max: 2, peer: 'without it' },
      });
    return {
      cases: [compare('p50Ms'), compare('p99Ms')],
      notes: [
        `${DEVICES} honest devices, ${runs} × ${messages} batches each way, all acknowledged. ${seen.join('; ')}.`,
        `The broker used ${Math.round(cpu)} % of a core under siege. Attackers and devices are processes on the same machine, so what they take of it is in the figures.`,
      ],
    };
  });
