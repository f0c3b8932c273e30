import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isFromHere } from '@fieldproof/broker/http/metrics-route';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import mqtt from 'mqtt';
import { findService, REPOSITORY } from '../../support/services.ts';
import { startTestBroker, type TestBroker } from '../support/broker.ts';
import { until } from '../support/device.ts';
import { readExposition } from '../support/exposition.ts';

let broker: TestBroker;

beforeAll(async () => {
  broker = await startTestBroker({
    verifierThreads: 1,
    lan: true,
    countersIntervalMs: 100,
    plainPort: 0,
  });
});

afterAll(async () => {
  await broker.close();
});

async function scrape(headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${broker.running.addresses.http}/metrics`, { headers });
}

async function families() {
  const response = await scrape();
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  return readExposition(await response.text());
}

describe('a scrape', () => {
  test('counts what devices sent and what became of it', async () => {
    const device = await broker.device();
    await device.connect();
    await device.publish('birth', device.seal({ kind: 'birth' }));
    const sent = device.seal();
    await device.publish('telemetry', sent);
    await device.publish('telemetry', sent);
    const altered = device.seal();
    altered[altered.length - 70] = altered[altered.length - 70]! ^ 1;
    await device.publish('telemetry', altered);
    await until(() => broker.running.status().evidence.published > 0);
    const found = await families();
    const value = (name: string, labels = '') =>
      found.get(`fieldproof_broker_${name}`)?.samples.get(labels);
    expect(value('messages_received_total')).toBe(4);
    expect(value('verdicts_total', '{verdict="accepted",code=""}')).toBe(2);
    expect(value('verdicts_total', '{verdict="duplicate",code=""}')).toBe(1);
    expect(value('verdicts_total', '{verdict="rejected",code="ERR_SIGNATURE_INVALID"}')).toBe(1);
    expect(value('messages_in_flight')).toBe(0);
    expect(value('mqtt_sessions')).toBe(1);
    expect(value('mqtt_pending_connections')).toBe(0);
    expect(value('mqtt_over_rate_connections')).toBe(0);
    expect(value('devices', '{standing="good"}')).toBe(1);
    expect(value('devices_online')).toBe(1);
    expect(value('verification_threads')).toBe(1);
    expect(value('verification_queue_length')).toBe(0);
    expect(value('receipts_sent_total')).toBeGreaterThan(0);
    expect(value('evidence_entries')).toBe(broker.running.status().evidence.entries);
    expect(value('evidence_commit_duration_seconds', '_count')).toBeGreaterThan(0);
    expect(value('evidence_fsync_duration_seconds', '_count')).toBeGreaterThan(0);
    expect(value('evidence_checkpoint_timestamp_seconds')).toBeGreaterThan(1e9);
    expect(value('evidence_writable')).toBe(1);
    expect(value('data_disk_free_bytes')).toBeGreaterThan(0);
    expect(value('certificate_expiry_timestamp_seconds', '{certificate="server"}')).toBeGreaterThan(
      Date.now() / 1000,
    );
    expect(found.get('process_resident_memory_bytes')?.samples.get('')).toBeGreaterThan(1e7);
  });

  test('counts what plain clients do, by code where it is refused', async () => {
    const client = await mqtt.connectAsync(broker.running.addresses.plain!, { protocolVersion: 4 });
    await client.subscribeAsync('kitchen/+');
    await client.publishAsync('kitchen/light', 'on', { qos: 1, retain: true });
    await client.publishAsync('fp/1/forged', 'no', { qos: 1 });
    const found = await families();
    const value = (name: string, labels = '') =>
      found.get(`fieldproof_broker_plain_${name}`)?.samples.get(labels);
    expect(value('connections')).toBe(1);
    expect(value('subscriptions')).toBe(1);
    expect(value('messages_received_total')).toBe(2);
    expect(value('messages_delivered_total')).toBe(1);
    expect(value('retained_messages')).toBeGreaterThan(0);
    expect(value('refused_total', '{code="ERR_PLAIN_FORBIDDEN"}')).toBe(1);
    await client.endAsync(true);
  });

  test('counts HTTP answers by route and never by what a client made up', async () => {
    await fetch(`${broker.running.addresses.http}/no/such/${Math.random()}`);
    await fetch(`${broker.running.addresses.http}/v1/entries/0`);
    const requests = (await families()).get('fieldproof_broker_http_requests_total')!.samples;
    expect(requests.get('{method="none",route="none",status="404"}')).toBe(1);
    expect(requests.get('{method="GET",route="/v1/entries/:index",status="401"}')).toBe(1);
    expect([...requests.keys()].join()).not.toContain('such');
  });

  test('names are those of the conventions: one prefix, base units, counters end in _total', async () => {
    for (const { name, type } of (await families()).values()) {
      expect(name).toMatch(/^(fieldproof_broker|process|nodejs)_[a-z0-9_]+$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      expect(name).not.toMatch(/_(ms|millis|kb|mb)(_|$)/);
    }
  });
});

test('the guide names every metric that there is, and no other', async () => {
  const guide = readFileSync(join(REPOSITORY, 'docs/guides/observability.md'), 'utf8');
  const named = [...guide.matchAll(/(?:fieldproof_broker|…)_([a-z0-9_]+)/g)].map(
    ([, name]) => name,
  );
  const scraped = [...(await families()).keys()]
    .filter((name) => name.startsWith('fieldproof_broker_'))
    .map((name) => name.slice('fieldproof_broker_'.length));
  expect(scraped.filter((name) => !named.includes(name))).toEqual([]);
  // Those of a webhook are there while one is set, a refusal when there was one.
  const missing = named.filter((name) => !scraped.includes(name!));
  expect(missing.filter((name) => !/^webhook_|^mqtt_refused_total$/.test(name!))).toEqual([]);
});

describe('who may scrape', () => {
  test('a proxy on this machine needs a token for those behind it', async () => {
    const refused = await scrape({ 'x-forwarded-for': '203.0.113.9' });
    expect(refused.status).toBe(401);
    expect(refused.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    const token = readFileSync(join(broker.dataDir, 'tokens/admin'), 'utf8').trim();
    const allowed = await scrape({
      'x-forwarded-for': '203.0.113.9',
      authorization: `Bearer ${token}`,
    });
    expect(allowed.status).toBe(200);
  });

  test.each([
    ['127.0.0.1', {}, true],
    ['::1', {}, true],
    ['::ffff:127.9.9.9', {}, true],
    ['192.0.2.1', {}, false],
    ['::ffff:192.0.2.1', {}, false],
    ['', {}, false],
    ['127.0.0.1', { forwarded: 'for=192.0.2.1' }, false],
    ['127.0.0.1', { via: '1.1 proxy' }, false],
  ])('%s %j is from here: %s', (remoteAddress, headers, expected) => {
    expect(isFromHere({ socket: { remoteAddress }, headers } as never)).toBe(expected);
  });
});

test('a plain client reads the same counters over MQTT, retained', async () => {
  const { addresses, network } = broker.running;
  const client = await mqtt.connectAsync(addresses.plain!, { protocolVersion: 4 });
  const seen = new Map<string, Record<string, unknown>>();
  client.on('message', (topic, payload) => seen.set(topic, JSON.parse(String(payload))));
  await client.subscribeAsync('$SYS/fieldproof/#');
  const subject = (name: string) => seen.get(`$SYS/fieldproof/${network}/${name}`);
  await until(() => seen.size === 4 && subject('verdicts')?.received === 4);
  expect(subject('verdicts')).toMatchObject({ accepted: 2, duplicate: 1, rejected: 1 });
  expect(subject('devices')).toMatchObject({ good: 1, online: 1, quarantinedBoots: 0 });
  expect(subject('evidence')).toMatchObject({ writable: true, problem: null });
  expect(subject('mqtt')).toHaveProperty('sessions', 1);
  await client.endAsync(true);
});

/** Beside the reader of our own, where it is at hand: it is a large package for one check. */
const promtool = findService('promtool');

(promtool === null ? test.skip : test)('promtool has nothing to say against a scrape', async () => {
  const text = await (await scrape()).text();
  expect(String(execFileSync(promtool!, ['check', 'metrics'], { input: text }))).toBe('');
});
