/** Throughput of brokers that take turns, so that a machine that is faster for a while is so for each of them. */

import type { Child } from './child.ts';
import type { Load } from './network-under-test.ts';

export interface Side {
  readonly broker: Child;
  readonly load: Load;
}

/** One figure for each turn. */
export interface Turns {
  readonly perSecond: readonly number[];
  /** CPU time of the broker for a message, µs. */
  readonly cpuMicros: readonly number[];
}

export interface TurnOptions {
  /** Turns that do not count. */
  readonly warmUp: number;
  readonly turns: number;
  /** Of each turn. */
  readonly messages: number;
  /** Most unacknowledged messages. */
  readonly window: number;
}

/** One side after the other, again and again. */
export async function takeTurns<Name extends string>(
  sides: Readonly<Record<Name, Side>>,
  { warmUp, turns, messages, window }: TurnOptions,
): Promise<Record<Name, Turns>> {
  const taken = {} as Record<Name, { perSecond: number[]; cpuMicros: number[] }>;
  for (let turn = 0; turn < warmUp + turns; turn++) {
    for (const name of Object.keys(sides) as Name[]) {
      const { broker, load } = sides[name];
      taken[name] ??= { perSecond: [], cpuMicros: [] };
      const before = broker.cpuSeconds();
      const { seconds } = await load.run({ order: 'run', messages, window, rate: null });
      if (turn < warmUp) continue;
      taken[name].perSecond.push(messages / seconds);
      taken[name].cpuMicros.push((1e6 * (broker.cpuSeconds() - before)) / messages);
    }
  }
  return taken;
}
