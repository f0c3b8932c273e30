/** The harness's own agents, in processes that are started again when they are killed. */

import { randomBytes } from 'node:crypto';
import { basename, join } from 'node:path';
import { initAgent } from '@fieldproof/device-agent/init';
import { newPhrase } from '@fieldproof/device-agent/owner';
import { formatJoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import { SupervisedProcess } from '@fieldproof/stack/child-process';
import { programPath } from '../support/program.ts';
import type { ClockStep } from './fault-plan.ts';
import type { LoadOrder, Progress } from './load-main.ts';
import { stepClock } from './stepping-clock.ts';

export interface LoadOptions {
  readonly folder: string;
  readonly joinLine: string;
  readonly processes: number;
  /** Of each process. */
  readonly agents: number;
  /** Profiles of each agent: three metrics, ten times a second of its clock. */
  readonly sensors: number;
  /** Where the processes of odd number reach the network: a proxy. */
  readonly proxyHost: string | null;
  /** Seconds a second of the agents' clocks, from `startWallMs`. */
  readonly fast?: { readonly rate: number; readonly startWallMs: number };
}

const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));

export class Load {
  readonly #options: LoadOptions;
  readonly #processes: SupervisedProcess[] = [];
  /** Of earlier runs of the same process. */
  readonly #before = { sealed: 0, readings: 0 };
  readonly #now = new Map<string, Progress>();
  /** Receipts that told something new. */
  receipts = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** The agents' data folders. */
  get folders(): readonly string[] {
    return this.#groups().flat();
  }

  get logFiles(): readonly string[] {
    return this.#groups().map((_, i) => this.#logFile(i));
  }

  /** The second agent of each process has a clock that can be set. */
  get clockDevices(): number {
    return this.#options.processes;
  }

  /** Makes keys, owners and join lines. */
  async prepare(): Promise<void> {
    const { joinLine, proxyHost } = this.#options;
    const phrase = await newPhrase(random);
    for (const [at, folders] of this.#groups().entries()) {
      const host = at % 2 === 1 && proxyHost !== null ? proxyHost : '127.0.0.1';
      for (const dataDir of folders) {
        await initAgent({
          dataDir,
          joinLine: formatJoinLine({ ...parseJoinLine(joinLine), host }),
          name: nameOf(dataDir),
          owner: { type: 'phrase', phrase },
          random,
        });
      }
    }
  }

  /** Starts all processes; `sensors: 0` delivers what is left. */
  async start({ sensors = this.#options.sensors } = {}): Promise<void> {
    const started = this.#groups().map(async (folders, i) => {
      const { rate, startWallMs } = this.#options.fast ?? { rate: null, startWallMs: 0 };
      const order: LoadOrder = { folders, sensors, rate, startWallMs };
      const child = new SupervisedProcess({
        name: `load-${i}`,
        entry: programPath('test/faults/load-main.ts'),
        args: [JSON.stringify(order)],
        env: { NODE_OPTIONS: '' },
        logFile: this.#logFile(i),
        maxPauseMs: 50,
        onEvent: () => {},
        onSpawn: () => this.#forget(folders),
        onMessage: ({ agents }) => {
          for (const progress of agents as readonly Progress[]) this.#note(progress);
        },
      });
      this.#processes[i] = child;
      await child.start();
    });
    await Promise.all(started);
  }

  /** Ends all processes in order: what was sampled is durable. */
  async stop(): Promise<void> {
    await Promise.all(this.#processes.splice(0).map((child) => child.stop()));
  }

  pid(process: number): number | undefined {
    return this.#processes[process]?.pid;
  }

  /** Whether all agents of a process have signed something since it was started. */
  isWorking(process: number): boolean {
    const folders = this.#groups()[process] ?? [];
    return folders.every((folder) => (this.#now.get(nameOf(folder))?.sealed ?? 0) > 0);
  }

  /** Whether all agents are connected. */
  get isOnline(): boolean {
    return this.folders.every((folder) => this.#now.get(nameOf(folder))?.isOnline === true);
  }

  step(device: number, step: ClockStep): void {
    stepClock(join(this.#groups()[device]!.at(-1)!, 'clock'), step);
  }

  /** Envelopes and readings that were signed, all runs together. */
  get totals(): { readonly sealed: number; readonly readings: number } {
    const { sealed, readings } = this.#before;
    const now = [...this.#now.values()];
    return {
      sealed: now.reduce((sum, progress) => sum + progress.sealed, sealed),
      readings: now.reduce((sum, progress) => sum + progress.readings, readings),
    };
  }

  get progress(): readonly Progress[] {
    return [...this.#now.values()];
  }

  #note(progress: Progress): void {
    const last = this.#now.get(progress.name);
    // The first report of a run shows a receipt of an earlier one.
    if (last !== undefined && progress.receipt > last.receipt) this.receipts++;
    this.#now.set(progress.name, progress);
  }

  /** A process begins: what its agents did before is kept in the sums. */
  #forget(folders: readonly string[]): void {
    for (const name of folders.map(nameOf)) {
      const last = this.#now.get(name);
      this.#before.sealed += last?.sealed ?? 0;
      this.#before.readings += last?.readings ?? 0;
      this.#now.delete(name);
    }
  }

  #groups(): readonly (readonly string[])[] {
    const { folder, processes, agents } = this.#options;
    return Array.from({ length: processes }, (_, i) =>
      Array.from({ length: agents }, (_, j) => join(folder, `load-${i}-${j}`)),
    );
  }

  #logFile(at: number): string {
    return join(this.#options.folder, `load-${at}.log`);
  }
}

function nameOf(folder: string): string {
  return basename(folder);
}
