/** [MQTT-3.1.4-5]: a client may send on before its CONNACK. What it sends is judged after the login, whenever it comes. */

import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { generate, type Packet, parser } from 'mqtt-packet';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type TestDevice, until } from './support/device.ts';

let broker: TestBroker;
let device: TestDevice;

beforeAll(async () => {
  broker = await startTestBroker();
  device = await broker.device();
});

afterAll(() => broker.close());

async function packetsOf(password: string): Promise<Buffer[]> {
  const { id } = device;
  return [
    generate({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: true,
      keepalive: 0,
      clientId: id,
      username: id,
      password: Buffer.from(password),
    }),
    generate({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [{ topic: device.topic('receipt'), qos: 1 }],
    }),
    generate({
      cmd: 'publish',
      topic: device.topic('event'),
      payload: Buffer.from(device.seal({ kind: 'event' })),
      qos: 1,
      messageId: 2,
      dup: false,
      retain: false,
    }),
  ];
}

function open(): { readonly socket: Socket; readonly heard: Packet[] } {
  const socket = connect({ port: Number(new URL(device.mqttUrl).port), host: '127.0.0.1' });
  socket.setNoDelay(true).on('error', () => {});
  const heard: Packet[] = [];
  const packets = parser();
  packets.on('packet', (packet: Packet) => heard.push(packet));
  socket.on('data', (chunk) => packets.parse(chunk));
  return { socket, heard };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test.each([null, 0, 1, 2, 3, 4, 6, 9, 15])(
  'SUBSCRIBE and PUBLISH that come %s turns after CONNECT are granted and recorded',
  async (turns) => {
    const before = broker.running.status().verdicts.accepted;
    const packets = await packetsOf(await device.loginPassword());
    const { socket, heard } = open();
    if (turns === null) socket.write(Buffer.concat(packets));
    else {
      for (const packet of packets) {
        socket.write(packet);
        for (let n = 0; n <= turns; n++) await turn();
      }
    }
    await until(() => heard.some(({ cmd }) => cmd === 'puback'), 'PUBACK');
    const answers = heard.filter(({ cmd }) => ['connack', 'suback', 'puback'].includes(cmd));
    expect(answers).toMatchObject([
      { cmd: 'connack', returnCode: 0 },
      { cmd: 'suback', granted: [1] },
      { cmd: 'puback', messageId: 2 },
    ]);
    expect(broker.running.status().verdicts.accepted).toBe(before + 1);
    socket.destroy();
    await until(() => broker.running.status().mqtt.sessions === 0, 'the end of the session');
  },
);

test('of a client that is refused, nothing is judged', async () => {
  const { received } = broker.running.status().verdicts;
  const packets = await packetsOf('no login');
  const { socket, heard } = open();
  socket.write(Buffer.concat(packets));
  await until(() => socket.destroyed || socket.readableEnded, 'the end');
  expect(heard).toMatchObject([{ cmd: 'connack', returnCode: 4 }]);
  expect(broker.running.status().verdicts.received).toBe(received);
});
