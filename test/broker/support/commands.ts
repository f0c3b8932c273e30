/**
 * Commands of `fieldproof-broker` without a process for each: a second of a core that most tests need not spend.
 * What belongs to the process itself (signals, `start`, wrong usage) is for `process.test.ts`.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { REPOSITORY } from '../../support/services.ts';

export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Commands {
  /** Runs a command when those before it are done. */
  readonly run: (...args: string[]) => Promise<Said>;
  readonly stop: () => Promise<void>;
}

export async function startCommands(
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Commands> {
  const path = join(REPOSITORY, 'test/broker/support/command-runner.mjs');
  const child = fork(path, {
    ...options,
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  await answerOf(child);
  let turn: Promise<unknown> = Promise.resolve();
  const run = (...args: string[]): Promise<Said> => {
    const said = turn.then(() => {
      const answer = answerOf(child);
      child.send(args);
      return answer as Promise<Said>;
    });
    turn = said.catch(() => undefined);
    return said;
  };
  const stop = async () => {
    const exited = child.exitCode === null ? once(child, 'exit') : undefined;
    if (child.connected) child.disconnect();
    await exited;
  };
  return { run, stop };
}

/** The next message; a rejection when the process ends before. */
function answerOf(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null) => {
      child.off('message', answered);
      reject(new Error(`commands: the process ended with ${code}`));
    };
    const answered = (message: unknown) => {
      child.off('exit', ended);
      resolve(message);
    };
    child.once('exit', ended);
    child.once('message', answered);
  });
}
