/** An installed command, run as its user would: by its link, outside the repository. */

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';

export interface Program {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Resolves with the exit code; with what it wrote when it ends before it is asked. */
  readonly ended: Promise<number | null>;
  /** Asks it to end and resolves with the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

export interface ProgramOptions {
  readonly folder: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts `node_modules/.bin/<name>` of an installation. */
export function startCommand(
  name: string,
  args: readonly string[],
  { folder, env = {} }: ProgramOptions,
): Program {
  const child = spawn(join(folder, 'node_modules/.bin', name), args, {
    cwd: folder,
    env: { ...process.env, NODE_OPTIONS: '', INFLUX_URL: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const ended = new Promise<number | null>((done) => child.once('close', done));
  return {
    child,
    output: () => output,
    ended,
    stop: (signal = 'SIGTERM') => {
      child.kill(signal);
      return ended;
    },
  };
}

/** Runs a command to its end. @throws {Error} with its output when its exit code is not 0. */
export async function runCommand(
  name: string,
  args: readonly string[],
  options: ProgramOptions,
): Promise<string> {
  const program = startCommand(name, args, options);
  const code = await program.ended;
  if (code !== 0) throw new Error(`${name} ${args.join(' ')}: exit ${code}\n${program.output()}`);
  return program.output();
}

/** The `ready` line that a process prints. @throws {Error} with its output when it ends instead. */
export async function readyLine(program: Program): Promise<Readonly<Record<string, unknown>>> {
  let hasEnded = false;
  void program.ended.then(() => {
    hasEnded = true;
  });
  for (;;) {
    const line = program
      .output()
      .split('\n')
      .slice(0, -1)
      .find((text) => text.startsWith('{"event":"ready"'));
    if (line !== undefined) return JSON.parse(line) as Readonly<Record<string, unknown>>;
    if (hasEnded) throw new Error(`expected a ready line, got the end:\n${program.output()}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
