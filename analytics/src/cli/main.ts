#!/usr/bin/env node
/** Entry of the `fieldproof` command. */
import { runCli } from './program.ts';

// A reader that has seen enough (head) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

/** Only for commands that ask: others end at once, as Ctrl-C does by itself. */
function interrupted(): AbortSignal {
  const abort = new AbortController();
  let isSecond = false;
  const end = () => {
    // Whoever presses it twice does not want to wait.
    if (isSecond) process.exit(130);
    isSecond = true;
    abort.abort();
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
  return abort.signal;
}

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  cwd: process.cwd(),
  fetch: globalThis.fetch,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  isTty: process.stderr.isTTY === true,
  interrupted,
});
