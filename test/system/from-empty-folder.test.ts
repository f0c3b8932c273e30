/**
 * A newcomer's first minute, as a script: bundle, `init` with a join line, `run`, and the first reading is recorded; in
 * less than 60 s, with the sensors and the intervals that are the defaults, and nothing but Node.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { until } from '../support/network.ts';
import { programPath } from '../support/program.ts';
import { REPOSITORY } from '../support/services.ts';

const LIMIT_MS = 60_000;
/** What nobody should have to read. */
const UNREADABLE = /undefined|\[object|NaN|node:internal|\.(ts|mjs|js):\d|Error:|\bnull\b/;
const LONGEST_LINE = 160;

let folder: string;
const children: ChildProcess[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-first-'));
});
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** A program with what it has said so far. */
function start(args: readonly string[]) {
  const child = spawn(process.execPath, args, {
    cwd: folder,
    env: { HOME: folder, PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  }
  const ended = new Promise<number | null>((done) => child.once('close', done));
  return { child, ended, text: () => said.join('') };
}

test('from an empty folder to the first recorded reading is less than a minute, and reads well', async () => {
  const broker = start([
    programPath('broker/bin/fieldproof-broker.mjs'),
    ...['start', '--data', join(folder, 'broker'), '--http-port', '0', '--mqtt-port', '0'],
  ]);
  const ready = await until('the broker is ready', () =>
    /^\{.*"event":"ready".*\}$/m.exec(broker.text()),
  );
  const { addresses } = JSON.parse(ready[0]) as { addresses: { http: string } };
  const tokenFile = join(folder, 'broker/tokens/admin');
  const joinLine = await createJoinLine({ url: addresses.http, tokenFile }, { uses: 1, hours: 1 });

  const begun = performance.now();
  const bundle = join(folder, 'bundle');
  const made = execFileSync('npm', ['run', '--silent', 'bundle', '--', bundle], {
    cwd: REPOSITORY,
    env: { ...process.env, NODE_OPTIONS: '' },
    encoding: 'utf8',
  });
  const agent = join(bundle, 'fieldproof-agent.mjs');
  const init = start([agent, 'init', '--join', joinLine]);
  expect(await init.ended).toBe(0);
  const run = start([agent, 'run']);
  await until('the first reading is recorded', () => /first reading recorded/.test(run.text()));
  expect(performance.now() - begun).toBeLessThan(LIMIT_MS);

  const status = start([agent, 'status']);
  expect(await status.ended).toBe(0);
  run.child.kill('SIGTERM');
  expect(await run.ended).toBe(0);
  const texts = { bundle: made, init: init.text(), run: run.text(), status: status.text() };
  for (const [command, text] of Object.entries(texts)) {
    for (const line of text.split('\n')) {
      const isForPrograms = command === 'run' && line.startsWith('{"event":"ready"');
      if (isForPrograms) continue;
      expect(`${command}: ${line}`).not.toMatch(UNREADABLE);
      expect(`${command}: ${line}`.length).toBeLessThanOrEqual(LONGEST_LINE);
    }
  }
  expect(init.text()).toMatch(/^device +z6Mk\w+\nowner +did:key:/);
  expect(init.text()).toMatch(/^Next: fieldproof-agent run/m);
  expect(status.text()).toMatch(/recorded/);
});
