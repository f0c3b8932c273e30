/** `npm run bundle`: what lies on a device, run by Node alone in a folder without packages. */

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SENSOR_DRIVERS } from '@fieldproof/device-agent/sensors/drivers';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { FakeNetwork } from '../device-agent/fake-network.ts';
import { until } from '../support/network.ts';
import { REPOSITORY } from '../support/services.ts';

/** What an SD card, a slow line and a person can bear. */
const MAX_CORE_BYTES = 600_000;

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-bundle-'));
const bundle = join(folder, 'bundle');
const core = join(bundle, 'fieldproof-agent.mjs');
const network = new FakeNetwork();
const children: ChildProcess[] = [];

beforeAll(async () => {
  makeBundle(bundle);
  await network.start();
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await network.stop();
  rmSync(folder, { recursive: true, force: true });
});

function makeBundle(out: string): void {
  execFileSync('npm', ['run', '--silent', 'bundle', '--', out], {
    cwd: REPOSITORY,
    env: { ...process.env, NODE_OPTIONS: '' },
  });
}

/** Runs the bundle to its end, with nothing of this machine but Node. */
async function run(program: string, ...args: string[]) {
  const child = start(program, ...args);
  let out = '';
  let err = '';
  child.stdout!.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr!.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, out, err };
}

function start(program: string, ...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: { HOME: folder, PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  return child;
}

function filesBelow(root: string): readonly string[] {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

describe('the bundle of the agent', () => {
  test('is one file, one for each driver, and the licences of what is in them', () => {
    const drivers = Object.keys(SENSOR_DRIVERS).map((name) => `sensors/${name}.mjs`);
    const files = ['LICENSES.txt', 'agent.example.yaml', 'fieldproof-agent.mjs', ...drivers];
    files.push('gateway.mjs', 'edge.mjs');
    const shared = /^sensors\/shared-[0-9A-Z]{8}\.mjs$/;
    expect(filesBelow(bundle).filter((file) => !shared.test(file))).toEqual(files.sort());
    const licences = readFileSync(join(bundle, 'LICENSES.txt'), 'utf8');
    for (const name of ['mqtt', 'commander', 'yaml', '@scure/bip39']) {
      expect(licences).toMatch(new RegExp(`^${name} \\d+\\.\\d+`, 'm'));
    }
    expect(readFileSync(core).length).toBeLessThanOrEqual(MAX_CORE_BYTES);
  });

  test('has nothing of this machine, and comes out the same each time, over an older one too', () => {
    const again = join(folder, 'again');
    cpSync(bundle, again, { recursive: true });
    writeFileSync(join(again, 'sensors/gone.mjs'), '');
    makeBundle(again);
    expect(filesBelow(again)).toEqual(filesBelow(bundle));
    for (const file of filesBelow(bundle)) {
      const text = readFileSync(join(bundle, file), 'utf8');
      expect(text === readFileSync(join(again, file), 'utf8')).toBe(true);
      // One character of another script, and V8 keeps the whole source in two bytes a character.
      const isSource = file.endsWith('.mjs');
      expect(isSource && /\P{ASCII}/u.test(text) ? file : '').toBe('');
      expect(text.includes(REPOSITORY) || text.includes('sourceMappingURL')).toBe(false);
    }
  });

  test('joins a network and has readings recorded, without packages and as a reader that may not write it', async () => {
    chmodSync(core, 0o444);
    const data = join(folder, 'data');
    const made = await run(core, 'init', '--join', network.joinLine(), '--data', data);
    expect(made).toMatchObject({ code: 0, err: '' });
    const yaml = 'sensors: [{ driver: simulated, profile: room, intervalMs: 100 }]\n';
    const edge = 'edge: { temperature: deadband 0 }\n';
    writeFileSync(join(data, 'agent.yaml'), `${yaml}${edge}batch: { sealEveryMs: 100 }\n`);
    const agent = start(core, 'run', '--data', data);
    await until('a reading is recorded', async () => {
      const { out, code } = await run(core, 'status', '--data', data, '--json');
      const { firstRecordedMs } = JSON.parse(out) as { firstRecordedMs?: number | null };
      return code === 0 && typeof firstRecordedMs === 'number';
    });
    const ended = new Promise((done) => agent.once('close', done));
    agent.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(network.received.some(({ kind }) => kind === 'result')).toBe(true);
  });

  test('edge functions whose file was left behind are named, with the remedy', async () => {
    const part = join(folder, 'part');
    cpSync(bundle, part, { recursive: true });
    rmSync(join(part, 'edge.mjs'));
    const { code, err } = await run(
      join(part, 'fieldproof-agent.mjs'),
      ...['run', '--data', join(folder, 'data')],
    );
    expect(code).toBe(66);
    expect(err).toMatch(/^fieldproof-agent: ERR_AGENT_BUNDLE: edge functions: .*edge[^\n]+\n$/);
  });

  test('a driver whose file was left behind is named, with the remedy', async () => {
    const alone = join(folder, 'alone');
    cpSync(core, join(alone, 'fieldproof-agent.mjs'));
    const { code, err } = await run(
      join(alone, 'fieldproof-agent.mjs'),
      ...['run', '--data', join(folder, 'data')],
    );
    expect(code).toBe(66);
    expect(err).toMatch(
      /^fieldproof-agent: ERR_AGENT_BUNDLE: driver simulated: .*sensors[^\n]+\n$/,
    );
  });

  test('a reader that closes early makes no stack trace', async () => {
    const line = `"${process.execPath}" "${core}" --help | true`;
    const { stdout, stderr } = spawnSync('sh', ['-c', line], { encoding: 'utf8' });
    expect({ stdout, stderr }).toEqual({ stdout: '', stderr: '' });
  });
});
