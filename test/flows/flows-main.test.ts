import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FakeLog, fakeDevice } from '../analytics/projection/evidence.ts';
import { FakeStore, TailServer, TOKEN, until } from '../analytics/projection/tail-server.ts';
import { type FlowsProcess, startFlows } from './flows-process.ts';

let folder = '';
let log: FakeLog;
let server: TailServer;
let store: FakeStore;
let args: Record<string, string> = {};
const running: FlowsProcess[] = [];

beforeEach(async () => {
  readings.length = 0;
  folder = mkdtempSync(join(tmpdir(), 'flows-'));
  // Windows of old evidence would wait until no more of it comes.
  log = new FakeLog('test', Date.now());
  server = new TailServer(log);
  store = new FakeStore();
  writeFileSync(join(folder, 'token'), `${TOKEN}\n`);
  args = {
    'broker-url': await server.start(),
    'influx-url': `${await store.start()}/field`,
    'tail-token-file': join(folder, 'token'),
  };
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.end('SIGKILL');
  await server.stop();
  await store.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function start(flows?: readonly object[]): Promise<FlowsProcess> {
  const made = await startFlows(join(folder, 'data'), args, flows);
  running.push(made);
  return made;
}

/** Unix s, a while ago, so that windows are due. */
const START = 2 * Math.floor(Date.now() / 2000) - 1200;

/** Of `fill`: what a window must hold, recomputed the plain way. */
const readings: { device: string; time: number; value: number }[] = [];

function fill(batches: number): number {
  for (let b = 0; b < batches; b++) {
    const time = START + log.size * 10;
    for (const at of [time, time + 1]) {
      readings.push({ device: fakeDevice(b % 3).id, time: at, value: b });
    }
    log.telemetry(fakeDevice(b % 3), [
      [time, b],
      [time + 1, b],
    ]);
  }
  server.push();
  return batches * 2;
}

const tab = { id: 'tab', type: 'tab', label: 'x' };
const network = { id: 'n', type: 'fieldproof-network', name: '' };
const telemetry = (wires: string[], extra: object = {}) => ({
  id: 't',
  type: 'fieldproof-telemetry',
  z: 'tab',
  network: 'n',
  x: 100,
  y: 100,
  wires: [wires],
  ...extra,
});
const storeNode = {
  id: 's',
  type: 'fieldproof-store',
  z: 'tab',
  network: 'n',
  x: 300,
  y: 100,
  wires: [],
};
/** `field` of every window that the store has, and must have in the end. */
const windows = (profile: string, field: string) =>
  new Map(
    [...store.points]
      .filter(([key]) => key.startsWith(`${profile},`) && key.includes(` temp_${field} `))
      .map(([key, value]) => [key, Number(value)]),
  );
const naive = (profile: string, field: 'count' | 'sum', sizeS: number) => {
  const sums = new Map<string, number>();
  for (const { device, time, value } of readings) {
    const start = Math.floor(time / sizeS) * sizeS;
    const key = `${profile},device=${device},source=sensor temp_${field} ${start * 1_000_000}`;
    sums.set(key, (sums.get(key) ?? 0) + (field === 'count' ? 1 : value));
  }
  return sums;
};
const same = (a: Map<string, number>, b: Map<string, number>) =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
const raw = () => [...store.points.keys()].filter((key) => key.startsWith('air,')).length;

test('the default flow stores readings and windows, and a restart repeats nothing', async () => {
  const flows = await start();
  expect(flows.output()).toMatch(/^\{"event":"ready","url":"http:\/\/127\.0\.0\.1:\d+"/m);
  const expected = fill(30);
  await until(() => raw() === expected);
  await until(() => store.lines.some((line) => line.startsWith('air_1m,')));
  await until(() => existsSync(join(folder, 'data/state/telemetry-fp-telemetry.cursor')));
  expect(await flows.end()).toBe(0);
  expect(flows.output()).not.toMatch(/"level":[56]0/);
  const lines = store.lines.filter((line) => line.startsWith('air,')).length;
  expect(lines).toBe(expected);
  const saved = readFileSync(join(folder, 'data/node-red/flows.json'), 'utf8');
  writeFileSync(
    join(folder, 'data/node-red/flows.json'),
    saved.replace('"all readings"', '"mine"'),
  );
  const again = await start();
  const more = fill(3);
  await until(() => raw() === expected + more);
  expect(store.lines.filter((line) => line.startsWith('air,'))).toHaveLength(expected + more);
  expect(readFileSync(join(folder, 'data/node-red/flows.json'), 'utf8')).toContain('"mine"');
  await again.end();
});

test('killed again and again, the store holds each reading once in the end', async () => {
  let expected = fill(20);
  for (let round = 0; round < 2; round++) {
    const flows = await start([tab, network, telemetry(['s']), storeNode]);
    await until(() => raw() > round * 40);
    await flows.end('SIGKILL');
    expected += fill(20);
  }
  await start([tab, network, telemetry(['s']), storeNode]);
  await until(() => raw() === expected);
});

test('a store that refuses the password, then is down, is said in red, and nothing is lost', async () => {
  const states = { id: 'st', type: 'status', z: 'tab', scope: ['s', 't'], wires: [['f']] };
  const func = 'node.warn(msg.status.fill + " " + msg.status.text)';
  const f = { id: 'f', type: 'function', z: 'tab', func, outputs: 0, wires: [] };
  store.respond = () => ({ status: 401, text: '{"error":"authorization failed"}' });
  const flows = await start([tab, network, telemetry(['s']), storeNode, states, f]);
  let expected = fill(20);
  await until(() => /red ERR_STORE_AUTH store: authorization failed/.test(flows.output()));
  store.respond = () => ({ status: 503, text: 'down' });
  expected += fill(20);
  // A boot whose clock was never right stays visible.
  log.telemetry(fakeDevice(9), [[-1, 1]], { bootMs: 5000 });
  server.push();
  await until(() => /red ERR_STORE_UNAVAILABLE store: down/.test(flows.output()));
  store.respond = () => undefined;
  await until(() => raw() === expected);
  await until(() => /green index \d+ · 1 without time/.test(flows.output()));
  await until(() => /green \d+ lines stored/.test(flows.output()));
});

test('a redeploy, of whatever kind, goes on at the same place', async () => {
  let expected = fill(10);
  const flows = await start([tab, network, telemetry(['s']), storeNode]);
  await until(() => raw() === expected);
  const moved = telemetry(['s'], { x: 120 });
  for (const type of ['full', 'flows', 'nodes'] as const) {
    await flows.deploy([tab, network, moved, { ...storeNode, name: type }], type);
    expected += fill(5);
    await until(() => raw() === expected);
  }
  expect(store.lines).toHaveLength(expected);
  expect(server.requests).toEqual([0]);
});

test('a function node that throws, or keeps a batch for a while, loses nothing', async () => {
  const code = `
    const n = (context.get('n') || 0) + 1;
    context.set('n', n);
    if (n === 1) throw new Error('no');
    const end = Date.now() + 300;
    while (Date.now() < end);
    return msg;`;
  const f = {
    id: 'f',
    type: 'function',
    z: 'tab',
    func: code,
    outputs: 1,
    x: 200,
    y: 100,
    wires: [['s']],
  };
  const flows = await start([tab, network, telemetry(['f']), f, storeNode]);
  let expected = fill(5);
  await until(() => flows.output().includes('"type":"function"'));
  expect(raw()).toBe(0);
  for (let i = 0; i < 3; i++) expected += fill(2);
  await until(() => raw() >= 4);
  // What was thrown away is sent again at once when a consumer's flow is deployed anew.
  await flows.end();
  const again = await start([tab, network, telemetry(['s']), storeNode]);
  await until(() => raw() === expected);
  await again.end();
});

describe('windows', () => {
  const window = (extra: object = {}) => ({
    id: 'w',
    type: 'fieldproof-window',
    z: 'tab',
    size: 60,
    grace: 1,
    horizon: 7200,
    x: 300,
    y: 200,
    wires: [['s']],
    ...extra,
  });

  test('another size gives series of that size, and none under a wrong name', async () => {
    const flows = await start([tab, network, telemetry(['s', 'w']), storeNode, window()]);
    fill(40);
    await until(() => same(windows('air_1m', 'count'), naive('air_1m', 'count', 60)));
    const minutes = readings.length;
    await flows.deploy([tab, network, telemetry(['s', 'w']), storeNode, window({ size: 10 })]);
    fill(20);
    const after = readings.splice(0, minutes);
    await until(() => same(windows('air_10s', 'sum'), naive('air_10s', 'sum', 10)));
    expect(after).toHaveLength(minutes);
    expect(windows('air_10s', 'count')).toEqual(naive('air_10s', 'count', 10));
  });

  test('a new telemetry node reads all over again, and no reading counts twice', async () => {
    const flows = await start([tab, network, telemetry(['w']), storeNode, window()]);
    fill(20);
    await until(() => same(windows('air_1m', 'sum'), naive('air_1m', 'sum', 60)));
    const other = telemetry(['w', 's'], { id: 't2' });
    await flows.deploy([tab, network, other, storeNode, window({ name: 'moved', x: 350 })]);
    await until(() => raw() === readings.length);
    fill(20);
    await until(() => raw() === readings.length);
    await until(() => same(windows('air_1m', 'sum'), naive('air_1m', 'sum', 60)));
    expect(windows('air_1m', 'count')).toEqual(naive('air_1m', 'count', 60));
  });

  test('killed again and again, they hold each reading once in the end', async () => {
    fill(20);
    for (let round = 0; round < 3; round++) {
      const flows = await start([tab, network, telemetry(['s', 'w']), storeNode, window()]);
      const seen = store.lines.length;
      await until(() => store.lines.length > seen);
      await new Promise((resolve) => setTimeout(resolve, round * 300));
      await flows.end('SIGKILL');
      fill(20);
    }
    await start([tab, network, telemetry(['s', 'w']), storeNode, window()]);
    await until(() => same(windows('air_1m', 'sum'), naive('air_1m', 'sum', 60)));
    expect(windows('air_1m', 'count')).toEqual(naive('air_1m', 'count', 60));
    expect(raw()).toBe(readings.length);
  });
});

describe('plain readings', () => {
  test('survive a function node that blocks, and a shutdown in the middle', async () => {
    const func = 'const end = Date.now() + 30; while (Date.now() < end); return msg;';
    const f = { id: 'f', type: 'function', z: 'tab', func, outputs: 1, x: 200, wires: [['s']] };
    const flow = [tab, network, telemetry(['f'], { mode: 'batch' }), f, storeNode];
    const expected = fill(40);
    const flows = await start(flow);
    await until(() => raw() > 4);
    expect(await flows.end()).toBe(0);
    expect(flows.output()).not.toMatch(/"level":[56]0/);
    await start(flow);
    await until(() => raw() === expected);
  });

  test('flow through function nodes, which may alter and drop them', async () => {
    const func = `
      if (msg.payload.time % 2000) return null;
      msg.payload.value *= 10;
      return msg;`;
    const f = {
      id: 'f',
      type: 'function',
      z: 'tab',
      func,
      outputs: 1,
      x: 200,
      y: 100,
      wires: [['s']],
    };
    await start([tab, network, telemetry(['f'], { mode: 'reading' }), f, storeNode]);
    const expected = fill(10) / 2;
    await until(() => raw() === expected);
    const path = join(folder, 'data/state/telemetry-t.cursor');
    await until(() => existsSync(path) && statSync(path).size > 0);
    expect(Math.max(...[...store.points.values()].map(Number))).toBe(90);
  });
});

describe('starting', () => {
  test('a port that is taken is one clear line', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    args.port = String(port);
    await expect(start()).rejects.toThrow(
      /^exit 1: error ERR_FLOWS_PORT_TAKEN: port \d+: [^\n]*\n$/,
    );
    await new Promise((resolve) => other.close(resolve));
  });

  test('a type that is not installed is named', async () => {
    const made = start([tab, { id: 'q', type: 'not-there', z: 'tab', wires: [] }]);
    await expect(made).rejects.toThrow(/^error ERR_FLOWS_NODE_MISSING: .*not-there/m);
  });

  test('all problems of a configuration are said at once', async () => {
    args['broker-url'] = 'ftp://user:secret@x';
    args.nonsense = '1';
    const failure = await start().catch((error: Error) => error.message);
    expect(failure).toMatch(
      /ERR_FLOWS_CONFIG: configuration: nonsense: no such setting; brokerUrl/,
    );
    expect(failure).not.toContain('secret');
  });

  test('the editor asks for a password, which is in a file that only its owner reads', async () => {
    const flows = await start();
    const statuses = [];
    for (const path of ['/flows', '/settings', '/endpoints/x', '/nodes']) {
      statuses.push((await fetch(`${flows.url}${path}`)).status);
    }
    expect(statuses).toEqual([401, 401, 401, 401]);
    const password = readFileSync(join(folder, 'data/editor-password'), 'utf8').trim();
    expect(statSync(join(folder, 'data/editor-password')).mode & 0o777).toBe(0o600);
    expect(flows.output()).not.toContain(password);
    const authorization = `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`;
    expect((await fetch(`${flows.url}/endpoints/x`, { headers: { authorization } })).status).toBe(
      404,
    );
  });

  test('it ends when its parent is gone', async () => {
    const flows = await start();
    const ended = new Promise((resolve) => flows.child.on('exit', resolve));
    flows.child.disconnect();
    expect(await ended).toBe(0);
  });
});
