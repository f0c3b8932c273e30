/** MQTT 3.1.1 by clause, against the plain profile: publishing, subscribing, retained messages, QoS and order. */

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type PlainTest, startPlain } from '../support/plain.ts';
import { publishPacket, type RawMqtt } from '../support/raw-mqtt.ts';

let plain: PlainTest;
let counter = 0;
let topic: string;

beforeAll(async () => {
  plain = await startPlain();
});
afterAll(() => plain.close());

/** A topic of its own for each test. */
function fresh(): string {
  counter += 1;
  topic = `t${counter}`;
  return topic;
}

const texts = (client: RawMqtt) => client.published.map(({ payload }) => String(payload));

describe('publish and subscribe', () => {
  test.each([
    [0, 0, 0],
    [1, 0, 0],
    [2, 0, 0],
    [0, 1, 0],
    [1, 1, 1],
    [2, 1, 1],
    [0, 2, 0],
    [1, 2, 1],
    [2, 2, 2],
  ] as const)(
    '[MQTT-3.8.4-6] published with QoS %i, granted %i: received once with %i',
    async (qos, granted, expected) => {
      const reader = await plain.client();
      const writer = await plain.client();
      fresh();
      expect(await reader.subscribe([`${topic}/+`, granted])).toEqual([granted]);
      await writer.publish(`${topic}/a`, 'x', { qos });
      const packet = await reader.next('publish');
      expect(packet).toMatchObject({ topic: `${topic}/a`, qos: expected, retain: false });
      expect(packet.dup).toBe(false);
      await reader.settle(packet);
      await reader.ping();
      expect(reader.published).toEqual([]);
    },
  );

  test('[MQTT-3.3.1-3] a repeated QoS 1 message is delivered without DUP', async () => {
    const reader = await plain.client();
    const writer = await plain.client();
    await reader.subscribe([fresh(), 1]);
    await writer.publish(topic, 'x', { qos: 1, dup: true });
    expect(await reader.next('publish')).toMatchObject({ dup: false });
  });

  test('[MQTT-4.7.3-1] topics may be of one character, hold spaces, and begin or end with a slash', async () => {
    const reader = await plain.client();
    await reader.subscribe(['/', 0], [' ', 0], ['/finance', 0], ['a b/', 0], ['+/tail', 0]);
    for (const name of ['/', ' ', '/finance', 'finance', 'a b/', '/tail']) {
      await reader.publish(name, name);
    }
    await reader.ping();
    expect(texts(reader)).toEqual(['/', ' ', '/finance', 'a b/', '/tail']);
  });

  test.each([
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/#', 'sport', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['Sport/+', 'sport/a', false],
  ])('[MQTT-4.7.1] %s and %s: %s', async (filter, name, expected) => {
    const client = await plain.client();
    await client.subscribe([filter, 0]);
    await client.publish(name, 'x');
    await client.ping();
    expect(client.published).toHaveLength(expected ? 1 : 0);
  });

  test('[MQTT-4.7.2-1] filters that begin with a wildcard do not match topics that begin with $', async () => {
    const wild = await plain.client();
    const exact = await plain.client();
    fresh();
    await wild.subscribe(['#', 0], ['+/x', 0]);
    await exact.subscribe([`$${topic}/#`, 0]);
    await exact.publish(`$${topic}/x`, 'x');
    await exact.publish(`$${topic}/x`, 'kept', { retain: true });
    await exact.ping();
    await wild.subscribe(['#', 0]);
    await wild.ping();
    expect(wild.published.filter((packet) => packet.topic.startsWith('$'))).toEqual([]);
    expect(texts(exact)).toEqual(['x', 'kept']);
    await exact.publish(`$${topic}/x`, '', { retain: true });
  });

  test('[MQTT-3.8.4-5] a SUBACK has a code for each filter, in their order, also for the same one twice', async () => {
    const client = await plain.client();
    fresh();
    const codes = await client.subscribe(
      [topic, 0],
      [`${topic}/b`, 2],
      [topic, 1],
      ['$share/g/a', 1],
    );
    expect(codes).toEqual([0, 2, 1, 128]);
    await client.publish(topic, 'x', { qos: 1 });
    expect(await client.next('publish')).toMatchObject({ qos: 1 });
  });

  test('[MQTT-3.8.4-3] the same filter again replaces the subscription and repeats retained messages', async () => {
    const client = await plain.client();
    await client.publish(fresh(), 'kept', { retain: true, qos: 1 });
    await client.subscribe([topic, 0]);
    await client.subscribe([topic, 1]);
    await client.publish(topic, 'new', { qos: 1 });
    await client.ping();
    expect(client.published).toMatchObject([
      { retain: true, qos: 0 },
      { retain: true, qos: 1 },
      { retain: false, qos: 1 },
    ]);
    await client.publish(topic, '', { retain: true });
  });

  test('[MQTT-3.3.5-1] overlapping subscriptions: one message with the greatest QoS', async () => {
    const client = await plain.client();
    fresh();
    await client.subscribe([`${topic}/#`, 2], [`${topic}/+`, 1], [`${topic}/a`, 0]);
    await client.publish(`${topic}/a`, 'x', { qos: 2 });
    await client.ping();
    expect(client.published).toMatchObject([{ qos: 2 }]);
  });

  test('[MQTT-3.10.4] UNSUBSCRIBE ends the exact filter only, and is answered for unknown ones', async () => {
    const client = await plain.client();
    fresh();
    await client.subscribe([`${topic}/+`, 0], [`${topic}/#`, 0]);
    const remove = (filter: string) =>
      client.send({ cmd: 'unsubscribe', messageId: 7, unsubscriptions: [filter, 'never'] });
    remove(`${topic}/a`);
    expect(await client.next('unsuback')).toMatchObject({ messageId: 7 });
    remove(`${topic}/+`);
    await client.next('unsuback');
    await client.publish(`${topic}/a`, '1');
    remove(`${topic}/#`);
    await client.next('unsuback');
    await client.publish(`${topic}/a`, '2');
    await client.ping();
    expect(texts(client)).toEqual(['1']);
  });
});

