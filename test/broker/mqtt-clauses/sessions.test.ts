/** MQTT 3.1.1 by clause, against the plain profile: CONNECT, sessions, wills, redelivery, keep-alive, endings. */

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import mqttPacket, { type IPublishPacket } from 'mqtt-packet';
import { type PlainTest, startPlain } from '../support/plain.ts';
import { connectPacket, publishPacket, RawMqtt, subscribePacket } from '../support/raw-mqtt.ts';

let plain: PlainTest;
let counter = 0;

beforeAll(async () => {
  plain = await startPlain({ plainMaxInFlight: 5 });
});
afterAll(() => plain.close());

function fresh(): string {
  counter += 1;
  return `s${counter}`;
}

const will = (topic: string, changes: Partial<IPublishPacket> = {}) => ({
  will: { topic, payload: Buffer.from('gone'), qos: 1 as const, retain: false, ...changes },
});

describe('CONNECT', () => {
  test('[MQTT-3.1.3-6], [MQTT-3.1.3-7] an empty client id with a clean session is given one, each its own', async () => {
    const before = plain.status().online;
    const first = await plain.client({ clientId: '' });
    const second = await plain.client({ clientId: '' });
    await first.ping();
    await second.ping();
    expect(plain.status().online).toBe(before + 2);
  });

  test('[MQTT-3.1.3-8] an empty client id with a session to keep is refused with 2', async () => {
    const raw = plain.dial();
    raw.send('100c00044d515454040000000000');
    await raw.until(() => raw.closed);
    expect(raw.hex).toBe('20020002');
  });

  test('[MQTT-3.1.0-2] a second CONNECT ends the connection', async () => {
    const client = await plain.client();
    client.send(connectPacket());
    await client.until(() => client.closed);
  });

  test('[MQTT-3.1.4-5] what follows the CONNECT before its CONNACK is done after it', async () => {
    const raw = plain.dial();
    const topic = fresh();
    const subscribe = subscribePacket([[topic, 1]]);
    raw.send(connectPacket(), subscribe, publishPacket(topic, 'x', { qos: 1 }), { cmd: 'pingreq' });
    await raw.next('pingresp');
    expect(raw.packets.map(({ cmd }) => cmd)).toEqual(['connack', 'suback', 'publish', 'puback']);
  });

  test('[MQTT-3.1.4-2] a second connection with the same client id ends the first', async () => {
    const clientId = fresh();
    const first = await plain.client({ clientId });
    const second = await plain.client({ clientId });
    await first.until(() => first.closed);
    await second.ping();
  });
});

