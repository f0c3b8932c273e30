/** A whole network as `npm start` runs it: own data folder, free ports, always stopped again. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RunningNetwork } from '@fieldproof/stack/network';
import { programArguments, sourceArguments } from './program.ts';
import { REPOSITORY } from './repository.ts';
import { PATIENCE_MS, until } from './until.ts';

export { until };

export interface TestNetwork {
  readonly info: RunningNetwork;
  readonly dataDir: string;
  /** Everything it has printed. */
  readonly output: () => string;
  /** Asks it to end as Ctrl-C does, and resolves with its exit code. */
  readonly stop: () => Promise<number | null>;
}

const MAIN = 'stack/src/main.ts';

/** Settings of a process under test. */
export interface Run {
  readonly env?: Readonly<Record<string, string>>;
  /** From its sources, as people run it; default: compiled once for all tests. */
  readonly fromSource?: boolean;
}

/** Runs `npm start --` with these arguments until it has printed where everything is. */
export async function startNetwork(
  options: Run & {
    readonly dataDir: string;
    readonly args?: readonly string[];
    /** Told at once; the network is not up yet. */
    readonly onSpawn?: (child: ChildProcess) => void;
    readonly limitMs?: number;
  },
): Promise<TestNetwork> {
  const { dataDir, args = [] } = options;
  rmSync(join(dataDir, 'network.json'), { force: true });
  const child = runMain(['--data', dataDir, '--port-base', '0', ...args], options);
  options.onSpawn?.(child);
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const closed = new Promise<number | null>((done) => child.once('close', done));
  const file = join(dataDir, 'network.json');
  let ended = false;
  void closed.then(() => {
    ended = true;
  });
  const isUp = () => {
    if (ended) throw new Error(`npm start ended:\n${output}`);
    return existsSync(file) && output.includes('Ctrl-C');
  };
  const { limitMs = PATIENCE_MS } = options;
  await until('the network is up', isUp, { limitMs });
  return {
    info: JSON.parse(readFileSync(file, 'utf8')) as RunningNetwork,
    dataDir,
    output: () => output,
    stop: () => {
      child.kill('SIGINT');
      return closed;
    },
  };
}

/** Runs a program of the repository to its end. */
export async function runProgram(
  entry: string,
  args: readonly string[],
  { env = {}, fromSource = false }: Run = {},
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const program = fromSource ? sourceArguments(entry) : programArguments(entry);
  const child = spawn(process.execPath, [...program, ...args], {
    cwd: REPOSITORY,
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, stdout, stderr };
}

/** Starts `npm start` without waiting; for what must fail. */
export function runMain(
  args: readonly string[],
  { env = {}, fromSource = false }: Run = {},
): ChildProcess {
  const program = fromSource ? sourceArguments(MAIN) : programArguments(MAIN);
  return spawn(process.execPath, [...program, ...args], {
    cwd: REPOSITORY,
    env: { ...process.env, NODE_OPTIONS: '', INFLUX_URL: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
