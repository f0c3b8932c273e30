/**
 * A device set from afar through everything that is real: `fieldproof config set`, the control process, a broker, an
 * agent, and back through the evidence log to `config show`.
 */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@fieldproof/analytics/cli/program';
import { type RunningControl, startControl } from '@fieldproof/analytics/control';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { initAgent } from '@fieldproof/device-agent/init';
import { fromBase64url, toHex } from '@fieldproof/protocol/bytes';
import { digestOfState } from '@fieldproof/protocol/desired-state';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../broker/support/broker.ts';
import { until } from '../support/network.ts';

const random = (length: number) => new Uint8Array(randomBytes(length));

let folder: string;
let broker: TestBroker;
let control: RunningControl;
let agent: Agent | undefined;
let device: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-config-'));
  // The same ports again after a restart: agent and control process know the broker by them.
  const [httpPort, mqttPort] = [await freePort(), await freePort()];
  broker = await startTestBroker({ httpPort, mqttPort });
  await startOwnControl();
  const { deviceId } = await initAgent({
    ...{
      dataDir: join(folder, 'agent'),
      joinLine: await broker.joinLine(),
      name: 'balcony',
      random,
    },
    owner: { type: 'new' },
  });
  device = deviceId;
});

afterAll(async () => {
  await agent?.stop();
  await control.stop();
  await broker.close();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  agent = await startAgent();
});
afterEach(async () => {
  await agent?.stop();
  agent = undefined;
});

async function startOwnControl(): Promise<void> {
  control = await startControl({
    ...{ dataDir: join(folder, 'control'), port: 0 },
    brokerUrl: broker.running.addresses.http,
    brokerTokenFile: join(broker.dataDir, 'tokens/admin'),
    keysDir: join(broker.dataDir, 'keys'),
  });
}

async function startAgent(): Promise<Agent> {
  const made = new Agent({
    ...{ dataDir: join(folder, 'agent'), random },
    config: await checkConfig({
      name: 'balcony',
      sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 200 }],
      ...{ batch: { sealEveryMs: 200 }, outbox: { fsyncEveryMs: 10 } },
      link: { backoffMinMs: 10, backoffMaxMs: 1000 },
      remote: { minIntervalMs: 100 },
    }),
  });
  await made.start();
  return made;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const online = () => until('a session', () => agent!.status().link.state === 'online');

async function cli(...argv: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCli(argv, {
    env: { FIELDPROOF_URL: control.url, FIELDPROOF_TOKEN_FILE: control.tokenFiles.admin },
    ...{ cwd: folder, fetch },
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
  });
  return { code, out: out.join(''), err: err.join('') };
}

test('what is set is applied, shown, and provable from history and evidence', async () => {
  await online();
  const set = await cli('config', 'set', 'balcony', '--interval', 'room=300ms', '--wait');
  expect(set).toMatchObject({ code: 0 });
  expect(set.out).toMatch(
    /^balcony \(z6Mk\w+\): version 1 until \S+Z: applied at \S+Z, entry \d+ of/,
  );
  expect(agent!.status().remote?.inForce).toMatchObject({ version: 1 });
  const show = await cli('config', 'show', 'balcony');
  expect(show.out).toMatch(/in force +version 1\ninterval room +300 ms\n$/);
  const history = JSON.parse((await cli('config', 'history', device, '--json')).out);
  const [state] = history.states;
  expect(state).toMatchObject({ version: 1, by: 'admin', standing: 'applied' });
  expect(toHex(digestOfState(fromBase64url(state.payload)))).toBe(state.digest);
  expect(agent!.status().remote?.inForce?.digest).toBe(state.digest);
});

test('what the device refuses is told with its reasons, and the state before stays in force', async () => {
  await online();
  const set = await cli('config', 'set', 'balcony', '--streams', 'attic', '--wait', '--json');
  expect(set.code).toBe(1);
  expect(set.err).toMatch(
    /ERR_CONFIG_REFUSED: balcony .*wanted\[0\]: expected a profile of this device: room, got "attic"/,
  );
  expect(JSON.parse(set.out).wanted.standing).toBe('refused');
  const history = JSON.parse((await cli('config', 'history', 'balcony', '--json')).out);
  expect(history.states.map((each: { standing: string }) => each.standing)).toEqual([
    ...['refused', 'applied'],
  ]);
  const show = await cli('config', 'show', 'balcony');
  expect(show.out).toMatch(
    /standing +refused .*\n.*in force +version 1\nreason +ERR_CONFIG_INVALID\nreason +wanted\[0\]/,
  );
});

