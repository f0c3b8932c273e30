/**
 * One process of the network under supervision: started, awaited until it says `{"event":"ready"}` over
 * IPC, started again with back-off when it dies, stopped with SIGTERM. Its output goes to a log file.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { StackError } from './errors.ts';
import { processIdentity } from './process-identity.ts';

/** What a process says when it serves: its addresses and the like. */
export type Ready = Readonly<Record<string, unknown>>;

export interface ChildOptions {
  readonly name: string;
  /** Module to run, absolute path. */
  readonly entry: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** More settings for every later start, from what the first one said: the ports that it was given. */
  readonly envAgain?: (first: Ready) => Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Longest pause before a process that died is started again, ms. Default 30 s. */
  readonly maxPauseMs?: number;
  /** How long a port that somebody else has taken meanwhile is waited for, ms. Default 60 s. */
  readonly portPatienceMs?: number;
  /** Told of every end that nobody asked for, of every new start, and when no more are tried. */
  readonly onEvent: (event: ChildEvent) => void;
  /** A process was made; it need not be ready. */
  readonly onSpawn?: (pid: number | undefined) => void;
  /** A process is gone, whoever ended it. */
  readonly onGone?: () => void;
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
  | {
      /** It was started again, and ended before it was ready. */
      readonly type: 'failed';
      readonly name: string;
      readonly why: string;
      readonly nextMs: number;
    }
  | { readonly type: 'restarted'; readonly name: string; readonly ready: Ready }
  /** ERR_PORT_LOST: it is not started again. */
  | { readonly type: 'lost'; readonly name: string; readonly error: StackError };

export const DEFAULT_MAX_PAUSE_MS = 30_000;

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 12_000;
const FIRST_PAUSE_MS = 500;
/** A run of this length counts as healthy and resets the pause. */
const HEALTHY_MS = 30_000;
/** A process that says why it ends is believed; one that is killed before it is ready gets this many more tries. */
const KILLED_TRIES = 5;
/** An outgoing connection may have the port for a while; who listens there keeps it. */
const PORT_PATIENCE_MS = 60_000;
const PORT_TAKEN = /\bERR_(?:FLOWS_)?PORT_TAKEN\b/;
/** Enough of a log for its last words. */
const TAIL_BYTES = 16_384;

export class SupervisedProcess {
  readonly #options: ChildOptions;
  #child: ChildProcess | null = null;
  #identity: string | null = null;
  #first: Ready | null = null;
  #stopping = false;
  #pauseMs: number;
  #timer: NodeJS.Timeout | null = null;
  /** Since when its port is somebody else's, by the clock that never steps. */
  #portTakenAt: number | null = null;

  constructor(options: ChildOptions) {
    this.#options = options;
    this.#pauseMs = this.#firstPauseMs;
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** The living process, as `processIdentity` names it; null when there is none. Taken when it was made. */
  get identity(): string | null {
    return this.#identity;
  }

  /**
   * Starts the process and waits until it is ready.
   *
   * @throws {StackError} ERR_PROCESS_FAILED with the last line that it wrote.
   */
  async start(): Promise<Ready> {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#launch();
      } catch (error) {
        if (!(error instanceof KilledError) || tries >= KILLED_TRIES || this.#stopping) throw error;
        const nextMs = this.#nextPauseMs(0);
        this.#options.onEvent({ type: 'exited', name: this.name, how: error.signal, nextMs });
        await new Promise((done) => setTimeout(done, nextMs));
        if (this.#stopping) throw error;
      }
    }
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

  /** Settles once: with what the process says when it is ready, or when it is gone before that. */
  #launch(): Promise<Ready> {
    const { name, logFile } = this.#options;
    return new Promise<Ready>((resolve, reject) => {
      const startedAt = performance.now();
      const log = openSync(logFile, 'a', 0o600);
      const logStart = fstatSync(log).size;
      const child = this.#spawn(log);
      let isReady = false;
      let isLate = false;
      const timeout = setTimeout(() => {
        isLate = true;
        child.kill('SIGKILL');
      }, READY_TIMEOUT_MS);
      child.on('message', (message: unknown) => {
        if (!isEvent(message)) return;
        if (message.event !== 'ready') {
          this.#options.onMessage?.(message);
          return;
        }
        clearTimeout(timeout);
        isReady = true;
        this.#first ??= message;
        resolve(message);
      });
      child.on('error', (error) => {
        clearTimeout(timeout);
        reject(new StackError('ERR_PROCESS_FAILED', `${name}: ${error.message}`));
      });
      child.on('exit', (code, signal) => {
        clearTimeout(timeout);
        this.#identity = null;
        this.#options.onGone?.();
        const how = signal ?? `exit code ${code}`;
        if (isReady) {
          const nextMs = this.#nextPauseMs(performance.now() - startedAt);
          if (!this.#stopping) this.#restartLater({ type: 'exited', name, how, nextMs });
        } else if (isLate) {
          const late = `not ready after ${READY_TIMEOUT_MS / 1000} s; see ${logFile}`;
          reject(new StackError('ERR_PROCESS_FAILED', `${name}: ${late}`));
        } else if (signal !== null) reject(new KilledError(name, signal));
        else {
          const why = lastLine(logFile, logStart) ?? `ended with ${how}`;
          reject(new StackError('ERR_PROCESS_FAILED', `${name}: ${why}`));
        }
      });
    });
  }

  #spawn(log: number): ChildProcess {
    const { entry, args, env, envAgain, onSpawn } = this.#options;
    const again = this.#first === null ? {} : envAgain?.(this.#first);
    try {
      this.#child = spawn(process.execPath, [...loaderFor(entry), entry, ...args], {
        env: { ...process.env, ...env, ...again },
        stdio: ['ignore', log, log, 'ipc'],
        // its own group: Ctrl-C reaches us alone, and we stop the others in order
        detached: true,
      });
    } finally {
      closeSync(log);
    }
    const { pid } = this.#child;
    this.#identity = pid === undefined ? null : processIdentity(pid);
    onSpawn?.(pid);
    return this.#child;
  }

