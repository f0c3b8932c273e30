/**
 * HTTP clients that ask and never read, and those that are too many, at a broker process and at a control server: each
 * holds a bounded part of the answer and is cut off; one that waits for news is not.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startControl } from '@fieldproof/analytics/control';
import { encode } from '@fieldproof/protocol/cbor';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { until } from '../support/network.ts';
import { type BrokerProcess, startBrokerProcess } from './support/broker-process.ts';
import { Flooder, sealed } from './support/flooder.ts';
import { memoryOf } from './support/process-memory.ts';

const MAX_TAILS = 16;
const STALL_MS = 2500;
const MESSAGES = 1200;
const LIMIT_MS = 120_000;
/** 16 tails of a 60 MB log: 960 MB, if answers were not pulled. Each may hold a chunk or two. */
const ROOM_MIB = 250;

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-readers-'));
let broker: BrokerProcess;
let flooder: Flooder;
const sockets: Socket[] = [];

beforeAll(async () => {
  broker = await startBrokerProcess(folder, { MAX_TAILS, HTTP_STALL_MS: STALL_MS });
  flooder = await Flooder.open(await broker.device());
  const time = Math.floor(Date.now() / 1000) - 60;
  const note = new Map<number, number | string>([
    [0, 'air/note'],
    [3, 'x'.repeat(50_000)],
    [6, time],
  ]);
  const payload = encode([note]);
  await flooder.send('telemetry', sealed(flooder.device, { count: MESSAGES, payload }));
  await until('all is recorded', () => flooder.acknowledged === MESSAGES);
});

afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  flooder?.close();
  await broker?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Sends a GET and reads nothing of the answer. */
function ask(path: string): Socket {
  const socket = connect({ port: Number(new URL(broker.http).port), host: '127.0.0.1' });
  sockets.push(socket.pause());
  socket.on('error', () => {});
  socket.write(
    `GET ${path} HTTP/1.1\r\nhost: broker\r\nauthorization: Bearer ${broker.serviceToken()}\r\n\r\n`,
  );
  return socket;
}

/** Asks for the tail from an entry on, and waits for the head of the answer. */
async function follow(from: number): Promise<Socket> {
  const socket = ask(`/v1/tail?from=${from}`);
  await new Promise((resolve) => socket.once('data', resolve).resume());
  return socket;
}

test('one tail too many is refused, until another ends', async () => {
  const { evidence } = await broker.status();
  // These wait for news, so they stay for as long as it takes to ask for more.
  const waiting: Socket[] = [];
  for (let i = 0; i < MAX_TAILS; i++) waiting.push(await follow(evidence.entries));
  const headers = { authorization: `Bearer ${broker.serviceToken()}` };
  const tail = `${broker.http}/v1/tail?from=${evidence.entries}&live=0`;
  const refused = await fetch(tail, { headers });
  expect(refused.status).toBe(429);
  expect(await refused.json()).toMatchObject({ code: 'ERR_RATE_LIMIT' });
  for (const socket of waiting) socket.destroy();
  await until('there is room again', async () => (await fetch(tail, { headers })).status === 200);
});

test(
  'tails that are not read hold a chunk each, and all are cut off',
  async () => {
    const before = memoryOf(broker.pid);
    const stalled = (await broker.status()).http.stalled;
    for (let i = 0; i < MAX_TAILS; i++) ask('/v1/tail?from=0');
    await until('all are cut off', async () => {
      return (await broker.status()).http.stalled === stalled + MAX_TAILS;
    });
    if (before) expect(memoryOf(broker.pid)!.peak - before.peak).toBeLessThan(ROOM_MIB);

    const headers = { authorization: `Bearer ${broker.serviceToken()}` };
    const answer = await fetch(`${broker.http}/v1/tail?from=0&live=0`, { headers });
    expect((await answer.arrayBuffer()).byteLength).toBeGreaterThan(MESSAGES * 50_000);
  },
  LIMIT_MS,
);

test('a tail that waits for news is not cut off', async () => {
  const { evidence, http } = await broker.status();
  const socket = ask(`/v1/tail?from=${evidence.entries}`);
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
  });
  socket.resume();
  await until('it is connected', () => bytes > 0);
  await new Promise((resolve) => setTimeout(resolve, 1.5 * STALL_MS));
  const head = bytes;
  await flooder.send('telemetry', [flooder.device.seal()]);
  await until('the news are there', () => bytes > head);
  expect((await broker.status()).http.stalled).toBe(http.stalled);
});

test('requests without end on one connection whose answers are not read stop being taken', async () => {
  const before = memoryOf(broker.pid);
  const socket = connect({ port: Number(new URL(broker.http).port), host: '127.0.0.1' });
  sockets.push(socket.pause());
  socket.on('error', () => {});
  const request = 'GET /v1/descriptor HTTP/1.1\r\nhost: broker\r\n\r\n'.repeat(100);
  let isClosed = false;
  socket.on('close', () => {
    isClosed = true;
  });
  while (!isClosed) {
    const more = socket.write(request);
    if (more) await new Promise((resolve) => setImmediate(resolve));
    else {
      await new Promise<void>((resolve) => {
        socket.once('drain', resolve).once('close', () => resolve());
      });
    }
  }
  if (before) expect(memoryOf(broker.pid)!.peak - before.peak).toBeLessThan(ROOM_MIB);
});

test('the control process closes connections above its limit, and cuts off who does not read', async () => {
  const control = await startControl({
    ...{ dataDir: join(folder, 'control'), port: 0, maxConnections: 2, stallMs: STALL_MS },
  });
  const opened: Socket[] = [];
  const open = () => {
    const socket = connect({ port: control.port, host: '127.0.0.1' }).pause();
    opened.push(socket.on('error', () => {}));
    return new Promise<Socket>((resolve) => socket.once('connect', () => resolve(socket)));
  };
  const closed = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve));
  const token = readFileSync(control.tokenFiles.admin!, 'utf8').trim();
  const upload = `POST /v1/write HTTP/1.1\r\nhost: control\r\nauthorization: Bearer ${token}\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n`;
  try {
    // Requests whose bodies are on their way hold both places.
    const busy = [await open(), await open()];
    for (const socket of busy) {
      const asked = new Promise((resolve) => control.app.server.once('request', resolve));
      socket.write(upload);
      await asked;
    }
    await closed((await open()).resume());
    expect(busy.map(({ destroyed }) => destroyed)).toEqual([false, false]);
    for (const socket of busy) {
      socket.resume().destroy();
      await closed(socket);
    }

    // The page's documentation, again and again: the first answers fill the socket.
    const request = 'GET /v1/openapi.json HTTP/1.1\r\nhost: control\r\n\r\n'.repeat(50);
    const reader = await open();
    while (!reader.destroyed) {
      if (reader.write(request)) await new Promise((resolve) => setImmediate(resolve));
      else {
        await new Promise<void>((resolve) => {
          reader.once('drain', resolve).once('close', () => resolve());
        });
      }
    }
  } finally {
    for (const socket of opened) socket.destroy();
    await control.stop();
  }
});
