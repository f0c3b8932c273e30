/** The built package in a Node-RED that knows nothing of this repository: no tsx, its own user folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, expect, test } from '@jest/globals';
import { bundleFlows } from '../../tools/bundle.ts';
import { type Manifest, publishedManifest } from '../../tools/manifest.ts';
import { FakeLog, fakeDevice } from '../analytics/projection/evidence.ts';
import { FakeStore, TailServer, TOKEN, until } from '../analytics/projection/tail-server.ts';

const FLOWS = resolve(import.meta.dirname, '../../flows');
const folder = mkdtempSync(join(tmpdir(), 'plain-node-red-'));
let child: ChildProcess | undefined;
const log = new FakeLog();
const tail = new TailServer(log);
const store = new FakeStore();

afterEach(async () => {
  child?.kill('SIGKILL');
  await tail.stop();
  await store.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('the built nodes register, show in the editor, and store readings and windows', async () => {
  const manifest = JSON.parse(readFileSync(join(FLOWS, 'package.json'), 'utf8')) as Manifest;
  const shared = { license: 'x', engines: {}, versions: {} };
  const published = JSON.stringify(publishedManifest(manifest, shared));
  const installed = join(folder, 'node_modules/@fieldproof/flows');
  mkdirSync(join(installed, 'dist'), { recursive: true });
  writeFileSync(join(installed, 'package.json'), published);
  await bundleFlows(join(installed, 'dist'), ['bcryptjs', 'express', 'node-red']);
  const from = Math.floor(Date.now() / 1000) - 600;
  for (let i = 0; i < 10; i++) log.telemetry(fakeDevice(i % 2), [[from + i, i]]);
  writeFileSync(join(folder, 'token'), TOKEN);
  const [brokerUrl, storeUrl, port] = [await tail.start(), await store.start(), await freePort()];
  const tailTokenFile = join(folder, 'token');
  writeFileSync(
    join(folder, 'flows.json'),
    JSON.stringify([
      { id: 'tab', type: 'tab', label: 'x' },
      { id: 'n', type: 'fieldproof-network', brokerUrl, tailTokenFile, influxUrl: `${storeUrl}/x` },
      { id: 't', type: 'fieldproof-telemetry', z: 'tab', network: 'n', wires: [['s', 'w']] },
      { id: 'w', type: 'fieldproof-window', z: 'tab', size: 60, grace: 1, wires: [['s']] },
      { id: 's', type: 'fieldproof-store', z: 'tab', network: 'n', wires: [] },
    ]),
  );
  // Loads nothing but what is in the user folder, as where only Node-RED is installed.
  const settings = `module.exports = { flowFile: 'flows.json', credentialSecret: 'x', uiHost: '127.0.0.1' };`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'settings.js'), settings);
  const red = createRequire(import.meta.url).resolve('node-red/red.js');
  child = spawn(process.execPath, [red, '-u', folder, '-p', String(port)], {
    cwd: folder,
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  await until(() => /Started flows|missing|rror/.test(output));
  expect(output).toContain('Started flows');
  const nodes = async (accept: string) =>
    (await fetch(`http://127.0.0.1:${port}/nodes`, { headers: { accept } })).text();
  for (const type of ['network', 'telemetry', 'window', 'store']) {
    expect(await nodes('application/json')).toContain(`"types":["fieldproof-${type}"]`);
    expect(await nodes('text/html')).toContain(`data-template-name="fieldproof-${type}"`);
  }
  await until(() => store.lines.filter((line) => line.startsWith('air,')).length === 10);
  await until(() => store.lines.some((line) => line.startsWith('air_1m,')));
});

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(port));
    });
  });
}
