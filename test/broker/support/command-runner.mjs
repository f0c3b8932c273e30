/** Runs commands of `fieldproof-broker`, one after the other, in one process: `commands.ts` is its other end. */
import { register } from 'tsx/esm/api';

register();
const { runCommand } = await import('../../../broker/src/cli/program.ts');

let said = { stdout: '', stderr: '' };
for (const name of ['stdout', 'stderr']) {
  process[name].write = (text) => {
    said[name] += text;
    return true;
  };
}

async function run(args) {
  said = { stdout: '', stderr: '' };
  process.exitCode = undefined;
  await runCommand(args);
  process.send({ ...said, code: process.exitCode ?? 0 });
}

process.on('message', (args) => void run(args));
process.on('disconnect', () => process.exit());
process.send('ready');
