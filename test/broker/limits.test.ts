import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Flooder } from '../pressure/support/flooder.ts';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type TestDevice, until } from './support/device.ts';

describe('rates', () => {
  const RATE = 50;
  const BURST = 10 * RATE;
  let broker: TestBroker;
  const clock = { ms: Date.now() };

  beforeAll(async () => {
    broker = await startTestBroker(
      { deviceMessagesPerSecond: RATE, deviceBytesPerSecond: 0, ownerMessagesPerSecond: 0 },
      { now: () => clock.ms },
    );
  });

  afterAll(() => broker.close());

  const status = () => broker.running.status();

  /** A device and as many envelopes of it, signed. */
  async function deviceWith(count: number): Promise<[TestDevice, Uint8Array[]]> {
    const device = await broker.device();
    return [device, Array.from({ length: count }, () => device.seal({ kind: 'event' }))];
  }

  test('a flood has its burst accepted, few signed rejects, and waits in its connection; others go on', async () => {
    const [device, envelopes] = await deviceWith(BURST + 200);
    const [other, [one]] = await deviceWith(1);
    await device.connect();
    await other.connect();
    const before = status().verdicts;
    const published = Promise.all(envelopes.map((each) => device.publish('event', each)));
    await until(() => status().mqtt.overRate === 1, 'the connection is left unread');
    const flooded = status().verdicts;
    // The clock stands: what its login and acknowledgements took is missing from the burst.
    expect(flooded.accepted - before.accepted).toBeGreaterThan(BURST - 30);
    expect(flooded.accepted - before.accepted).toBeLessThanOrEqual(BURST);
    await until(() => device.rejects.length >= 10, 'rejects');
    expect(flooded.rejectedByCode.ERR_RATE_DEVICE).toBe(10);
    expect(device.rejects).toHaveLength(10);
    for (const reject of device.rejects) {
      expect(reject).toMatchObject({
        code: 'ERR_RATE_DEVICE',
        permanent: false,
        boot: null,
        seq: null,
      });
      expect(reject.retryAfterMs).toBeGreaterThanOrEqual(1000);
    }
    await other.publish('event', one!);
    // Bit by bit the rate comes back: all have their verdict, in their order.
    const timer = setInterval(() => {
      clock.ms += 100;
    }, 1);
    await published;
    await until(() => status().mqtt.overRate === 0, 'it is read again');
    clearInterval(timer);
    const { received, accepted, duplicate, rejected, inFlight } = status().verdicts;
    expect(received - before.received).toBe(envelopes.length + 1);
    expect(received).toBe(accepted + duplicate + rejected);
    expect(inFlight).toBe(0);
    expect(status().mqtt.pendingBytes).toBe(0);
  });

  test('what was refused is accepted when it is sent again after retryAfterMs', async () => {
    const [device, envelopes] = await deviceWith(BURST + 5);
    await device.connect();
    const before = status().verdicts;
    await Promise.all(envelopes.map((each) => device.publish('event', each)));
    await until(() => device.rejects.length > 0, 'rejects');
    const refused = device.rejects.length;
    clock.ms += Math.max(...device.rejects.map(({ retryAfterMs }) => retryAfterMs!));
    for (const envelope of envelopes.slice(-refused)) await device.publish('event', envelope);
    const after = status().verdicts;
    expect(after.accepted - before.accepted).toBe(envelopes.length);
    expect(after.duplicate).toBe(before.duplicate);
  });

  test('a flood of packets that are no messages is left unread as well', async () => {
    const device = await broker.device();
    const flooder = await Flooder.open(device);
    flooder.socket.write(Buffer.from('c000'.repeat(2 * BURST), 'hex'));
    await until(() => status().mqtt.overRate === 1, 'the connection is left unread');
    flooder.close();
    await until(() => status().mqtt.overRate === 0, 'a connection that ended is forgotten');
  });
});
