/** What is going to be broken, and when: a pure function of a seed. The same seed gives the same plan. */

import { type SeededRandom, seededRandom } from './seeded-random.ts';

/** A process: one that `npm start` starts, `npm start` itself, or one of the harness's own agents (`load-0` …). */
export type Target = 'broker' | 'control' | 'flows' | 'agent' | 'fleet' | `load-${number}`;

export const PROXY_FAULTS = [
  'cut',
  'reset',
  'cut-mid-packet',
  'delay',
  'throttle',
  'black-hole',
  'half-open',
] as const;
export type ProxyFault = (typeof PROXY_FAULTS)[number];

export const CLOCK_STEPS = ['back', 'forward', '1970', 'stale', 'right'] as const;
export type ClockStep = (typeof CLOCK_STEPS)[number];

/** `atMs` is counted from the start of the plan; lengths are in ms. */
export type Fault = { readonly atMs: number } & (
  | {
      readonly kind: 'kill';
      readonly targets: readonly Target[];
      /** Kills once more this long after the end, while they start again. */
      readonly againMs: number | null;
    }
  | { readonly kind: 'kill-supervisor'; readonly againMs: number | null }
  | { readonly kind: 'pause'; readonly target: Target; readonly forMs: number }
  | {
      readonly kind: 'proxy';
      readonly fault: ProxyFault;
      readonly link: 'mqtt' | 'http';
      readonly forMs: number;
    }
  | { readonly kind: 'clock'; readonly device: number; readonly step: ClockStep }
  | { readonly kind: 'influx'; readonly how: 'SIGKILL' | 'SIGTERM'; readonly downMs: number }
);

export type FaultKind = Fault['kind'];

/** How often something is broken in the run. */
export interface PlanCounts {
  readonly killBroker: number;
  readonly killControl: number;
  readonly killFlows: number;
  readonly killAgents: number;
  readonly killSeveral: number;
  readonly killSupervisor: number;
  readonly killLoad: number;
  readonly pause: number;
  readonly proxy: number;
  readonly clock: number;
  readonly influx: number;
}

export interface PlanOptions {
  readonly durationMs: number;
  readonly counts: PlanCounts;
  /** Processes of agents of the harness. */
  readonly loadProcesses: number;
  /** Devices whose clock can be set. */
  readonly clockDevices: number;
  /** Whether `npm start` runs the demo fleet. */
  readonly fleet: boolean;
}

/** One kill in this many is followed by another while the process starts. */
const AGAIN_ONE_IN = 3;

/** The faults in the order of their times. Each kind is spread over the whole run, at instants by chance. */
export function faultPlan(seed: number, options: PlanOptions): readonly Fault[] {
  const random = seededRandom(seed);
  const { counts, durationMs, loadProcesses, clockDevices, fleet } = options;
  const agents: readonly Target[] = fleet ? ['agent', 'fleet'] : ['agent'];
  const loads = Array.from({ length: loadProcesses }, (_, i): Target => `load-${i}`);
  const everything: readonly Target[] = ['broker', 'control', 'flows', ...agents, ...loads];
  const faults: Fault[] = [];
  const spread = (count: number, make: (atMs: number, at: number) => Fault): void => {
    for (let i = 0; i < count; i++) {
      faults.push(make(Math.floor(((i + random.next()) * durationMs) / count), i));
    }
  };
  const kill = (count: number, pick: (at: number) => readonly Target[]): void =>
    spread(count, (atMs, i) => ({
      ...{ kind: 'kill', atMs, targets: pick(i), againMs: again(random, 1500) },
    }));
  kill(counts.killBroker, () => ['broker']);
  kill(counts.killControl, () => ['control']);
  kill(counts.killFlows, () => ['flows']);
  kill(counts.killAgents, (i) => [agents[i % agents.length]!]);
  kill(counts.killSeveral, () => several(random, everything));
  kill(counts.killLoad, (i) => [loads[i % loads.length]!]);
  spread(counts.killSupervisor, (atMs) => ({
    ...{ kind: 'kill-supervisor', atMs, againMs: again(random, 4000) },
  }));
  spread(counts.pause, (atMs) => ({
    ...{ kind: 'pause', atMs, target: random.pick(everything), forMs: length(random, 200, 2500) },
  }));
  spread(counts.proxy, (atMs, i) => {
    const fault = PROXY_FAULTS[i % PROXY_FAULTS.length]!;
    // Calls over HTTP are short: they meet what lasts.
    const lasts = fault === 'delay' || fault === 'throttle' || fault === 'black-hole';
    const link = lasts && random.next() < 0.4 ? 'http' : 'mqtt';
    return { kind: 'proxy', atMs, fault, link, forMs: length(random, 200, 2000) };
  });
  spread(counts.clock, (atMs, i) => ({
    ...{ kind: 'clock', atMs, device: Math.floor(random.next() * clockDevices) },
    step: CLOCK_STEPS[i % CLOCK_STEPS.length]!,
  }));
  spread(counts.influx, (atMs, i) => ({
    ...{ kind: 'influx', atMs, how: i % 2 === 0 ? 'SIGKILL' : 'SIGTERM' },
    downMs: length(random, 500, 6000),
  }));
  return faults.sort((a, b) => a.atMs - b.atMs);
}

function several(random: SeededRandom, all: readonly Target[]): readonly Target[] {
  const left = [...all];
  const count = 2 + Math.floor(random.next() * 3);
  return Array.from({ length: count }, () => left.splice(random.next() * left.length, 1)[0]!);
}

function again(random: SeededRandom, withinMs: number): number | null {
  const isAgain = random.next() * AGAIN_ONE_IN < 1;
  const afterMs = length(random, 50, withinMs);
  return isAgain ? afterMs : null;
}

function length(random: SeededRandom, low: number, high: number): number {
  return Math.floor(random.between(low, high));
}
