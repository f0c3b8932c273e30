import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import type { TestDevice } from './support/device.ts';

let broker: TestBroker;
let device: TestDevice;

beforeAll(async () => {
  broker = await startTestBroker();
  device = await broker.device();
});
afterAll(() => broker.close());

async function shown(): Promise<Record<string, unknown>> {
  const { body } = await broker.admin('GET', `/admin/devices/${device.id}`);
  return body as Record<string, unknown>;
}

test('a device that was never heard has declared nothing', async () => {
  expect(await shown()).toMatchObject({ lastSeenMs: null, profiles: {} });
});

test('after a birth the operator sees units and when the device was heard', async () => {
  await device.connect();
  const before = Date.now();
  await device.publish('birth', device.seal({ kind: 'birth' }));
  const view = await shown();
  expect(view.lastSeenMs).toBeGreaterThanOrEqual(before);
  expect(view.profiles).toEqual({ air: [{ metric: 'temp', unit: 'Cel' }] });
});

test('units are known after a restart, before the device comes back', async () => {
  const { profiles } = await shown();
  await broker.restart();
  expect(await shown()).toMatchObject({ lastSeenMs: null, profiles });
});