describe('retained messages', () => {
  test('[MQTT-3.3.1-6] a new subscription gets the last of each topic, marked as retained', async () => {
    const client = await plain.client();
    fresh();
    await client.publish(`${topic}/a`, '1', { retain: true });
    await client.publish(`${topic}/a`, '2', { retain: true, qos: 1 });
    await client.publish(`${topic}/b`, '3', { retain: true, qos: 2 });
    await client.subscribe([`${topic}/+`, 1]);
    await client.ping();
    expect(
      client.published.map(({ payload, qos, retain }) => [String(payload), qos, retain]),
    ).toEqual([
      ['2', 1, true],
      ['3', 1, true],
    ]);
  });

  test('[MQTT-3.3.1-9] an existing subscription gets it as any other', async () => {
    const client = await plain.client();
    await client.subscribe([fresh(), 1]);
    await client.publish(topic, 'x', { retain: true });
    expect(await client.next('publish')).toMatchObject({ retain: false });
  });

  test('[MQTT-3.3.1-10], [MQTT-3.3.1-11] one without payload removes it, and is delivered but not kept', async () => {
    const client = await plain.client();
    await client.publish(fresh(), 'x', { retain: true });
    await client.subscribe([topic, 0]);
    await client.publish(topic, '', { retain: true });
    await client.ping();
    expect(client.published.map(({ payload, retain }) => [String(payload), retain])).toEqual([
      ['x', true],
      ['', false],
    ]);
    const later = await plain.client();
    await later.subscribe([topic, 0]);
    await later.ping();
    expect(later.published).toEqual([]);
  });

  test('[MQTT-3.3.1-12] a message that is not retained leaves the retained one', async () => {
    const client = await plain.client();
    await client.publish(fresh(), 'kept', { retain: true });
    await client.publish(topic, 'passing');
    await client.subscribe([topic, 0]);
    await client.ping();
    expect(texts(client)).toEqual(['kept']);
  });
});