  #restartLater(event: Extract<ChildEvent, { readonly nextMs: number }>): void {
    const { name, onEvent } = this.#options;
    onEvent(event);
    this.#timer = setTimeout(() => {
      this.#launch().then(
        (ready) => {
          this.#portTakenAt = null;
          onEvent({ type: 'restarted', name, ready });
        },
        (error: Error) => {
          if (!this.#stopping) this.#tryAgain(error.message);
        },
      );
    }, event.nextMs);
  }

  /** Whatever ends a process may pass; a port that another program listens on does not by itself. */
  #tryAgain(why: string): void {
    const { name, onEvent, portPatienceMs = PORT_PATIENCE_MS } = this.#options;
    this.#portTakenAt = PORT_TAKEN.test(why) ? (this.#portTakenAt ?? performance.now()) : null;
    if (this.#portTakenAt !== null && performance.now() - this.#portTakenAt >= portPatienceMs) {
      onEvent({ type: 'lost', name, error: new StackError('ERR_PORT_LOST', why) });
      return;
    }
    this.#restartLater({ type: 'failed', name, why, nextMs: this.#nextPauseMs(0) });
  }

  get #maxPauseMs(): number {
    return this.#options.maxPauseMs ?? DEFAULT_MAX_PAUSE_MS;
  }

  get #firstPauseMs(): number {
    return Math.min(FIRST_PAUSE_MS, this.#maxPauseMs);
  }

  /** The pause to make now; the next one is twice as long. */
  #nextPauseMs(ranMs: number): number {
    const nextMs = ranMs >= HEALTHY_MS ? this.#firstPauseMs : this.#pauseMs;
    this.#pauseMs = Math.min(nextMs * 2, this.#maxPauseMs);
    return nextMs;
  }
}

/** Somebody or something killed the process: it could not say why. */
class KilledError extends StackError {
  readonly signal: NodeJS.Signals;

  constructor(name: string, signal: NodeJS.Signals) {
    super('ERR_PROCESS_FAILED', `${name}: ended with ${signal}`);
    this.signal = signal;
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

/** The last line of this run's part of the log that is for people: one that names an error if there is one. */
function lastLine(logFile: string, fromByte: number): string | null {
  try {
    const log = openSync(logFile, 'r');
    try {
      const { size } = fstatSync(log);
      const start = Math.max(fromByte, size - TAIL_BYTES);
      const bytes = Buffer.alloc(Math.max(0, size - start));
      readSync(log, bytes, 0, bytes.length, start);
      const lines = bytes.toString('utf8').trimEnd().split('\n').slice(-50);
      const spoken = lines.findLast((line) => SPOKEN.test(line)) ?? lines.at(-1);
      return spoken?.trim() ? spoken.trim() : null;
    } finally {
      closeSync(log);
    }
  } catch {
    return null;
  }
}
