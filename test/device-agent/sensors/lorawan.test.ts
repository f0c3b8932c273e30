import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { metricsOf } from '@fieldproof/device-agent/sensors/lorawan-metrics';
import { decodeChirpstack, decodeTtn } from '@fieldproof/device-agent/sensors/lorawan-uplink';
import type { RejectReason, Sample } from '@fieldproof/device-agent/sensors/sensor';
import { isMetric } from '@fieldproof/protocol/readings-sink';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Aedes } from 'aedes';
import { type MqttServer, startMqttServer } from '../../support/mqtt-server.ts';
import { fakeClock, until } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

interface Vector {
  readonly topic: string;
  readonly payload: Record<string, unknown>;
  readonly expect: Record<string, string | number>;
}

const vectors = JSON.parse(
  await readFile(new URL('../../vectors/uplinks/lorawan.json', import.meta.url), 'utf8'),
) as Record<'chirpstack' | 'tts', Vector[]>;
const cases = [
  ...vectors.chirpstack.map((vector) => ['chirpstack', vector] as const),
  ...vectors.tts.map((vector) => ['ttn', vector] as const),
];

describe('LoRaWAN uplinks', () => {
  let server: MqttServer;
  let broker: Aedes;
  let url: string;
  let dataDir: string;
  let rejects: [RejectReason, string][];
  let got: Sample[];
  let stop: AbortController;
  let run: Promise<unknown> | undefined;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'agent-lorawan-'));
    server = await startMqttServer();
    ({ broker, url } = server);
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

  /** Ten minutes after the uplinks of the vectors. */
  const NOW = Date.parse('2026-11-20T10:25:30Z');

  async function open(driver: string, more: object = {}, nowMs = NOW) {
    const clock = fakeClock(nowMs);
    const keys = { url, ...more };
    const sensor = await createSensor({ driver, keys, clock, dataDir, rejects });
    if (sensor.kind !== 'push') throw new Error('expected a push sensor');
    const subscribed = new Promise<void>((resolve) => broker.once('subscribe', () => resolve()));
    run = sensor.run((sample) => got.push(sample), stop.signal);
    await subscribed;
    return sensor;
  }
  const publish = (topic: string, payload: unknown) =>
    new Promise<void>((resolve) =>
      broker.publish(
        {
          cmd: 'publish',
          topic,
          payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
          qos: 0,
          retain: false,
          dup: false,
        },
        () => resolve(),
      ),
    );

  test.each(cases)(
    '%s: readings under the name of the node, at its time: %#',
    async (driver, vector) => {
      const sensor = await open(driver);
      await publish(vector.topic, vector.payload);
      await until(() => got.length === 1, 'the uplink');
      const { temperature_Cel, humidity_RH, devEui, device_id, time } = vector.expect;
      const node = `node:${devEui ?? device_id}`;
      expect(got[0]?.readings).toEqual([
        { metric: `${node}/temperature_1`, value: temperature_Cel },
        { metric: `${node}/humidity_2`, value: humidity_RH },
      ]);
      expect(sensor.metrics.map(({ unit }) => unit)).toEqual(['Cel', '%RH']);
      expect(sensor.metrics.every(({ metric }) => isMetric(metric))).toBe(true);
      expect(got[0]!.bootMs + NOW).toBeCloseTo(Date.parse(String(time)), -1);
      expect(rejects).toEqual([]);
    },
  );

  test.each([
    ['from the future', Date.parse('2026-11-20T10:15:00Z')],
    ['older than maxAgeMs', Date.parse('2026-11-20T12:15:00Z')],
  ])('an uplink %s has the time at which it was heard', async (_, nowMs) => {
    await open('chirpstack', {}, nowMs);
    await publish(vectors.chirpstack[0]!.topic, vectors.chirpstack[0]!.payload);
    await until(() => got.length === 1, 'the uplink');
    expect(got[0]?.bootMs).toBe(0);
  });

  test('fields can be named; nodes that are not named are left out', async () => {
    const { topic, payload } = vectors.chirpstack[0]!;
    const metrics = [
      { path: 'temperatureSensor["1"]', metric: 'roof', unit: 'Cel', resolution: 0.1 },
      { path: 'no.such', metric: 'none' },
    ];
    await open('chirpstack', { metrics, nodes: ['2F1A06934BB83711'] });
    await publish(vectors.chirpstack[1]!.topic, vectors.chirpstack[1]!.payload);
    await publish(topic, payload);
    await until(() => got.length === 1, 'the uplink');
    expect(got[0]?.readings).toEqual([{ metric: 'node:2f1a06934bb83711/roof', value: 21.5 }]);
  });

  test('what is no uplink is counted, and the next one is taken', async () => {
    await open('chirpstack');
    const { topic, payload } = vectors.chirpstack[0]!;
    await publish(topic, '{"deviceInfo":');
    await publish(topic, { ...payload, deviceInfo: {} });
    await publish(topic, { ...payload, deviceInfo: { devEui: '../../etc/passwd' } });
    await publish(topic, { ...payload, object: { temperatureSensor: { 1: '21', x: 2 } } });
    await publish(topic, { ...payload, object: undefined });
    await publish(topic, [1, 2]);
    await publish(topic, payload);
    await until(() => got.length === 1, 'the good one');
    expect(rejects.map(([why]) => why)).toEqual([
      'malformed',
      'malformed',
      'malformed',
      'wrong-type',
      'wrong-type',
      'malformed',
    ]);
  });

  test('ever new nodes do not grow the memory: 256 metrics are the most', async () => {
    const sensor = await open('chirpstack');
    const { topic, payload } = vectors.chirpstack[0]!;
    for (let at = 0; at < 130; at += 1) {
      const devEui = at.toString(16).padStart(16, '0');
      await publish(topic, { ...payload, deviceInfo: { devEui } });
    }
    await until(() => rejects.length === 4, 'the refusals');
    expect(sensor.metrics).toHaveLength(256);
    expect(new Set(rejects.map(([why]) => why))).toEqual(new Set(['too-many-metrics']));
  });
});

describe('uplink decoders', () => {
  test.each(cases)(
    '%s: every member that is left out or of another type is no crash: %#',
    (server, vector) => {
      const decode = server === 'ttn' ? decodeTtn : decodeChirpstack;
      const corrupt = (value: unknown): unknown[] => {
        if (typeof value !== 'object' || value === null) return [];
        return Object.entries(value).flatMap(([key, inner]) =>
          [undefined, null, 7, 'x', [], {}, true, ...corrupt(inner)].map((other) => ({
            ...value,
            [key]: other,
          })),
        );
      };
      for (const document of [null, 1, 'x', [], {}, ...corrupt(vector.payload)]) {
        const uplink = decode(document);
        for (const { value } of metricsOf(uplink?.decoded, [], () => {})) {
          expect(typeof value).toBe('number');
        }
      }
    },
  );
});
