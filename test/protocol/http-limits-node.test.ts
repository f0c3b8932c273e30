import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import {
  type HttpCounts,
  type HttpLimits,
  httpServerOptions,
  limitHttp,
} from '@fieldproof/protocol/http-limits-node';
import { afterEach, describe, expect, test } from '@jest/globals';

const ROOMY: HttpLimits = {
  ...{ maxConnections: 1000, maxConnectionsPerAddress: 1000 },
  ...{ headersMs: 60_000, stallMs: 60_000 },
};

let server: Server | undefined;
let counts: HttpCounts;
let reports: HttpCounts[];
let nowMs: number;
/** Requests for `/wait`, which are answered when the test does. */
let waiting: ServerResponse[];
let clients: Socket[] = [];

afterEach(async () => {
  for (const client of clients) client.destroy();
  clients = [];
  server?.closeAllConnections();
  await new Promise((resolve) => server?.close(resolve));
});

/** @param names - which remote address the server sees where a client came from 127.0.0.x. */
async function serve(
  limits: Partial<HttpLimits>,
  {
    names = {},
    reportEveryMs = 60_000,
  }: { names?: Record<string, string>; reportEveryMs?: number } = {},
): Promise<void> {
  const all = { ...ROOMY, ...limits };
  counts = { dropped: 0, stalled: 0 };
  reports = [];
  waiting = [];
  nowMs = 0;
  server = createServer(httpServerOptions(all), (request, response) => {
    if (request.url === '/wait') waiting.push(response);
    else response.end('here you are');
  });
  server.prependListener('connection', (socket: Socket) => {
    const value = names[socket.remoteAddress ?? ''];
    if (value !== undefined) Object.defineProperty(socket, 'remoteAddress', { value });
  });
  const report = (cut: HttpCounts) => reports.push({ ...cut });
  limitHttp(server, all, { counts, reportEveryMs, report, monotonicMs: () => nowMs });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
}

interface Client {
  readonly isOpen: () => boolean;
  readonly ended: Promise<void>;
  /** Asks, and resolves with what comes first. */
  readonly ask: (path?: string) => Promise<string>;
}

/** Connects, and waits until the server knows. */
async function open(localAddress = '127.0.0.1'): Promise<Client> {
  const { port } = server!.address() as AddressInfo;
  const known = new Promise((resolve) => server!.once('connection', resolve));
  const socket = connect({ port, host: '127.0.0.1', localAddress });
  clients.push(socket.on('error', () => {}));
  socket.resume();
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await known;
  return {
    isOpen: () => !socket.destroyed && !socket.readableEnded,
    ended,
    ask: (path = '/') =>
      new Promise((resolve) => {
        socket.once('data', (chunk) => resolve(chunk.toString()));
        socket.once('close', () => resolve('closed'));
        socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
      }),
  };
}

async function openBusy(localAddress?: string): Promise<Client> {
  const client = await open(localAddress);
  const before = waiting.length;
  void client.ask('/wait');
  while (waiting.length === before) await new Promise((resolve) => setImmediate(resolve));
  return client;
}

