/** A parent that dies just when its child is ready. */

import { spawn } from 'node:child_process';
import { describe, expect, test } from '@jest/globals';
import { sourceArguments } from '../support/program.ts';

const TELL = `
  const { tellParent } = await import('@fieldproof/protocol/parent-node');
  const gone = new Promise((done) => process.once('disconnect', done));
  tellParent({ event: 'first' });
  await gone;
  tellParent({ event: 'second' });
  setTimeout(() => process.stdout.write('lives\\n', () => process.exit(0)), 50);
`;

describe('telling the parent', () => {
  test('reaches it, and is no error once it is gone', async () => {
    const [loader] = [sourceArguments('x.ts').slice(0, 2)];
    const child = spawn(process.execPath, [...loader, '--input-type=module', '-e', TELL], {
      cwd: process.cwd(),
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    let output = '';
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
    }
    const told: unknown[] = [];
    child.on('message', (message) => {
      told.push(message);
      child.disconnect();
    });
    const code = await new Promise((done) => child.once('exit', done));
    expect({ code, output, told }).toEqual({
      code: 0,
      output: 'lives\n',
      told: [{ event: 'first' }],
    });
  });

  test('without a parent it says nothing', async () => {
    const { tellParent } = await import('@fieldproof/protocol/parent-node');
    expect(() => tellParent({ event: 'ready' })).not.toThrow();
  });
});
