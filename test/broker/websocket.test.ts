/** MQTT over WebSocket at the HTTP and HTTPS listeners. */

import { request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import mqttPacket from 'mqtt-packet';
import { WebSocket } from 'ws';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type TestDevice, until } from './support/device.ts';

let broker: TestBroker;

beforeAll(async () => {
  broker = await startTestBroker({ lan: true, lanHost: '127.0.0.1', maxPendingPerAddress: 20 });
});
afterAll(async () => {
  await broker.close();
});

const status = () => broker.running.status();
const refused = (why: string) => status().mqtt.refused[why] ?? 0;

/** A device that speaks MQTT at another URL. */
async function deviceAt(url: string): Promise<TestDevice> {
  const device = await broker.device();
  return Object.assign(Object.create(device) as TestDevice, { mqttUrl: url });
}

function open(url: string, protocols?: string | string[]): Promise<WebSocket> {
  const socket = new WebSocket(url, protocols, { rejectUnauthorized: false });
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
}

/** The answer to an upgrade request that is refused, or to a request that is none. */
function ask(path: string, headers: Record<string, string> = {}) {
  const { port } = new URL(broker.running.addresses.http);
  return new Promise<{ status: number; body: { code: string }; headers: object }>(
    (resolve, reject) => {
      const sent = request({ host: '127.0.0.1', port, path, headers: { ...headers } }, (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
        answer.on('end', () =>
          resolve({ status: answer.statusCode!, body: JSON.parse(text), headers: answer.headers }),
        );
      });
      sent.on('upgrade', () => reject(new Error('it was upgraded')));
      sent.on('error', reject).end();
    },
  );
}

