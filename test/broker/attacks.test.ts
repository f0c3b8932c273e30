import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { senml, TestDevice, until } from './support/device.ts';

let broker: TestBroker;

beforeEach(async () => {
  // Rates have suites of their own.
  broker = await startTestBroker({ deviceMessagesPerSecond: 0, ownerMessagesPerSecond: 0 });
});

afterEach(async () => {
  await broker.close();
});

describe('administration without a token is refused', () => {
  test.each([
    '/admin/status',
    '/%61dmin/status',
    '/admin%2fstatus',
    'http://broker/admin/status',
    '//admin/status',
    '/admin/tokens?a=/x',
    '/ADMIN/status',
    '/admin;x/status',
  ])('at %s', async (path) => {
    expect([401, 404]).toContain(await rawStatus('GET', path));
  });

  test('also for what changes something', async () => {
    expect(await rawStatus('POST', '/%61dmin/tokens')).toBe(401);
    const { body } = await broker.admin('GET', '/admin/tokens');
    expect(body).toEqual({ tokens: [] });
  });
});

describe('an enrolled device', () => {
  test('whose every envelope is refused gets receipts, and stops nobody', async () => {
    const device = await broker.device();
    await device.connect();
    await device.publish('birth', device.seal({ kind: 'birth' }));
    const late = senml(Math.floor(Date.now() / 1000) + 86_400);
    for (let bootCounter = 2; bootCounter < 10; bootCounter += 1) {
      const sent = Array.from({ length: 260 }, (_, seq) =>
        device.publish('telemetry', device.seal({ bootCounter, seq, payload: late })),
      );
      await Promise.all(sent);
    }
    const { received, accepted, rejected } = broker.running.status().verdicts;
    expect([received, accepted, rejected]).toEqual([2081, 1, 2080]);
    device.receipts.length = 0;
    await device.publish('event', device.seal({ kind: 'event' }));
    await until(() => device.receipts.length > 0, 'a receipt');
    // The birth's boot, and those of the first 1,024 rejects; the others settle nothing until these are acknowledged.
    const { boots } = device.receipts[0]!;
    expect(boots.map(([counter]) => counter)).toEqual([1, 2, 3, 4, 5]);
    expect(broker.running.status().verdicts.unsettledRejects).toBe(2080 - 1024);
  });
});

describe('a stranger', () => {
  test('with keys of its own and no token leaves nothing behind', async () => {
    const { addresses, network } = broker.running;
    const device = new TestDevice({ http: addresses.http, mqtt: addresses.mqtt, network });
    const joinLine = await broker.joinLine();
    await broker.admin('DELETE', `/admin/tokens/${await onlyToken()}`);
    Object.assign(device, { rootKey: broker.running.rootKey });
    const nonce = await device.hello();
    for (let i = 0; i < 2; i += 1) {
      // The same answer twice: the nonce of a refused enrolment was not kept.
      const response = await device.enrolRequest(joinLine, { nonce });
      expect(await response.json()).toMatchObject({ code: 'ERR_TOKEN_INVALID' });
    }
  });

  test('cannot send an enrolment again', async () => {
    const device = await broker.device();
    const nonce = await device.hello();
    const joinLine = await broker.joinLine();
    const first = await device.enrolRequest(joinLine, { nonce });
    const again = await device.enrolRequest(joinLine, { nonce });
    expect([first.status, again.status]).toEqual([200, 401]);
  });
});

test('connections without a TLS handshake count against the limit', async () => {
  const small = await startTestBroker({ lan: true, lanHost: '127.0.0.1', maxConnections: 2 });
  const sockets: Socket[] = [];
  try {
    const port = Number(new URL(small.running.addresses.mqtts!).port);
    let closed = 0;
    for (let i = 0; i < 4; i += 1) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {}).on('close', () => closed++);
      sockets.push(socket);
    }
    await until(() => closed === 2, 'two refused');
    expect(small.running.status().mqtt.refused).toEqual({ 'not logged in': 2 });
  } finally {
    for (const socket of sockets) socket.destroy();
    await small.close();
  }
});

async function onlyToken(): Promise<string> {
  const { body } = await broker.admin('GET', '/admin/tokens');
  return (body as { tokens: { hash: string }[] }).tokens[0]!.hash;
}

/** A request target sent as it is: fetch would normalise it. */
function rawStatus(method: string, path: string): Promise<number> {
  const { hostname, port } = new URL(broker.running.addresses.http);
  return new Promise((resolve, reject) => {
    const call = request({ hostname, port, method, path }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    call.on('error', reject);
    call.end();
  });
}
