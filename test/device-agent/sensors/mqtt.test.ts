import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packetGuard } from '@fieldproof/device-agent/sensors/mqtt-packet-guard';
import type { Reading, RejectReason } from '@fieldproof/device-agent/sensors/sensor';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Aedes } from 'aedes';
import { type MqttServer, startMqttServer } from '../../support/mqtt-server.ts';
import { fakeClock, until } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

const TOPICS = [
  {
    topic: 'zigbee2mqtt/kitchen',
    metrics: [
      { path: 'temperature', metric: 'temperature', unit: 'Cel' },
      { path: 'contact', metric: 'contact', type: 'boolean' },
      { path: 'battery', metric: 'battery', unit: '%EL' },
    ],
  },
  {
    topic: 'tele/plug/SENSOR',
    metrics: [
      { path: 'ENERGY.Power', metric: 'power', unit: 'W' },
      { path: '["DS18B20-1"].Temperature', metric: 'probe', unit: 'Cel' },
    ],
  },
  { topic: 'desk/sensor/co2/state', metrics: [{ metric: 'co2', unit: 'ppm' }] },
  { topic: 'desk/json', metrics: [{ path: 'v[0]', metric: 'json' }] },
];

describe('the mqtt sensor', () => {
  let server: MqttServer;
  let broker: Aedes;
  let url: string;
  let dataDir: string;
  let rejects: [RejectReason, string][];
  let got: Reading[];
  let stop: AbortController;
  let run: Promise<unknown> | undefined;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'agent-mqtt-'));
    await writeFile(join(dataDir, 'password'), 'hush\n');
    server = await startMqttServer();
    ({ broker, url } = server);
    broker.authenticate = (_client, user, password, done) =>
      done(
        null,
        user === undefined || user === '' || (user === 'me' && String(password) === 'hush'),
      );
    broker.authorizeSubscribe = (_client, packet, done) =>
      done(null, packet.topic === 'forbidden' ? null : packet);
  });
  beforeEach(() => {
    rejects = [];
    got = [];
    stop = new AbortController();
  });
  afterEach(async () => {
    stop.abort();
    await run;
  });
  afterAll(async () => {
    await server.close();
    await rm(dataDir, { recursive: true });
  });

  async function open(more: object = {}, ready = true) {
    const keys = { url, topics: TOPICS, ...more };
    const sensor = await createSensor({
      driver: 'mqtt',
      keys,
      clock: fakeClock(),
      dataDir,
      rejects,
    });
    if (sensor.kind !== 'push') throw new Error('expected a push sensor');
    const subscribed = new Promise<void>((resolve) => broker.once('subscribe', () => resolve()));
    run = sensor
      .run(({ readings }) => got.push(...readings), stop.signal)
      .then(
        () => 'ended',
        (error: unknown) => error,
      );
    if (ready) await subscribed;
    return sensor;
  }
  const publish = (topic: string, payload: unknown, retain = false) =>
    new Promise<void>((resolve) =>
      broker.publish(
        {
          cmd: 'publish',
          topic,
          payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
          qos: 0,
          retain,
          dup: false,
        },
        () => resolve(),
      ),
    );

  test('takes zigbee2mqtt, Tasmota and ESPHome messages', async () => {
    await open();
    await publish('zigbee2mqtt/kitchen', {
      battery: 97,
      contact: false,
      linkquality: 120,
      temperature: 21.37,
      voltage: null,
    });
    await publish('tele/plug/SENSOR', {
      Time: '2026-11-20T10:15:30',
      ENERGY: { TotalStartTime: '2026-01-01T00:00:00', Total: 3.2, Power: 61, Voltage: 230 },
      'DS18B20-1': { Id: '0316A2791234', Temperature: 19.4 },
      TempUnit: 'C',
    });
    await publish('desk/sensor/co2/state', '641.0');
    await publish('desk/json', '{"v":[1.5]}');
    await until(() => got.length === 7, 'readings');
    expect(got).toEqual([
      { metric: 'temperature', value: 21.37 },
      { metric: 'contact', value: false },
      { metric: 'battery', value: 97 },
      { metric: 'power', value: 61 },
      { metric: 'probe', value: 19.4 },
      { metric: 'co2', value: 641 },
      { metric: 'json', value: 1.5 },
    ]);
    expect(rejects).toEqual([]);
  });

  test('what cannot be used is counted, and the next message is taken', async () => {
    await open();
    await publish('desk/sensor/co2/state', 'nan');
    await publish('desk/json', '{"v":');
    await publish('zigbee2mqtt/kitchen', { temperature: [], contact: 'maybe' });
    await publish('desk/json', `{"x":"${'y'.repeat(70_000)}"}`);
    await publish('desk/sensor/co2/state', '700');
    await until(() => got.length === 1, 'the good one');
    expect(rejects.map(([why]) => why)).toEqual([
      'not-a-number',
      'malformed',
      'wrong-type',
      'wrong-type',
      'too-long',
    ]);
  });

  test('a packet that announces hundreds of megabytes ends the connection', async () => {
    await open();
    for (const socket of server.sockets)
      if (!socket.destroyed) socket.write(Buffer.from('30ffffff7f', 'hex'));
    expect(await run).toMatchObject({ code: 'ERR_AGENT_SENSOR' });
    expect(rejects.map(([why]) => why)).toEqual(['too-long']);
  });

  test('retained values, of nobody knows when, are taken only where that is wanted', async () => {
    await publish('desk/sensor/co2/state', '1', true);
    await open();
    await publish('desk/sensor/co2/state', '2');
    await until(() => got.length === 1, 'the new value');
    expect(got[0]?.value).toBe(2);
    stop.abort();
    expect(await run).toBe('ended');
    stop = new AbortController();
    await open({ retained: 'taken' });
    await until(() => got.length === 2, 'the retained value');
    expect(got[1]?.value).toBe(1);
    await publish('desk/sensor/co2/state', '', true);
  });

  test('logs in with a password from a file; a wrong one, a refused topic or nobody there fail', async () => {
    await open({ username: 'me', passwordFile: 'password' });
    stop.abort();
    expect(await run).toBe('ended');
    stop = new AbortController();
    await open({ username: 'you', passwordFile: 'password' }, false);
    expect(await run).toMatchObject({ code: 'ERR_AGENT_SENSOR' });
    expect(String(await run)).not.toContain('hush');
    await open({ topics: [{ topic: 'forbidden', metrics: [{ metric: 'a' }] }] }, false);
    expect(await run).toMatchObject({
      message: expect.stringMatching(/may not subscribe|Subscribe/),
    });
    await open({ url: 'mqtt://127.0.0.1:1' }, false);
    expect(await run).toMatchObject({ message: expect.stringContaining('ECONNREFUSED') });
  });

  test('a connection that ends is an error, so that the sampler comes back', async () => {
    await open();
    for (const socket of server.sockets) socket.destroy();
    expect(await run).toMatchObject({ code: 'ERR_AGENT_SENSOR' });
  });

  test.each([
    [{ topics: [] }, 'topics'],
    [{ topics: [{ topic: 'a/+', metrics: [{ metric: 'a' }] }] }, 'wildcards'],
    [{ topics: [{ topic: 'a', metrics: [{ metric: 'a' }, { metric: 'a' }] }] }, 'of its own'],
    [{ url: 'http://a' }, 'mqtt://'],
    [{ url: 'mqtt://user:pass@a' }, 'mqtt://'],
  ])('a configuration without sense is refused: %j', async (keys, word) => {
    await expect(open(keys, false)).rejects.toThrow(word);
  });
});

test('the guard follows packets across chunks however they are cut', () => {
  const good = Buffer.from(`20020000${'d000'}${'3003'}616263${'308001'}${'00'.repeat(128)}`, 'hex');
  const bad = Buffer.from('30818002', 'hex');
  for (let cut = 1; cut <= good.length; cut += 1) {
    const told: number[] = [];
    const watch = packetGuard(200, (bytes) => told.push(bytes));
    for (let at = 0; at < good.length; at += cut) watch(good.subarray(at, at + cut));
    expect(told).toEqual([]);
    watch(bad.subarray(0, 2));
    watch(bad.subarray(2));
    expect(told).toHaveLength(1);
  }
});
