/** One whole run: a network under load, a plan of faults, the way back, the audit. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrokenNetwork, type Store } from './broken-network.ts';
import type { PlanCounts } from './fault-plan.ts';
import { FaultRun, type FaultRunResult } from './fault-run.ts';
import { Load } from './load.ts';
import { residentKib } from './process-tree.ts';
import { type Settled, settle } from './settle.ts';

export interface SessionOptions {
  readonly seed: number;
  readonly store: Store;
  readonly durationMs: number;
  readonly counts: PlanCounts;
  readonly load: {
    readonly processes: number;
    readonly agents: number;
    readonly sensors: number;
  };
  readonly fleet: boolean;
  /** Told how far it is, every few seconds. */
  readonly onProgress?: (state: SessionState) => void;
  /** Ends the faults early; what follows is done. */
  readonly signal?: AbortSignal;
  /** Leaves the folder there when something is wrong. */
  readonly keep?: boolean;
}

export interface SessionState {
  readonly atMs: number;
  readonly hits: number;
  readonly readings: number;
  readonly receipts: number;
  /** Of each process, KiB in RAM. */
  readonly memory: Readonly<Record<string, number>>;
}

export interface SessionReport extends FaultRunResult, Settled {
  readonly readings: number;
  readonly receipts: number;
  readonly states: readonly SessionState[];
  readonly folder: string;
}

const STATE_EVERY_MS = 5000;

/** Runs it, and removes everything again. */
export async function faultSession(options: SessionOptions): Promise<SessionReport> {
  const { seed, store, durationMs, counts, fleet, signal } = options;
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-faults-'));
  const agents = join(folder, 'load');
  mkdirSync(agents);
  const startedWallMs = Date.now();
  const states: SessionState[] = [];
  let timer: NodeJS.Timeout | undefined;
  let network: BrokenNetwork | undefined;
  let load: Load | undefined;
  let isWhole = false;
  try {
    network = await BrokenNetwork.start({ dataDir: join(folder, 'data'), store, fleet });
    const joinLine = await network.createJoinLine(1000);
    load = new Load({
      ...{ folder: agents, joinLine, ...options.load },
      proxyHost: '127.0.0.2',
    });
    await load.prepare();
    await load.start();
    const run = new FaultRun(network, load);
    const startedMs = performance.now();
    const state = (): SessionState => ({
      atMs: performance.now() - startedMs,
      hits: run.hits.filter(({ missed }) => missed === null).length,
      readings: load!.totals.readings,
      receipts: load!.receipts,
      memory: memoryOf(network!, load!, options.load.processes),
    });
    timer = setInterval(() => {
      states.push(state());
      options.onProgress?.(states.at(-1)!);
    }, STATE_EVERY_MS);
    const result = await run.run(seed, {
      ...{ durationMs, counts, loadProcesses: options.load.processes },
      ...{ clockDevices: load.clockDevices, fleet, signal },
    });
    clearInterval(timer);
    const { readings, receipts } = state();
    const settled = await settle(network, load, { startedWallMs });
    isWhole = settled.audit.report?.ok === true && settled.badLines.length === 0;
    return { ...result, ...settled, readings, receipts, states, folder };
  } catch (error) {
    throw new Error(`SEED=${seed} ${store}: ${(error as Error).message}; files: ${folder}`, {
      cause: error,
    });
  } finally {
    clearInterval(timer);
    await load?.stop();
    await network?.stop();
    if (isWhole || options.keep !== true) rmSync(folder, { recursive: true, force: true });
  }
}

function memoryOf(network: BrokenNetwork, load: Load, processes: number): Record<string, number> {
  const memory: Record<string, number> = {};
  const note = (name: string, pid: number | undefined) => {
    const kib = pid === undefined ? undefined : residentKib(pid);
    if (kib !== undefined) memory[name] = kib;
  };
  note('npm start', network.supervisorPid);
  for (const [name, pid] of network.pids()) note(name, pid);
  for (let i = 0; i < processes; i++) note(`load-${i}`, load.pid(i));
  return memory;
}
