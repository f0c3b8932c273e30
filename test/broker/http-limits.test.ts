/** Clients that hold all HTTP places of a broker, at the plain listener and at the one with TLS. */

import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';

const PLACES = 8;

let broker: TestBroker;
const silent: Socket[] = [];
beforeAll(async () => {
  broker = await startTestBroker({ lan: true, maxHttpConnections: PLACES });
});
afterAll(async () => {
  for (const socket of silent) socket.destroy();
  await broker.close();
});

/** Opens connections that say nothing. */
async function occupy(port: number, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const socket = connect({ port, host: '127.0.0.1' });
    silent.push(socket.on('error', () => {}));
    await new Promise((resolve) => socket.once('connect', resolve));
  }
}

/** A GET over TLS on a connection of its own, with its head. */
function getSecurely(path: string): Promise<IncomingMessage> {
  const { port } = new URL(broker.running.addresses.https!);
  const token = readFileSync(join(broker.dataDir, 'tokens/service'), 'utf8').trim();
  const options = {
    ...{ host: '127.0.0.1', port, path, servername: 'localhost', agent: false },
    ca: readFileSync(join(broker.dataDir, 'keys/ca.pem'), 'utf8'),
    headers: { authorization: `Bearer ${token}` },
  };
  return new Promise((resolve, reject) => {
    request(options, resolve).on('error', reject).end();
  });
}

test('a hello is answered although all places are held by connections that say nothing', async () => {
  const { http } = broker.running.addresses;
  await occupy(Number(new URL(http).port), 3 * PLACES);
  const nonce = 'AAAAAAAAAAAAAAAAAAAAAA';
  expect((await fetch(`${http}/v1/hello?nonce=${nonce}`)).status).toBe(200);
  expect(broker.running.status().http.dropped).toBeGreaterThanOrEqual(2 * PLACES);
});

test('over TLS too, and a tail that is being read stays', async () => {
  const tail = await getSecurely('/v1/tail?from=0');
  let isOver = false;
  tail
    .on('error', () => {})
    .once('close', () => {
      isOver = true;
    });
  const { port } = new URL(broker.running.addresses.https!);
  await occupy(Number(port), 3 * PLACES);
  const answer = await getSecurely('/v1/hello?nonce=AAAAAAAAAAAAAAAAAAAAAA');
  expect(answer.statusCode).toBe(200);
  answer.resume();
  let bytes = 0;
  tail.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  const device = await broker.device();
  expect(device.id).not.toBe('');
  while (bytes === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(isOver).toBe(false);
  tail.destroy();
});

test('places are free again when those who held them are gone', async () => {
  for (const socket of silent.splice(0)) socket.destroy();
  const { dropped } = broker.running.status().http;
  for (let i = 0; i < 2 * PLACES; i++) {
    const answer = await getSecurely('/healthz');
    expect(answer.statusCode).toBe(200);
    await new Promise((resolve) => answer.resume().once('close', resolve));
  }
  expect(broker.running.status().http.dropped).toBe(dropped);
});
