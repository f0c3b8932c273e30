#!/usr/bin/env node
// Runs the command line from source through tsx.
import { register } from 'tsx/esm/api';

register();
const { runCli } = await import('../src/cli.ts');

function untilStopped() {
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

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  untilStopped,
  send: process.send?.bind(process),
});
// An IPC channel would keep a finished process alive.
process.disconnect?.();
