/** The door of a running broker, over TCP and TLS, with strangers from several addresses of this machine. */

import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { TestDevice, until } from './support/device.ts';

const PLACES = 6;

let broker: TestBroker;
let sockets: Socket[] = [];

beforeAll(async () => {
  broker = await startTestBroker({
    ...{ lan: true, lanHost: '127.0.0.1', trustedAddresses: ['127.0.0.9'] },
    ...{ maxPending: 3 * PLACES, maxPendingPerAddress: PLACES, maxHandshakes: PLACES },
    ...{ failedLoginsPerMinute: 2 },
  });
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets = [];
  await until(() => door().connections === 0, 'all connections are gone');
});
afterAll(async () => {
  await broker.close();
});

const door = () => broker.running.status().mqtt;
const refused = (why: string) => door().refused[why] ?? 0;

/** A connection of a stranger, known to the broker, that says nothing. */
async function come(url: string, localAddress: string): Promise<Socket> {
  const { port } = new URL(url);
  const socket = connect({ host: '127.0.0.1', port: Number(port), localAddress });
  sockets.push(socket.on('error', () => {}));
  socket.resume();
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

test('a device gets in while strangers of its own and of other addresses hold all places', async () => {
  const device = await broker.device();
  const { mqtt } = broker.running.addresses;
  for (let i = 0; i < 4 * PLACES; i++) await come(mqtt, `127.0.0.${2 + (i % 3)}`);
  await device.connect();
  await device.publish('telemetry', device.seal());
  expect(door().connections).toBeLessThanOrEqual(3 * PLACES + 1);
  expect(refused('not logged in, of one address')).toBeGreaterThan(0);
  expect(device.client!.connected).toBe(true);
  await device.close();
});

test('over TLS too: handshakes that never end make room', async () => {
  const { mqtts } = broker.running.addresses;
  const device = await broker.device();
  for (let i = 0; i < 2 * PLACES; i++) await come(mqtts!, '127.0.0.2');
  const overTls = Object.assign(Object.create(device) as TestDevice, { mqttUrl: mqtts });
  await overTls.connect({ rejectUnauthorized: false });
  await overTls.publish('telemetry', overTls.seal());
  expect(door().handshakes).toBeLessThan(PLACES);
  expect(refused('TLS handshakes') + refused('not logged in, of one address')).toBeGreaterThan(0);
  await overTls.close();
});

test('a TLS connection that was admitted counts until it ends', async () => {
  const { port } = new URL(broker.running.addresses.mqtts!);
  const socket = connectTls({ host: '127.0.0.1', port: Number(port), rejectUnauthorized: false });
  sockets.push(socket);
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  await until(() => door().handshakes === 0 && door().pending === 1, 'one without a login');
});

test('what is no TLS at the TLS listener ends at once', async () => {
  const socket = await come(broker.running.addresses.mqtts!, '127.0.0.2');
  socket.write('GET / HTTP/1.1\r\n\r\n');
  await new Promise((resolve) => socket.once('close', resolve));
});

test('logins that fail too often are told late, and nobody else waits', async () => {
  const device = await broker.device();
  const other = { network: device.network, http: device.http, mqtt: device.mqttUrl };
  const strangers = Array.from({ length: 4 }, () => new TestDevice(other));
  const answers: string[] = [];
  for (const { id } of strangers) {
    const socket = await come(device.mqttUrl, '127.0.0.2');
    const name = Buffer.from(id);
    const field = Buffer.concat([Buffer.of(0, name.length), name]);
    const head = Buffer.from('00044d51545404c2003c', 'hex');
    const body = Buffer.concat([head, field, field, Buffer.of(0, 1, 0x78)]);
    socket.on('data', (chunk) => answers.push(chunk.toString('hex')));
    socket.write(
      Buffer.concat([Buffer.of(0x10, 0x80 | (body.length & 0x7f), body.length >> 7), body]),
    );
  }
  await until(() => refused('failed logins') === 2, 'two late ones');
  expect(answers.filter((answer) => answer === '20020005').length).toBeLessThanOrEqual(2);
  await device.connect();
  await device.close();
});
