/**
 * One process of the network under supervision: started, awaited until it says `{"event":"ready"}` over
 * IPC, started again with back-off when it dies, stopped with SIGTERM. Its output goes to a log file.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { StackError } from './errors.ts';

/** What a process says when it serves: its addresses and the like. */
export type Ready = Readonly<Record<string, unknown>>;

export interface ChildOptions {
  readonly name: string;
  /** Module to run, absolute path. */
  readonly entry: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Told of every end that nobody asked for, and of every new start. */
  readonly onEvent: (event: ChildEvent) => void;
  /** Other messages than `ready`. */
  readonly onMessage?: (message: Ready) => void;
}

export type ChildEvent =
  | {
      readonly type: 'exited';
      readonly name: string;
      readonly how: string;
      readonly nextMs: number;
    }
  | { readonly type: 'restarted'; readonly name: string; readonly ready: Ready };

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 12_000;
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** A run of this length counts as healthy and resets the back-off. */
const HEALTHY_MS = 30_000;

export class SupervisedProcess {
  readonly #options: ChildOptions;
  #child: ChildProcess | null = null;
  #stopping = false;
  #backoffMs = FIRST_BACKOFF_MS;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts the process and waits until it is ready.
   *
   * @throws {StackError} ERR_PROCESS_FAILED with the last line that it wrote.
   */
  async start(): Promise<Ready> {
    const ready = await this.#launch();
    return ready;
  }

  /** Asks the process to end, and ends it after 12 s. Resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#timer) clearTimeout(this.#timer);
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      child.once('exit', () => {
        clearTimeout(force);
        resolve();
      });
      child.kill('SIGTERM');
    });
  }

  #launch(): Promise<Ready> {
    const { name, entry, args, env, logFile } = this.#options;
    const log = openSync(logFile, 'a', 0o600);
    const startedAt = Date.now();
    const child = spawn(process.execPath, [...loaderFor(entry), entry, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log, 'ipc'],
      // its own group: Ctrl-C reaches us alone, and we stop the others in order
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    return new Promise<Ready>((resolve, reject) => {
      let settled = false;
      const fail = (why: string) => {
        if (settled) return;
        settled = true;
        clearTimeout(timeout);
        reject(new StackError('ERR_PROCESS_FAILED', `${name}: ${why}`));
      };
      const timeout = setTimeout(() => {
        fail(`not ready after ${READY_TIMEOUT_MS / 1000} s; see ${logFile}`);
        child.kill('SIGKILL');
      }, READY_TIMEOUT_MS);
      child.on('message', (message: unknown) => {
        if (!isEvent(message)) return;
        if (message.event !== 'ready') {
          this.#options.onMessage?.(message);
          return;
        }
        if (settled) return;
        settled = true;
        clearTimeout(timeout);
        resolve(message);
      });
      child.on('error', (error) => fail(error.message));
      child.on('exit', (code, signal) => {
        if (!settled) {
          fail(lastLine(logFile) ?? `ended with ${signal ?? `exit code ${code}`}`);
          return;
        }
        if (!this.#stopping)
          this.#restartLater(signal ?? `exit code ${code}`, Date.now() - startedAt);
      });
    });
  }

  #restartLater(how: string, ranMs: number): void {
    this.#backoffMs =
      ranMs >= HEALTHY_MS ? FIRST_BACKOFF_MS : Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS);
    const { name, onEvent } = this.#options;
    onEvent({ type: 'exited', name, how, nextMs: this.#backoffMs });
    this.#timer = setTimeout(() => {
      this.#launch().then(
        (ready) => onEvent({ type: 'restarted', name, ready }),
        (error: Error) => {
          if (!this.#stopping) this.#restartLater(error.message, 0);
        },
      );
    }, this.#backoffMs);
  }
}

/** Sources need the loader that runs them; a package is compiled and has none. */
function loaderFor(entry: string): readonly string[] {
  return entry.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
}

function isEvent(message: unknown): message is Ready {
  return typeof message === 'object' && message !== null && 'event' in message;
}

const SPOKEN = /^(?:error |[a-z-]+: ERR_)/;

/** The last line of the log that is for people: one that names an error if there is one. */
function lastLine(logFile: string): string | null {
  const lines = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-50);
  const spoken = lines.findLast((line) => SPOKEN.test(line)) ?? lines.at(-1);
  return spoken?.trim() ? spoken.trim() : null;
}
