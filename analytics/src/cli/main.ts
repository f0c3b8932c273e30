/** Entry of the `fieldproof` command. */
import { runCli } from './program.ts';

// A reader that has seen enough (head) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  cwd: process.cwd(),
  fetch: globalThis.fetch,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
});