describe('a server whose places are all taken', () => {
  test('closes the oldest connection that has sent no request, and serves the new one', async () => {
    await serve({ maxConnections: 3 });
    const busy = await openBusy();
    const silent = [await open(), await open()];
    const late = await open();
    await silent[0]!.ended;
    expect(await late.ask()).toContain('here you are');
    expect([busy.isOpen(), silent[1]!.isOpen()]).toEqual([true, true]);
    expect(counts).toEqual({ dropped: 1, stalled: 0 });
  });

  test('closes one that waits between two requests when none is silent', async () => {
    await serve({ maxConnections: 2 });
    const idle = await open();
    expect(await idle.ask()).toContain('200 OK');
    await openBusy();
    expect(await (await open()).ask()).toContain('200 OK');
    await idle.ended;
  });

  test('closes those between two requests before new ones, so that these do not cut each other off', async () => {
    await serve({ maxConnections: 3 });
    const idle = [await open(), await open(), await open()];
    for (const client of idle) expect(await client.ask()).toContain('200 OK');
    const late = [await open(), await open(), await open()];
    for (const client of late) expect(await client.ask()).toContain('200 OK');
    await Promise.all(idle.map((client) => client.ended));
  });

  test('closes one that has sent no request for a second before those between two requests', async () => {
    await serve({ maxConnections: 2 });
    const idle = await open();
    expect(await idle.ask()).toContain('200 OK');
    const silent = await open();
    nowMs = 1000;
    expect(await (await open()).ask()).toContain('200 OK');
    await silent.ended;
    expect(idle.isOpen()).toBe(true);
  });

  test('closes the new one when all have requests under way, and has room again when one ends', async () => {
    await serve({ maxConnections: 2 });
    const busy = [await openBusy(), await openBusy()];
    await (await open()).ended;
    expect(busy.map((client) => client.isOpen())).toEqual([true, true]);
    waiting[0]!.end('at last');
    await new Promise((resolve) => waiting[0]!.once('close', resolve));
    expect(await (await open()).ask()).toContain('200 OK');
  });

  test('serves everybody in turn while somebody opens connections without end', async () => {
    await serve({ maxConnections: 10 });
    for (let i = 0; i < 100; i++) {
      await open();
      if (i % 10 === 9) expect(await (await open()).ask()).toContain('200 OK');
    }
  });

  test('has room again when connections have ended', async () => {
    await serve({ maxConnections: 5 });
    for (let i = 0; i < 5; i++) await openBusy();
    for (const client of clients) client.destroy();
    for (const response of waiting.splice(0)) {
      if (!response.closed) await new Promise((resolve) => response.once('close', resolve));
    }
    for (let i = 0; i < 5; i++) await openBusy();
    expect(counts.dropped).toBe(0);
  });
});

describe('one address', () => {
  test.each([
    ['an IPv4 address', '192.0.2.1', '192.0.2.1', '192.0.2.2'],
    ['the same, mapped', '::ffff:192.0.2.1', '192.0.2.1', '::ffff:192.0.2.2'],
    ['an IPv6 network', '2001:db8:0:1::1', '2001:db8:0:1:ffff::2', '2001:db8:0:2::1'],
    ['one with few groups', '2001:db8::5', '2001:db8:0:0:9::', '2001:db8:1::5'],
    ['a link-local one', 'fe80::1%eth0', 'fe80::2%eth0', '2001:db8::1'],
  ])('has its share and no more: %s', async (_what, first, second, other) => {
    const names = { '127.0.0.2': first, '127.0.0.3': second, '127.0.0.4': other };
    await serve({ maxConnections: 10, maxConnectionsPerAddress: 2 }, { names });
    const held = [await openBusy('127.0.0.2'), await openBusy('127.0.0.3')];
    await (await open('127.0.0.2')).ended;
    await (await open('127.0.0.3')).ended;
    expect(await (await open('127.0.0.4')).ask()).toContain('200 OK');
    expect(held.map((client) => client.isOpen())).toEqual([true, true]);
  });

  test('makes room for itself with what it has open and does not use', async () => {
    const names = { '127.0.0.2': '192.0.2.1', '127.0.0.3': '192.0.2.2' };
    await serve({ maxConnectionsPerAddress: 2 }, { names });
    const other = await open('127.0.0.3');
    const silent = await open('127.0.0.2');
    await openBusy('127.0.0.2');
    expect(await (await open('127.0.0.2')).ask()).toContain('200 OK');
    await silent.ended;
    expect(other.isOpen()).toBe(true);
  });

  test('may have all places when it is loopback, where a reverse proxy is', async () => {
    await serve({ maxConnections: 4, maxConnectionsPerAddress: 1 });
    const held = [
      await openBusy(),
      await openBusy('127.0.0.9'),
      await openBusy(),
      await openBusy(),
    ];
    expect(held.every((client) => client.isOpen())).toBe(true);
    expect(counts.dropped).toBe(0);
  });
});

describe('time', () => {
  test.each([
    ['that says nothing', ''],
    ['that sends a request head for ever', 'GET / HTTP/1.1\r\nhost: x\r\n'],
  ])('a connection %s is closed', async (_what, bytes) => {
    await serve({ headersMs: 100 });
    const client = await open();
    clients[0]!.write(bytes);
    await client.ended;
  });
});

test('cuts are reported at once and then together, not one by one', async () => {
  await serve({ maxConnections: 1 }, { reportEveryMs: 50 });
  await openBusy();
  for (let i = 0; i < 20; i++) await (await open()).ended;
  const total = () => reports.reduce((sum, { dropped }) => sum + dropped, 0);
  while (total() < 20) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(reports[0]).toEqual({ dropped: 1, stalled: 0 });
  expect(reports.length).toBeLessThan(20);
});