test('what is set while device and control process are away arrives when they are back', async () => {
  await agent!.stop();
  writeFileSync(join(folder, 'state.yaml'), 'intervals: { room: 400ms }\nexpires: 2d\n');
  const set = await cli('config', 'set', 'balcony', '--file', 'state.yaml');
  expect(set.out).toContain('not connected');
  const wait = await cli(
    'config',
    'set',
    'balcony',
    '--interval',
    'room=500ms',
    '--wait',
    '--wait-limit',
    '1s',
  );
  expect(wait).toMatchObject({ code: 1, err: expect.stringContaining('ERR_CONFIG_UNANSWERED') });
  await control.stop();
  await startOwnControl();
  agent = await startAgent();
  await until('it is applied', async () => {
    const { wanted } = JSON.parse((await cli('config', 'show', 'balcony', '--json')).out);
    return wanted.standing === 'applied' && wanted.version === 4;
  });
  expect(agent.status().remote?.inForce?.version).toBe(4);
  const table = await cli('config', 'history', 'balcony');
  expect(table.out.split('\n').map((line) => line.trim().split(/\s+/)[0])).toEqual([
    ...['VERSION', '4', '3', '2', '1', ''],
  ]);
  expect(table.out).toMatch(/^ +3 .* replaced .*interval room 400 ms$/m);
});

test('a broker that is started again changes nothing of it', async () => {
  await online();
  await broker.running.stop();
  const set = await cli('config', 'set', 'balcony', '--interval', 'room=600ms');
  expect(set).toMatchObject({
    code: 0,
    out: expect.stringContaining('not sent: broker: no answer'),
  });
  await broker.restart();
  await until('it is applied', async () => {
    const { wanted } = JSON.parse((await cli('config', 'show', 'balcony', '--json')).out);
    return wanted.standing === 'applied' && wanted.version === 5;
  });
});

test('only a token of scope config sets, one of scope read shows', async () => {
  await cli('token', 'create', 'ops', '--scope', 'read', '--json');
  const call = async (token: string, method: string, body?: object) => {
    const response = await fetch(`${control.url}/v1/devices/${device}/config`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const make = async (name: string, scope: string) =>
    (await cli('token', 'create', name, '--scope', scope)).out.trim();
  const [reader, setter] = [await make('reader', 'read'), await make('setter', 'config')];
  expect((await call(reader, 'GET')).status).toBe(200);
  expect(await call(reader, 'PUT', {})).toMatchObject({
    ...{ status: 403, body: { code: 'ERR_TOKEN_SCOPE' } },
  });
  expect((await call(setter, 'GET')).status).toBe(403);
  const invalid = await call(setter, 'PUT', {
    intervals: { room: 1 },
    exec: ['sh'],
    edge: { 'room/t': 'widow' },
  });
  expect(invalid).toMatchObject({ status: 400, body: { code: 'ERR_CONFIG_INVALID' } });
  for (const part of ['intervals.room', '"exec"', 'edge.room/t']) {
    expect(invalid.body.detail).toContain(part);
  }
  const set = await call(setter, 'PUT', {});
  expect(set).toMatchObject({ status: 200, body: { wanted: { by: 'setter', wishes: {} } } });
  expect(await call(setter, 'DELETE')).toMatchObject({ status: 405 });
  const text = readFileSync(join(folder, 'control/device-config/history.jsonl'), 'utf8');
  expect(text).not.toContain(setter);
});

test('another control key: what the one before has signed ends, and is there again under the new one', async () => {
  await online();
  const rotate = async () => {
    const answer = await broker.admin('POST', '/admin/keys/control/rotate', {});
    expect(answer).toMatchObject({ status: 200, body: { installed: true } });
  };
  const inForce = () => agent!.status().remote?.inForce;
  // The control process has the key of before in its hands, and the device its descriptor.
  await rotate();
  const set = await cli('config', 'set', 'balcony', '--interval', 'room=700ms', '--wait');
  expect(set).toMatchObject({ code: 0 });
  await until('it has proved itself', () => inForce()?.trial === false);
  const { digest, version } = inForce()!;
  await agent!.stop();
  await rotate();
  agent = await startAgent();
  await until('it is in force again', () => inForce()?.digest === digest);
  await until('which the control process knows', async () => {
    const { states } = JSON.parse((await cli('config', 'history', 'balcony', '--json')).out);
    const outcomes = states[0].reports.map(({ outcome }: { outcome: string }) => outcome);
    return states[0].version === version && /applied.*expired.*applied/.test(outcomes.join());
  });
});
