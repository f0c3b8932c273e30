/** Carries out a plan of faults on a network under load, and notes of each whether it hit something. */

import type { BrokenNetwork } from './broken-network.ts';
import { type Fault, faultPlan, type PlanOptions, type Target } from './fault-plan.ts';
import type { Load } from './load.ts';

/** One thing that was broken. */
export interface Hit {
  /** `kill broker`, `proxy black-hole`, `clock 1970` … */
  readonly name: string;
  readonly atMs: number;
  /** Why it met nothing, or null: then it counts. */
  readonly missed: string | null;
  /** Envelopes that the harness's agents signed in the two seconds before. */
  readonly sealedLately: number;
  /** Bytes of the evidence log then. */
  readonly evidenceBytes: number;
}

export interface Recovery {
  readonly name: string;
  readonly ms: number;
}

export interface FaultRunResult {
  readonly hits: readonly Hit[];
  readonly recoveries: readonly Recovery[];
  /** What did not come back by itself. */
  readonly problems: readonly string[];
}

/** Generous: how long a start takes is the machine's affair, and nothing is judged by it. */
const BACK_LIMIT_MS = 120_000;
const PROXY_LIMIT_MS = 10_000;
const LOOK_EVERY_MS = 50;
const LATELY_MS = 2000;
const SAMPLE_EVERY_MS = 250;

export class FaultRun {
  readonly #network: BrokenNetwork;
  readonly #load: Load;
  readonly #hits: Hit[] = [];
  readonly #recoveries: Recovery[] = [];
  readonly #problems: string[] = [];
  readonly #tails: Promise<void>[] = [];
  readonly #startedMs = performance.now();
  /** What is done to the same thing is done one after the other. */
  readonly #lanes = new Map<string, Promise<void>>();
  /** Size of the log when the target was killed last. */
  readonly #killedAtBytes = new Map<Target, number>();
  /** Envelopes signed so far, at the last few looks. */
  #sealed: readonly number[] = [];

  constructor(network: BrokenNetwork, load: Load) {
    this.#network = network;
    this.#load = load;
  }

  get hits(): readonly Hit[] {
    return this.#hits;
  }

  /** Resolves when the last fault is over and everything that was killed is back, or a problem. */
  async run(
    seed: number,
    options: PlanOptions & { readonly signal?: AbortSignal | undefined },
  ): Promise<FaultRunResult> {
    const sampling = setInterval(() => {
      const { sealed } = this.#load.totals;
      this.#sealed = [...this.#sealed, sealed].slice(-LATELY_MS / SAMPLE_EVERY_MS);
    }, SAMPLE_EVERY_MS);
    for (const fault of faultPlan(seed, options)) {
      const waitMs = fault.atMs - (performance.now() - this.#startedMs);
      if (waitMs > 0) await pause(waitMs);
      if (options.signal?.aborted === true) break;
      this.#apply(fault);
    }
    for (let tail = this.#tails.shift(); tail !== undefined; tail = this.#tails.shift()) await tail;
    clearInterval(sampling);
    for (const proxy of Object.values(this.#network.proxies)) proxy.heal();
    const failed = this.#network.failedStarts.map((text) => `npm start did not start: ${text}`);
    return {
      hits: this.#hits,
      recoveries: this.#recoveries,
      problems: [...this.#problems, ...failed],
    };
  }

  #apply(fault: Fault): void {
    switch (fault.kind) {
      case 'kill': {
        const { targets, againMs } = fault;
        const [first] = targets;
        if (targets.length === 1) this.#lane(first!, () => this.#killRunning(first!, againMs));
        else for (const target of targets) this.#killNow(target, 'with others');
        return;
      }
      case 'kill-supervisor':
        this.#lane('npm start', () => this.#killSupervisor(fault.againMs));
        return;
      case 'pause':
        this.#lane(fault.target, () => this.#pause(fault.target, fault.forMs));
        return;
      case 'proxy':
        this.#lane(fault.link, () => this.#disturb(fault));
        return;
      case 'clock':
        this.#load.step(fault.device, fault.step);
        this.#note(`clock ${fault.step}`, null);
        return;
      case 'influx':
        this.#lane('influxd', () => this.#stopInflux(fault.how, fault.downMs));
    }
  }

  /** Kills a process that works: its agents sign, or the log has grown since it was killed last. */
  async #killRunning(target: Target, againMs: number | null): Promise<void> {
    const isChain = target === 'broker' || target === 'control' || target === 'flows';
    const from = this.#killedAtBytes.get(target) ?? 0;
    await this.#until(async () => {
      const pid = this.#pidOf(target);
      if (pid === undefined) return false;
      if (target === 'agent' || target === 'fleet') return this.#network.isAgentReady(target, pid);
      if (!isChain) return this.#load.isWorking(Number(target.split('-')[1]));
      return (await this.#network.answers(target)) && this.#network.evidenceBytes() > from;
    });
    this.#killNow(target, '');
    if (againMs === null) return;
    await pause(againMs);
    this.#killNow(target, 'again while it starts');
  }

  #killNow(target: Target, how: string): void {
    const name = `kill ${nameOf(target)} ${how}`.trim();
    const pid = this.#pidOf(target);
    const evidenceBytes = this.#network.evidenceBytes();
    const isHit = pid !== undefined && signal(pid, 'SIGKILL');
    this.#note(name, isHit ? null : 'was not running');
    if (!isHit) return;
    this.#killedAtBytes.set(target, evidenceBytes);
    this.#tail(this.#watchBack(target, pid));
  }

  async #killSupervisor(againMs: number | null): Promise<void> {
    await this.#until(() => this.#network.isUp);
    this.#note(againMs === null ? 'kill npm start' : 'kill npm start, again while it starts', null);
    const killedMs = performance.now();
    try {
      await this.#network.killSupervisor(againMs);
      this.#recoveries.push({ name: 'npm start', ms: performance.now() - killedMs });
    } catch (error) {
      this.#problems.push(`npm start is not back: ${(error as Error).message}`);
    }
  }

