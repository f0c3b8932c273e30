/** Generic MQTT tools against the plain profile: mqtt.js on every listener, Mosquitto's clients where they are installed. */

import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import mqtt, { type IClientOptions } from 'mqtt';
import { describeWith, findService } from '../../support/services.ts';
import { type PlainTest, startPlain } from '../support/plain.ts';

const run = promisify(execFile);
let plain: PlainTest;
let counter = 0;

beforeAll(async () => {
  plain = await startPlain();
});
afterAll(() => plain.close());

function fresh(): string {
  counter += 1;
  return `tools${counter}`;
}

describe('mqtt.js', () => {
  const open = (url: string, options: IClientOptions = {}) =>
    mqtt.connectAsync(url, { protocolVersion: 4, reconnectPeriod: 0, ...options });

  test.each([0, 1, 2] as const)('publishes and receives with QoS %i', async (qos) => {
    const topic = fresh();
    const client = await open(plain.url);
    const received: string[] = [];
    client.on('message', (_topic, payload) => received.push(payload.toString()));
    await client.subscribeAsync(topic, { qos });
    for (let i = 0; i < 200; i++) client.publish(topic, String(i), { qos });
    await client.publishAsync(topic, 'end', { qos });
    while (received.at(-1) !== 'end') await new Promise((resolve) => setTimeout(resolve, 5));
    expect(received).toEqual([...Array.from({ length: 200 }, (_, i) => String(i)), 'end']);
    await client.endAsync();
  });

  test('is let in at the listener of the devices with an access token, and not without', async () => {
    const url = plain.broker.running.addresses.mqtt;
    const { body } = await plain.broker.admin('POST', '/admin/access', {
      name: 'anna',
      scopes: ['mqtt'],
    });
    const { token } = body as { readonly token: string };
    for (const username of ['anna', 'token']) {
      const client = await open(url, { username, password: token });
      await client.publishAsync(fresh(), 'x', { qos: 1 });
      await client.endAsync();
    }
    await expect(open(url, { username: 'bert', password: token })).rejects.toMatchObject({
      code: 4,
    });
    await expect(open(url, { username: 'anna', password: `${token}x` })).rejects.toMatchObject({
      code: 4,
    });
    await expect(open(url)).rejects.toMatchObject({ code: 4 });
  });

  test('is sent away when its access token is revoked', async () => {
    const { broker } = plain;
    const { body } = await broker.admin('POST', '/admin/access', {
      name: 'dora',
      scopes: ['mqtt'],
    });
    const { token, access } = body as {
      readonly token: string;
      readonly access: { readonly hash: string };
    };
    const url = broker.running.addresses.mqtt;
    const client = await open(url, { username: 'dora', password: token });
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    expect((await broker.admin('DELETE', `/admin/access/${access.hash}`)).status).toBe(200);
    broker.running.plain.sweep();
    await closed;
    expect(broker.running.status().mqtt.refused['access token']).toBe(1);
  });

  test('a client id belongs to the login that began its session', async () => {
    const options = { clientId: 'mine', clean: false } as const;
    const client = await open(plain.url, options);
    const { body } = await plain.broker.admin('POST', '/admin/access', {
      name: 'carl',
      scopes: ['mqtt'],
    });
    const { token } = body as { readonly token: string };
    const login = { username: 'carl', password: token };
    await expect(open(plain.url, { ...options, ...login })).rejects.toMatchObject({ code: 2 });
    await client.endAsync();
  });
});

describeWith(['mosquitto_pub', 'mosquitto_sub', 'mosquitto_rr'], 'the clients of Mosquitto', () => {
  const common = () => ['-h', '127.0.0.1', '-p', new URL(plain.url).port, '-V', 'mqttv311'];

  test.each([0, 1, 2])('a retained message of QoS %i is published and read', async (qos) => {
    const topic = fresh();
    const quality = ['-q', String(qos), '-t', topic];
    const publish = findService('mosquitto_pub')!;
    await run(publish, [...common(), ...quality, '-r', '-m', 'kept']);
    const read = [...common(), ...quality, '-C', '1', '-W', '20', '-F', '%r %q %p'];
    const { stdout } = await run(findService('mosquitto_sub')!, read);
    expect(stdout.trim()).toBe(`1 ${qos} kept`);
    await run(publish, [...common(), ...quality, '-r', '-n']);
  });

  test.each(['mqttv31', 'mqttv5'])('[MQTT-3.1.2-2] %s is refused', async (version) => {
    const { port } = new URL(plain.url);
    const options = ['-h', '127.0.0.1', '-p', port, '-V', version, '-t', fresh(), '-m', 'x'];
    await expect(run(findService('mosquitto_pub')!, options)).rejects.toMatchObject({
      stderr: expect.stringMatching(/protocol version/i),
    });
  });

  test('200,000 bytes of QoS 2 come as they were sent, to a kept session as well', async () => {
    const topic = fresh();
    const keep = [...common(), '-i', topic, '-c', '-q', '2', '-t', topic];
    const subscribe = findService('mosquitto_sub')!;
    await run(subscribe, [...keep, '-E']);
    const text = 'x'.repeat(200_000);
    const publish = spawn(findService('mosquitto_pub')!, [
      ...common(),
      ...['-q', '2', '-t', topic, '-s'],
    ]);
    publish.stdin.end(text);
    await new Promise((resolve) => publish.once('close', resolve));
    const { stdout } = await run(subscribe, [...keep, '-N', '-C', '1', '-W', '20']);
    expect(stdout === text).toBe(true);
  });

  test('what a kept session missed is there when mosquitto_sub comes back', async () => {
    const topic = fresh();
    const keep = ['-i', topic, '-c', '-q', '1', '-t', topic];
    const subscribe = findService('mosquitto_sub')!;
    await run(subscribe, [...common(), ...keep, '-E']);
    for (const text of ['a', 'b']) {
      await run(findService('mosquitto_pub')!, [...common(), '-q', '1', '-t', topic, '-m', text]);
    }
    const { stdout } = await run(subscribe, [...common(), ...keep, '-C', '2', '-W', '20']);
    expect(stdout).toBe('a\nb\n');
  });

  test('mosquitto_rr gets the answer to its request', async () => {
    const topic = fresh();
    const responder = await plain.client();
    await responder.subscribe([`${topic}/request`, 1]);
    const answer = run(findService('mosquitto_rr')!, [
      ...common(),
      ...['-q', '1', '-t', `${topic}/request`, '-e', `${topic}/answer`, '-m', 'ask', '-W', '20'],
    ]);
    expect(String((await responder.next('publish')).payload)).toBe('ask');
    await responder.publish(`${topic}/answer`, 'told', { qos: 1 });
    expect((await answer).stdout.trim()).toBe('told');
  });

  test('the will of a mosquitto_sub that is killed is published', async () => {
    const topic = fresh();
    const reader = await plain.client();
    await reader.subscribe([`${topic}/#`, 1]);
    const { online } = plain.status();
    const child = spawn(findService('mosquitto_sub')!, [
      ...common(),
      ...['-t', `${topic}/x`, '--will-topic', `${topic}/will`, '--will-payload', 'gone'],
    ]);
    while (plain.status().online <= online) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGKILL');
    expect(await reader.next('publish')).toMatchObject({ topic: `${topic}/will` });
  });
});
