import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type TestDevice, until } from './support/device.ts';

let broker: TestBroker;
let device: TestDevice;

beforeEach(async () => {
  broker = await startTestBroker();
  device = await broker.device();
  await device.connect();
});

afterEach(async () => {
  await broker.close();
});

function verdicts() {
  return broker.running.status().verdicts;
}

describe('accepted', () => {
  test('an acknowledged envelope is in the log and a receipt settles it', async () => {
    const before = broker.running.status().evidence.entries;
    await device.publish('birth', device.seal({ kind: 'birth' }));
    await device.publish('telemetry', device.seal());
    // Birth, time anchor, telemetry.
    expect(broker.running.status().evidence.entries).toBe(before + 3);
    expect(verdicts()).toMatchObject({ received: 2, accepted: 2, duplicate: 0, rejected: 0 });
    await until(() => device.receipts.some((receipt) => receipt.boots[0]?.[2] === 1));
  });
});