  async #pause(target: Target, forMs: number): Promise<void> {
    await this.#until(() => this.#pidOf(target) !== undefined);
    const pid = this.#pidOf(target);
    const isHit = pid !== undefined && signal(pid, 'SIGSTOP');
    this.#note(`pause ${nameOf(target)}`, isHit ? null : 'was not running');
    if (!isHit) return;
    await pause(forMs);
    signal(pid, 'SIGCONT');
  }

  async #disturb({ fault, link, forMs }: Extract<Fault, { kind: 'proxy' }>): Promise<void> {
    const proxy = this.#network.proxies[link];
    const acts = { cut: () => proxy.cut(), reset: () => proxy.reset() };
    if (link === 'mqtt') await this.#until(() => proxy.connections > 0);
    const state = this.#state();
    const before = proxy.disturbed;
    let count = 0;
    if (fault === 'cut' || fault === 'reset') count = acts[fault]();
    else if (fault === 'half-open') count = proxy.halfOpen();
    else if (fault === 'cut-mid-packet') proxy.cutMidPacket();
    else if (fault === 'delay') proxy.delay(forMs / 4);
    else if (fault === 'throttle') proxy.throttle(2000);
    else proxy.blackHole();
    // Devices call over HTTP when they log in.
    if (link === 'http') this.#network.proxies.mqtt.cut();
    await pause(forMs);
    const isHit = () => count + proxy.disturbed - before > 0;
    await this.#until(isHit, PROXY_LIMIT_MS);
    proxy.heal();
    const missed = isHit() ? null : 'nothing to send';
    this.#hits.push({ name: `proxy ${fault}, ${link}`, missed, ...state });
  }

  async #stopInflux(how: 'SIGKILL' | 'SIGTERM', downMs: number): Promise<void> {
    const { influx } = this.#network;
    if (influx === null) return;
    await influx.kill(how);
    this.#note(`influxd ${how}`, null);
    await pause(downMs);
    await influx.restart();
  }

  /** Notes how long it takes until another process does the work, whatever else happens meanwhile. */
  async #watchBack(target: Target, killed: number): Promise<void> {
    const killedMs = performance.now();
    const evidenceBytes = this.#network.evidenceBytes();
    const isBack = async (): Promise<boolean> => {
      const pid = this.#pidOf(target);
      if (pid === undefined || pid === killed) return false;
      if (target === 'broker') return this.#network.evidenceBytes() > evidenceBytes;
      if (target === 'control' || target === 'flows') return await this.#network.answers(target);
      return true;
    };
    while (!(await isBack())) {
      if (performance.now() - killedMs > BACK_LIMIT_MS) {
        this.#problems.push(`${target} is not back ${BACK_LIMIT_MS / 1000} s after a SIGKILL`);
        return;
      }
      await pause(LOOK_EVERY_MS);
    }
    this.#recoveries.push({ name: nameOf(target), ms: performance.now() - killedMs });
  }

  #pidOf(target: Target): number | undefined {
    const load = /^load-(\d+)$/.exec(target);
    return load === null ? this.#network.pids().get(target) : this.#load.pid(Number(load[1]));
  }

  #note(name: string, missed: string | null): void {
    this.#hits.push({ name, missed, ...this.#state() });
  }

  #state(): Pick<Hit, 'atMs' | 'sealedLately' | 'evidenceBytes'> {
    const { sealed } = this.#load.totals;
    return {
      atMs: Math.round(performance.now() - this.#startedMs),
      sealedLately: sealed - (this.#sealed[0] ?? sealed),
      evidenceBytes: this.#network.evidenceBytes(),
    };
  }

  #lane(name: string, work: () => Promise<void>): void {
    const before = this.#lanes.get(name) ?? Promise.resolve();
    const done = before.then(work);
    this.#lanes.set(
      name,
      done.catch(() => {}),
    );
    this.#tail(done);
  }

  /** Resolves when it holds, or after a while anyway. */
  async #until(holds: () => boolean | Promise<boolean>, limitMs = BACK_LIMIT_MS): Promise<void> {
    const end = performance.now() + limitMs;
    while (!(await holds()) && performance.now() < end) await pause(LOOK_EVERY_MS);
  }

  #tail(work: Promise<void>): void {
    this.#tails.push(work.catch((error: Error) => void this.#problems.push(error.message)));
  }
}

/** All processes of the harness's own agents count as one kind. */
function nameOf(target: Target): string {
  return target.startsWith('load-') ? 'load agents' : target;
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
