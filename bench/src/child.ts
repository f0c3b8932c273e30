/**
 * A process under measurement: a module of ours run from source, or a server program. Ended by its id, never
 * started again. CPU time and resident memory come from /proc, where there is one.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';

/** What a process says over IPC. */
export type Message = Readonly<Record<string, unknown>> & { readonly event: string };

export interface Child {
  readonly pid: number;
  /** What it said when it was ready; empty for a program. */
  readonly ready: Message;
  /**
   * Sends an order and resolves with the next message of that name.
   *
   * @throws {Error} with the end of its output when the process ends or answers `failed`.
   */
  ask(order: object, answer: string): Promise<Message>;
  /** CPU seconds since its start, all threads; 0 where the system does not tell. */
  cpuSeconds(): number;
  /** CPU seconds of each thread by its id, the main thread's being `pid`; none where the system does not tell. */
  threadSeconds(): ReadonlyMap<number, number>;
  rssMiB(): number;
  /** Open file descriptors; 0 where the system does not tell. */
  handles(): number;
  /** SIGTERM, after 12 s SIGKILL; resolves when it is gone. Idempotent. */
  stop(): Promise<void>;
}

export interface ModuleOptions {
  readonly name: string;
  /** What `import.meta.resolve` takes. */
  readonly module: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where the process leaves CPU profiles of its threads when it ends; null for none. */
  readonly profileFolder?: string | null;
  /** Further arguments of Node, such as `--import` of a probe. */
  readonly nodeArgs?: readonly string[];
}

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 12_000;
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;
const KEPT_OUTPUT = 4000;

/** Starts a module as a process of its own and waits for `{"event":"ready"}`. */
export async function startModule(options: ModuleOptions): Promise<Child> {
  const { name, module, args = [], env = {}, profileFolder = null, nodeArgs = [] } = options;
  const profile =
    profileFolder === null
      ? []
      : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`, '--cpu-prof-interval=500'];
  const entry = new URL(import.meta.resolve(module)).pathname;
  const loader = entry.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
  const child = spawn(process.execPath, [...profile, ...nodeArgs, ...loader, entry, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const handle = wrap(name, child);
  try {
    const ready = await handle.next('ready', READY_TIMEOUT_MS);
    return { ...handle, ready };
  } catch (error) {
    await handle.stop();
    throw error;
  }
}

/** Starts a server program and waits until `isUp` says so. */
export async function startProgram(options: {
  readonly program: string;
  readonly args: readonly string[];
  readonly isUp: () => Promise<boolean>;
}): Promise<Child> {
  const { program, args, isUp } = options;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const handle = wrap(program, child);
  // Programs do not notice that this process is gone, as modules do by their channel.
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  const until = Date.now() + READY_TIMEOUT_MS;
  while (child.exitCode === null && child.signalCode === null && Date.now() < until) {
    if (await isUp().catch(() => false)) return { ...handle, ready: { event: 'ready' } };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await handle.stop();
  throw new Error(`${program}: expected it to serve, got\n${handle.output()}`);
}

function wrap(name: string, child: ChildProcess) {
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = `${output}${chunk}`.slice(-KEPT_OUTPUT);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const next = (event: string, timeoutMs?: number): Promise<Message> =>
    new Promise((resolve, reject) => {
      const fail = (why: string): void =>
        end(() => reject(new Error(`${name}: ${why}\n${output}`)));
      const timer = timeoutMs && setTimeout(() => fail(`no ${event} in time`), timeoutMs);
      const onMessage = (message: unknown): void => {
        const { event: got, message: why } = message as Message;
        if (got === event) end(() => resolve(message as Message));
        else if (got === 'failed') fail(String(why));
      };
      const onClose = (): void => fail('ended');
      const end = (finish: () => void): void => {
        if (timer) clearTimeout(timer);
        child.off('message', onMessage).off('close', onClose).off('error', onClose);
        finish();
      };
      child.on('message', onMessage).on('close', onClose).on('error', onClose);
    });
  return {
    pid: child.pid ?? 0,
    output: () => output,
    next,
    ask: (order: object, answer: string): Promise<Message> => {
      const answered = next(answer);
      child.send(order);
      return answered;
    },
    cpuSeconds: () => cpuSeconds(child.pid),
    threadSeconds: () => threadSeconds(child.pid),
    rssMiB: () => rssMiB(child.pid),
    handles: () => handles(child.pid),
    stop: async (): Promise<void> => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      child.kill('SIGTERM');
      await ended;
      clearTimeout(force);
    },
  };
}

/** proc(5): utime and stime are the 14th and 15th fields; the 2nd may hold blanks. */
function cpuSeconds(pid: number | undefined): number {
  const fields = readProc(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND;
}

function threadSeconds(pid: number | undefined): Map<number, number> {
  const seconds = new Map<number, number>();
  let threads: readonly string[] = [];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    // The system does not tell, or the process is gone.
  }
  for (const thread of threads) {
    // The first field of schedstat: ns on a processor.
    const [nanoseconds] = readProc(pid, `task/${thread}/schedstat`).split(' ');
    seconds.set(Number(thread), Number(nanoseconds || 0) / 1e9);
  }
  return seconds;
}

function rssMiB(pid: number | undefined): number {
  return (Number(readProc(pid, 'statm').split(' ')[1] ?? 0) * PAGE_BYTES) / 2 ** 20;
}

function handles(pid: number | undefined): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

function readProc(pid: number | undefined, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** Connects to a port to see whether something listens. */
export async function isListening(port: number): Promise<boolean> {
  const { connect } = await import('node:net');
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } finally {
    socket.destroy();
  }
}