describe('sessions', () => {
  test('[MQTT-3.2.2-1..3] a session is present when one was kept, with or without subscriptions', async () => {
    const clientId = fresh();
    const present = async (clean: boolean) => {
      const raw = plain.dial();
      raw.send(connectPacket({ clientId, clean }));
      const { sessionPresent } = await raw.next('connack');
      await raw.disconnect();
      return sessionPresent;
    };
    expect(await present(false)).toBe(false);
    expect(await present(false)).toBe(true);
    expect(await present(true)).toBe(false);
    expect(await present(false)).toBe(false);
  });

  test('[MQTT-3.1.2-4] a kept session has its subscriptions, and what came meanwhile with QoS 1 and 2', async () => {
    const clientId = fresh();
    const topic = fresh();
    const first = await plain.client({ clientId, clean: false });
    await first.subscribe([`${topic}/+`, 2]);
    await first.disconnect();
    const writer = await plain.client();
    for (const qos of [0, 1, 2] as const) await writer.publish(`${topic}/${qos}`, 'x', { qos });
    const second = await plain.client({ clientId, clean: false });
    await second.ping();
    expect(second.published).toMatchObject([
      { topic: `${topic}/1`, qos: 1, dup: false, retain: false },
      { topic: `${topic}/2`, qos: 2, dup: false, retain: false },
    ]);
    await writer.publish(`${topic}/now`, 'x');
    await second.until(() => second.published.length === 3);
  });

  test('[MQTT-3.1.2-6] a clean session has nothing of the one before, and leaves nothing', async () => {
    const clientId = fresh();
    const topic = fresh();
    const first = await plain.client({ clientId, clean: false });
    await first.subscribe([topic, 1]);
    await first.disconnect();
    const writer = await plain.client();
    await writer.publish(topic, 'x', { qos: 1 });
    const second = await plain.client({ clientId });
    await writer.publish(topic, 'y', { qos: 1 });
    await second.ping();
    expect(second.published).toEqual([]);
    await second.disconnect();
    const third = plain.dial().send(connectPacket({ clientId, clean: false }));
    expect(await third.next('connack')).toMatchObject({ sessionPresent: false });
  });

  test('[MQTT-3.10.4] what was unsubscribed stays so in a kept session', async () => {
    const clientId = fresh();
    const topic = fresh();
    const first = await plain.client({ clientId, clean: false });
    await first.subscribe([topic, 1]);
    first.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: [topic] });
    await first.next('unsuback');
    await first.disconnect();
    await (await plain.client()).publish(topic, 'x', { qos: 1 });
    const second = await plain.client({ clientId, clean: false });
    await second.ping();
    expect(second.published).toEqual([]);
  });

  test('[MQTT-4.4.0-1] what was not acknowledged is sent again in order, with DUP and the same identifiers', async () => {
    const clientId = fresh();
    const topic = fresh();
    const first = await plain.client({ clientId, clean: false });
    await first.subscribe([topic, 2]);
    const writer = await plain.client();
    for (const [i, qos] of ([1, 2, 1, 2, 1, 1, 2] as const).entries()) {
      await writer.publish(topic, String(i), { qos });
    }
    // The window is five.
    await first.until(() => first.published.length === 5);
    await first.ping();
    const [a, b, c, d] = first.published as [
      IPublishPacket,
      IPublishPacket,
      IPublishPacket,
      IPublishPacket,
    ];
    expect(first.published).toHaveLength(5);
    first.send({ cmd: 'pubrec', messageId: b.messageId! });
    await first.next('pubrel');
    await first.vanish();
    const second = await plain.client({ clientId, clean: false });
    await second.ping();
    expect(second.published.map(({ payload, dup }) => [String(payload), dup])).toEqual([
      ['0', true],
      ['2', true],
      ['3', true],
      ['4', true],
    ]);
    expect(second.published.map(({ messageId }) => messageId)).toEqual([
      a.messageId,
      c.messageId,
      d.messageId,
      expect.any(Number),
    ]);
    // [MQTT-4.3.3-1]: the PUBREL of the one that was received is sent again.
    expect(await second.next('pubrel')).toMatchObject({ messageId: b.messageId });
    second.send({ cmd: 'pubcomp', messageId: b.messageId! });
    for (const packet of [...second.published]) await second.settle(packet);
    await second.until(() => second.published.length === 6);
    expect(second.published.slice(4).map(({ payload, dup }) => [String(payload), dup])).toEqual([
      ['5', false],
      ['6', false],
    ]);
    expect(plain.status().refused.ERR_PLAIN_IN_FLIGHT).toBeGreaterThan(0);
  });

  test('[MQTT-4.3.3-2] an unfinished QoS 2 message of a client is known when its session goes on', async () => {
    const clientId = fresh();
    const topic = fresh();
    const reader = await plain.client();
    await reader.subscribe([topic, 1]);
    const packet = publishPacket(topic, 'once', { qos: 2, messageId: 11 });
    const first = await plain.client({ clientId, clean: false });
    first.send(packet);
    await first.next('pubrec');
    await first.vanish();
    const second = await plain.client({ clientId, clean: false });
    second.send({ ...packet, dup: true });
    await second.next('pubrec');
    second.send({ cmd: 'pubrel', messageId: 11 });
    await second.next('pubcomp');
    await reader.ping();
    expect(reader.published).toHaveLength(1);
  });
});

