#!/usr/bin/env node
import { tellParent } from '@fieldproof/protocol/parent-node';
/** Entry of the `fieldproof-agent` command. */
import { asker } from './ask.ts';
import { askPhrase } from './ask-phrase.ts';
import { runCli } from './cli.ts';
import { doWithoutOptimisers } from './small-memory.ts';

function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const stop = () => {
      // A second signal does not wait.
      if (asked) process.exit(130);
      asked = true;
      resolve();
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
}

doWithoutOptimisers();

// A reader that has seen enough (`fieldproof-agent --help | head -1`) is no mistake.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  untilStopped,
  askPhrase: (question) => askPhrase(process.stdin, (text) => process.stderr.write(text), question),
  ask: asker(process.stdin, process.stdout),
  send: tellParent,
});
// An IPC channel would keep a finished process alive.
process.disconnect?.();