describe('quality of service', () => {
  test('[MQTT-4.3.3-2] a QoS 2 message that is sent twice before PUBREL is delivered once', async () => {
    const reader = await plain.client();
    const writer = await plain.client();
    await reader.subscribe([fresh(), 2]);
    const packet = publishPacket(topic, 'once', { qos: 2, messageId: 9 });
    writer.send(packet, { ...packet, dup: true });
    await writer.next('pubrec');
    await writer.next('pubrec');
    writer.send({ cmd: 'pubrel', messageId: 9 });
    expect(await writer.next('pubcomp')).toMatchObject({ messageId: 9 });
    // The identifier is free again: this is another message.
    writer.send({ ...packet, payload: 'twice' });
    await writer.next('pubrec');
    await reader.settle(await reader.next('publish'));
    await reader.settle(await reader.next('publish'));
    await reader.ping();
    expect(reader.published).toEqual([]);
  });

  test('a PUBREL of an unknown identifier is answered, [MQTT-4.3.3-2]', async () => {
    const client = await plain.client();
    client.send({ cmd: 'pubrel', messageId: 77 });
    expect(await client.next('pubcomp')).toMatchObject({ messageId: 77 });
  });

  test('acknowledgements of what was never sent are harmless', async () => {
    const client = await plain.client();
    client.send({ cmd: 'puback', messageId: 5 }, { cmd: 'pubcomp', messageId: 5 });
    client.send({ cmd: 'pubrec', messageId: 5 });
    await client.ping();
  });

  test.each([0, 1, 2] as const)(
    '[MQTT-4.6.0-6] five hundred messages of QoS %i arrive in order, each once',
    async (qos) => {
      const reader = await plain.client();
      const writer = await plain.client();
      await reader.subscribe([fresh(), 2]);
      const wanted = Array.from({ length: 500 }, (_, i) => String(i));
      writer.send(
        ...wanted.map((text, i) => publishPacket(topic, text, { qos, messageId: i + 1 })),
      );
      const answered = async () => {
        if (qos === 0) return;
        for (const _ of wanted) {
          const { messageId } = await writer.next(qos === 1 ? 'puback' : 'pubrec');
          if (qos === 2) writer.send({ cmd: 'pubrel', messageId: messageId! });
        }
      };
      const seen: string[] = [];
      const received = async () => {
        for (const _ of wanted) {
          const packet = await reader.next('publish');
          seen.push(String(packet.payload));
          await reader.settle(packet);
        }
      };
      // A hundred are on their way at most; the others wait for acknowledgements.
      await Promise.all([answered(), received()]);
      expect(seen).toEqual(wanted);
    },
  );

  test('[MQTT-4.6.0-2..4] acknowledgements come in the order of what they acknowledge', async () => {
    const client = await plain.client();
    fresh();
    client.send(...[3, 1, 2].map((messageId) => publishPacket(topic, 'x', { qos: 1, messageId })));
    client.send(...[6, 4, 5].map((messageId) => publishPacket(topic, 'x', { qos: 2, messageId })));
    const ids = [];
    for (let i = 0; i < 3; i++) ids.push((await client.next('puback')).messageId);
    for (let i = 0; i < 3; i++) ids.push((await client.next('pubrec')).messageId);
    client.send({ cmd: 'pubrel', messageId: 6 }, { cmd: 'pubrel', messageId: 4 });
    for (let i = 0; i < 2; i++) ids.push((await client.next('pubcomp')).messageId);
    expect(ids).toEqual([3, 1, 2, 6, 4, 5, 6, 4]);
  });
});