describe('wills', () => {
  let reader: RawMqtt;
  let topic: string;

  async function watch(): Promise<void> {
    topic = fresh();
    reader = await plain.client();
    await reader.subscribe([`${topic}/#`, 1]);
  }

  test('[MQTT-3.1.2-8] a will is published when the connection ends without DISCONNECT', async () => {
    await watch();
    const client = await plain.client(will(`${topic}/a`));
    await client.vanish();
    expect(await reader.next('publish')).toMatchObject({
      topic: `${topic}/a`,
      qos: 1,
      retain: false,
    });
  });

  test('[MQTT-3.1.2-10], [MQTT-3.14.4-3] and not after one', async () => {
    await watch();
    const client = await plain.client(will(`${topic}/a`));
    await client.disconnect();
    // Whatever comes behind it.
    const noisy = await plain.client(will(`${topic}/b`));
    noisy.send({ cmd: 'disconnect' }, 'c100');
    await noisy.until(() => noisy.closed);
    await reader.ping();
    expect(reader.published).toEqual([]);
  });

  test('[MQTT-3.1.2-8] nor is it kept back by a protocol error, a takeover or the end of the stream', async () => {
    await watch();
    const clientId = fresh();
    (await plain.client({ clientId, ...will(`${topic}/takeover`) })).send();
    await plain.client({ clientId });
    (await plain.client(will(`${topic}/error`))).send('c100');
    (await plain.client(will(`${topic}/end`))).socket.end();
    const seen = [];
    for (let i = 0; i < 3; i++) seen.push((await reader.next('publish')).topic);
    expect(seen.sort()).toEqual([`${topic}/end`, `${topic}/error`, `${topic}/takeover`]);
  });

  test('[MQTT-3.1.2-17] a will with retain is kept', async () => {
    topic = fresh();
    const client = await plain.client(will(topic, { retain: true, qos: 2 }));
    await client.vanish();
    const later = await plain.client();
    await later.until(() => plain.status().retained > 0);
    await later.subscribe([topic, 2]);
    expect(await later.next('publish')).toMatchObject({ retain: true, qos: 2 });
    await later.publish(topic, '', { retain: true });
  });

  test('3.1.3.3: a will message may have 65,535 bytes, and [MQTT-1.5.3] its topic and the client id long ones', async () => {
    await watch();
    const long = `${topic}/${'x'.repeat(60_000)}`;
    const payload = Buffer.alloc(65_535, 'w');
    const client = await plain.client({ clientId: long, ...will(long, { payload }) });
    await client.vanish();
    const { topic: told, payload: got } = await reader.next('publish');
    expect([told, Buffer.compare(got as Buffer, payload)]).toEqual([long, 0]);
    const { port } = new URL(plain.broker.running.addresses.mqtt);
    const stranger = new RawMqtt(`mqtt://127.0.0.1:${port}`);
    // Who is not let in without a login has no such room.
    stranger.send(connectPacket(will(topic, { payload })));
    await stranger.until(() => stranger.closed);
    expect(stranger.hex).toBe('');
  });

  test('a will to what one may not publish is refused at CONNECT with 5', async () => {
    const raw = plain.dial();
    raw.send(connectPacket(will(`fp/1/${plain.broker.running.network}/d/x/telemetry`)));
    await raw.until(() => raw.closed);
    expect(raw.hex).toBe('20020005');
  });
});

describe('keep alive', () => {
  test('[MQTT-3.1.2-24] a silent client is ended after one and a half times its keep alive, not before', async () => {
    const started = Date.now();
    const silent = await plain.client({ keepalive: 1 });
    const unlimited = await plain.client({ keepalive: 0 });
    await silent.until(() => silent.closed);
    expect(Date.now() - started).toBeGreaterThanOrEqual(1490);
    await unlimited.ping();
  });

  test('any packet counts, not only PINGREQ', async () => {
    // Again with another client, if this machine did not let one speak in time.
    for (let isInTime = false; !isInTime; ) {
      const client = await plain.client({ keepalive: 1 });
      isInTime = true;
      let spoke = performance.now();
      for (const end = spoke + 2000; spoke < end && isInTime; ) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        isInTime = performance.now() - spoke < 1000;
        spoke = performance.now();
        client.send(publishPacket('keepalive', 'x'));
      }
      if (isInTime) await client.ping();
    }
  });
});

describe('endings', () => {
  test('[MQTT-3.14.4-1] a DISCONNECT ends the connection after what came before it', async () => {
    const client = await plain.client();
    client.send(publishPacket('last', 'x', { qos: 1, messageId: 4 }), { cmd: 'disconnect' });
    await client.until(() => client.closed);
    expect(client.packets).toMatchObject([{ cmd: 'puback', messageId: 4 }]);
  });

  test('what follows a DISCONNECT is not done', async () => {
    const reader = await plain.client();
    const topic = fresh();
    await reader.subscribe([topic, 0]);
    const client = await plain.client();
    client.send(
      Buffer.concat([Buffer.from('e000', 'hex'), mqttPacket.generate(publishPacket(topic, 'x'))]),
    );
    await client.until(() => client.closed);
    await reader.ping();
    expect(reader.published).toEqual([]);
  });

  test('[MQTT-2.2.2-2], [MQTT-1.5.3-2] malformed packets end the connection, and nobody else’s', async () => {
    const other = await plain.client();
    for (const bytes of ['c001', '3006000361', '82060001000161', '6002000a', '300500016100']) {
      const client = await plain.client();
      client.send(bytes).socket.end();
      await client.until(() => client.closed);
    }
    await other.ping();
  });
});
