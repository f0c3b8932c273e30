/** Writes the agent's status where `fieldproof-agent status` finds it, and tells whoever watches. */

import type { Clock, TimerHandle } from './clock.ts';
import type { Disk } from './disk.ts';
import { reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import { type AgentStatus, saveStatus } from './status.ts';

const EVERY_MS = 10_000;
/** Without a memory folder the status is on the card: after the first minutes, in which people look, more rarely. */
const EVERY_ON_CARD_MS = 60_000;
const WATCHED_MS = 10 * 60_000;

export interface StatusWriterOptions {
  readonly dataDir: string;
  /** The agent's folder in memory. */
  readonly memory: string | undefined;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether there is a file. */
  readonly statusFile: boolean;
  /** Monotonic ms of the agent's first start. */
  readonly startMs: number;
  /** Undefined when there is none any more. */
  readonly status: () => AgentStatus | undefined;
  readonly onStatus: ((status: AgentStatus) => void) | undefined;
}

export class StatusWriter {
  readonly #options: StatusWriterOptions;
  #timer: TimerHandle | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(options: StatusWriterOptions) {
    this.#options = options;
  }

  /** From now on, now and then. */
  start(): void {
    const { clock, memory, startMs } = this.#options;
    const isWatched = clock.monotonicMs() - startMs < WATCHED_MS;
    const isCheap = memory !== undefined || isWatched;
    this.#timer = clock.after(isCheap ? EVERY_MS : EVERY_ON_CARD_MS, () => {
      this.start();
      void this.publish();
    });
  }

  stop(): void {
    this.#options.clock.cancel(this.#timer);
  }

  /** @param isLast - it goes to the data folder, for those who ask while nothing runs. */
  publish({ isLast = false } = {}): Promise<void> {
    const { dataDir, memory, disk, statusFile, onStatus, log } = this.#options;
    const status = this.#options.status();
    if (status === undefined) return Promise.resolve();
    onStatus?.(status);
    if (!statusFile) return Promise.resolve();
    this.#saving = this.#saving
      .then(() => saveStatus(isLast ? dataDir : (memory ?? dataDir), status, disk))
      .catch((error: unknown) => log.debug('status not saved', { reason: reasonOf(error) }));
    return this.#saving;
  }
}