const UPGRADE = {
  ...{ connection: 'Upgrade', upgrade: 'websocket' },
  ...{ 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' },
};

const MQTT = { ...UPGRADE, 'sec-websocket-protocol': 'mqtt' };

describe('a device', () => {
  test.each(['ws', 'wss'] as const)(
    'logs in, delivers and gets receipts over %s',
    async (scheme) => {
      const device = await deviceAt(broker.running.addresses[scheme]!);
      await device.connect({ rejectUnauthorized: false });
      await device.publish('birth', device.seal({ kind: 'birth' }));
      await device.publish('telemetry', device.seal());
      await until(() => device.receipts.length > 0, 'a receipt');
      expect(status().mqtt).toMatchObject({ connections: 1, pending: 0 });
      await device.close();
      await until(() => status().mqtt.connections === 0, 'the connection is gone');
    },
  );

  test('is refused with a login that is not its own', async () => {
    const device = await deviceAt(broker.running.addresses.ws);
    await expect(device.connect({ password: 'wrong' })).rejects.toMatchObject({ code: 4 });
  });
});

describe('what an upgrade needs', () => {
  test.each([
    ['none', UPGRADE],
    ['another', { ...UPGRADE, 'sec-websocket-protocol': 'mqttv3.1, soap' }],
  ])('a subprotocol: with %s it is 400', async (_what, headers) => {
    expect(await ask('/mqtt', headers)).toMatchObject({
      status: 400,
      body: { code: 'ERR_REQUEST' },
    });
  });

  test('of several subprotocols mqtt is chosen, and no compression', async () => {
    const socket = await open(broker.running.addresses.ws, ['soap', 'mqtt']);
    expect([socket.protocol, socket.extensions]).toEqual(['mqtt', '']);
    socket.terminate();
  });

  test('its path: others are 404, a query is allowed', async () => {
    expect(await ask('/', MQTT)).toMatchObject({ status: 404, body: { code: 'ERR_NOT_FOUND' } });
    expect((await ask('/v1/hello', MQTT)).status).toBe(404);
    (await open(`${broker.running.addresses.ws}?x=1`, 'mqtt')).terminate();
  });

  test('to be asked for: a plain GET is 426 and says what for', async () => {
    const answer = await ask('/mqtt');
    expect(answer).toMatchObject({
      status: 426,
      body: { code: 'ERR_UPGRADE' },
      headers: { upgrade: 'websocket' },
    });
  });

  test('other protocols that clients offer are ignored: the request is answered', async () => {
    const offer = {
      connection: 'Upgrade, HTTP2-Settings',
      upgrade: 'h2c',
      'http2-settings': 'AAMAAABkAAQAAP__',
    };
    expect(await ask('/healthz', offer)).toMatchObject({ status: 200, body: { ok: true } });
  });
});

describe('frames', () => {
  test('[MQTT-6.0.0-1] a text frame closes the connection, and nothing in it is read', async () => {
    const socket = await open(broker.running.addresses.ws, 'mqtt');
    socket.send(connectPacket().toString('latin1'));
    await new Promise((resolve) => socket.once('close', resolve));
    expect(refused('MQTT-6.0.0-1')).toBe(1);
  });

  test('[MQTT-6.0.0-2] a packet may be in several frames, a frame may have several packets', async () => {
    const socket = await open(broker.running.addresses.ws, 'mqtt');
    const answers: string[] = [];
    socket.on('message', (data: Buffer) => answers.push(data.toString('hex')));
    for (const byte of connectPacket()) socket.send(Buffer.of(byte));
    await until(() => answers.length > 0, 'an answer');
    expect(answers).toEqual(['20020004']);
    socket.terminate();
  });

  test('longer than a packet may be are refused', async () => {
    const socket = await open(broker.running.addresses.ws, 'mqtt');
    socket.on('error', () => {});
    socket.send(Buffer.alloc(300_000));
    await new Promise((resolve) => socket.once('close', resolve));
  });

  test('of a stranger are not kept until they are whole', async () => {
    const before = refused('size');
    const { port } = new URL(broker.running.addresses.http);
    const raw = connect(Number(port), '127.0.0.1');
    raw.on('error', () => {}).resume();
    const head = Object.entries({ host: 'x', ...MQTT }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    raw.write(`GET /mqtt HTTP/1.1\r\n${head.join('')}\r\n`);
    await new Promise((resolve) => raw.once('data', resolve));
    // A binary frame of 200,000 bytes, of which one is missing.
    raw.write(
      Buffer.concat([Buffer.from('82ff0000000000030d4000000000', 'hex'), Buffer.alloc(199_999)]),
    );
    await new Promise((resolve) => raw.once('close', resolve));
    expect(refused('size')).toBe(before + 1);
  });

  test('pings are answered', async () => {
    const socket = await open(broker.running.addresses.ws, 'mqtt');
    socket.ping('here');
    const [data] = await new Promise<[Buffer]>((resolve) =>
      socket.once('pong', (...all) => resolve(all as [Buffer])),
    );
    expect(data.toString()).toBe('here');
    socket.terminate();
  });
});

describe('frames without a packet in them', () => {
  test.each<[string, (socket: WebSocket) => void]>([
    ['pings', (socket) => socket.ping()],
    ['pongs', (socket) => socket.pong()],
    ['empty frames', (socket) => socket.send(Buffer.alloc(0))],
  ])('%s: a hundred at once are no harm, a flood ends the connection', async (_what, send) => {
    const socket = await open(broker.running.addresses.ws, 'mqtt');
    socket.on('error', () => {});
    let closed = false;
    socket.once('close', () => {
      closed = true;
    });
    for (let i = 0; i < 99; i++) send(socket);
    const answer = new Promise((resolve) => socket.once('message', resolve));
    socket.send(connectPacket());
    // It has come through, and is refused as any other of nobody.
    expect(((await answer) as Buffer).toString('hex')).toBe('20020004');
    const before = refused('WebSocket pings');
    const flooding = await open(broker.running.addresses.ws, 'mqtt');
    flooding.on('error', () => {});
    const end = new Promise((resolve) => flooding.once('close', resolve));
    let pongs = 0;
    flooding.on('pong', () => {
      pongs += 1;
    });
    for (let i = 0; i < 20_000; i++) send(flooding);
    await end;
    expect(refused('WebSocket pings')).toBe(before + 1);
    expect(pongs).toBeLessThan(1000);
    await until(() => closed, 'the refused one is closed');
  });

  test('also after the login', async () => {
    const device = await broker.device();
    const socket = await open(broker.running.addresses.ws, 'mqtt');
    let answer = '';
    socket.on('message', (data: Buffer) => {
      answer += data.toString('hex');
    });
    const login = { clientId: device.id, username: device.id, clean: true, keepalive: 60 };
    const password = Buffer.from(await device.loginPassword());
    socket.send(mqttPacket.generate({ cmd: 'connect', ...login, password }));
    await until(() => answer === '20020000', 'it is in');
    const end = new Promise((resolve) => socket.once('close', resolve));
    const before = refused('WebSocket pings');
    for (let i = 0; i < 2000; i++) socket.ping();
    await end;
    expect(refused('WebSocket pings')).toBe(before + 1);
  });
});

test('connections count at the door and no more as HTTP, and a stop ends them', async () => {
  await until(() => status().mqtt.connections === 0, 'those of other tests are gone');
  const sockets = [];
  for (let i = 0; i < 5; i++) sockets.push(await open(broker.running.addresses.ws, 'mqtt'));
  expect(status().mqtt).toMatchObject({ connections: 5, pending: 5 });
  const closed = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  await broker.restart();
  await Promise.all(closed);
});

/** A CONNECT of nobody in particular. */
function connectPacket(): Buffer {
  return Buffer.from(
    `101300044d5154540402003c0007${Buffer.from('nobody7').toString('hex')}`,
    'hex',
  );
}
