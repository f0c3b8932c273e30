/** A process of the network under test: started until it says `ready`, killed or stopped, its output kept. */
import { type ChildProcess, spawn } from 'node:child_process';
import { programArguments } from '../../support/program.ts';
import { REPOSITORY } from '../../support/repository.ts';

export interface OwnProcess {
  readonly ready: Readonly<Record<string, unknown>>;
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Resolves when it is gone, with its exit code. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

export async function startProcess(
  module: string,
  options: { readonly env?: Readonly<Record<string, string>>; readonly args?: readonly string[] },
): Promise<OwnProcess> {
  const { env = {}, args = [] } = options;
  const child = spawn(process.execPath, [...programArguments(module), ...args], {
    cwd: REPOSITORY,
    env: { ...process.env, NODE_OPTIONS: '', INFLUX_URL: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  const keep = (chunk: Buffer) => {
    output += chunk.toString();
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const gone = new Promise<number | null>((done) => child.once('close', (code) => done(code)));
  const ready = await new Promise<Readonly<Record<string, unknown>>>((resolve, reject) => {
    child.on('message', (message) => {
      if ((message as { event?: string }).event === 'ready') resolve(message as never);
    });
    void gone.then((code) => reject(new Error(`${module}: exit code ${code}\n${output}`)));
  });
  return {
    ready,
    child,
    output: () => output,
    end: (signal = 'SIGTERM') => {
      child.kill(signal);
      return gone;
    },
  };
}
