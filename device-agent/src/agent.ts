/**
 * The agent: its life over the boots that it has, one {@link AgentRun} after the other. It may run many times in one
 * process, each on a data folder of its own.
 */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { AgentOptions, FullAgentOptions } from './agent-options.ts';
import { AgentRun } from './agent-run.ts';
import type { Boot } from './boot.ts';
import { systemClock } from './clock.ts';
import { systemDisk } from './disk.ts';
import { removeLeftovers } from './durable-file.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import { silentLog } from './log.ts';
import { NetworkView } from './network-view.ts';
import { loadSensorDriver } from './sensors/drivers.ts';
import { type StateLock, takeStateLock } from './state-lock.ts';
import type { AgentStatus } from './status.ts';
import { WriteMeter } from './write-meter.ts';

export class Agent {
  readonly #options: FullAgentOptions;
  readonly #meter: WriteMeter;
  readonly #view: NetworkView;
  readonly #startMs: number;
  readonly #given = new Map<string, number>();
  #run: AgentRun | undefined;
  #lock: StateLock | undefined;
  /** Nothing of these was recorded; what waits of them is sealed anew at the next start. */
  #refusedBoots: Boot[] = [];
  #hasBegunAbove = false;
  /** Under way: a start with another key or id. */
  #restarting: Promise<void> | undefined;
  #isStopping = false;

  constructor(options: AgentOptions) {
    this.#options = {
      clock: systemClock,
      log: silentLog,
      random: (length) => new Uint8Array(randomBytes(length)),
      root: '/',
      loadDriver: loadSensorDriver,
      statusFile: true,
      disk: systemDisk,
      ...options,
    };
    const { clock, config, log } = this.#options;
    this.#meter = new WriteMeter({ clock, ...config.disk });
    this.#view = new NetworkView(log);
    this.#startMs = clock.monotonicMs();
  }

  /**
   * Takes the data folder, recovers the outbox, begins a boot, starts sensors and link. Resolves when readings
   * are being recorded, with or without a network.
   *
   * @throws {AgentError} ERR_AGENT_LOCKED, ERR_AGENT_KEY, ERR_AGENT_NOT_INITIALISED, ERR_AGENT_JOIN_LINE,
   * ERR_AGENT_STATE, ERR_AGENT_OUTBOX.
   */
  async start(): Promise<void> {
    this.#isStopping = false;
    await this.#begin();
  }

  /** Seals what was sampled, makes it durable, disconnects, and gives the data folder free. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#restarting;
    await this.#end();
  }

  /** @throws {AgentError} ERR_AGENT_STATE before `start` and after `stop`. */
  status(): AgentStatus {
    const status = this.#run?.status();
    if (status === undefined) throw new AgentError('ERR_AGENT_STATE', 'agent: expected it started');
    return status;
  }

  async #begin(): Promise<void> {
    const { dataDir, disk } = this.#options;
    const state = join(dataDir, 'state');
    await disk.makeFolder(state).catch((cause: unknown) => {
      throw new AgentError('ERR_AGENT_STATE', `${state}: ${reasonOf(cause)}`, { cause });
    });
    const lock = await takeStateLock(state);
    const run = new AgentRun({
      ...this.#options,
      ...{ meter: this.#meter, view: this.#view, startMs: this.#startMs, given: this.#given },
      refused: this.#refusedBoots.splice(0),
      onRestart: (why) => this.#restart(why),
      onBootRefused: (boot) => this.#bootRefused(boot),
    });
    try {
      for (const folder of [dataDir, state]) await removeLeftovers(folder, disk);
      this.#run = run;
      await run.start();
      this.#lock = lock;
    } catch (cause) {
      await run.close();
      this.#run = undefined;
      await lock.release();
      if (!/^E[A-Z0-9]+$/.test(codeOf(cause) ?? '')) throw cause;
      throw new AgentError('ERR_AGENT_STATE', `${state}: ${reasonOf(cause)}`, { cause });
    }
  }

  async #end(): Promise<void> {
    await this.#run?.end();
    this.#run = undefined;
    await this.#lock?.release();
    this.#lock = undefined;
  }

  /** With the key and the id that the device has by now: a boot has one of each. */
  #restart(why: string): void {
    const { log, onFailed } = this.#options;
    log.info(`starts anew: ${why}`);
    this.#restarting = this.#end()
      .then(() => (this.#isStopping ? undefined : this.#begin()))
      .catch((error: unknown) => {
        log.error('did not start anew', { reason: reasonOf(error) });
        onFailed?.(error);
      });
  }

  /**
   * Two devices have this key, or this one has lost count of its boots, as after a restored backup. What was never
   * recorded may be the latter: once, it begins a boot above all that the receipts list. If there is another device, the
   * network finds out by their births, and that is that.
   *
   * @returns whether it begins another boot.
   */
  #bootRefused(boot: Boot): boolean {
    if (this.#hasBegunAbove) return false;
    this.#hasBegunAbove = true;
    this.#refusedBoots.push(boot);
    this.#restart('the network knows another boot of this count');
    return true;
  }
}
