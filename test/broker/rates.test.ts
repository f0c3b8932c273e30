import { type Rated, Rates } from '@fieldproof/broker/gate/rates';
import { PacketGuard } from '@fieldproof/broker/mqtt/guard';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const LIMITS = {
  deviceMessagesPerSecond: 10,
  deviceBytesPerSecond: 1000,
  ownerMessagesPerSecond: 15,
};
const LIFTED = { deviceMessagesPerSecond: 0, deviceBytesPerSecond: 0, ownerMessagesPerSecond: 0 };

function ratesOf(limits: Partial<typeof LIMITS> = {}) {
  const clock = { ms: 1_000_000 };
  const rates = new Rates(
    { ...LIFTED, ...limits },
    { ownerOf: (deviceId) => deviceId.split('/')[0] ?? null, now: () => clock.ms },
  );
  return { clock, rates };
}

/** How many of `count` messages pass. */
function passing(rates: Rates, rated: Rated, { count, bytes = 1 }: Record<string, number>): number {
  let passed = 0;
  for (let i = 0; i < count!; i++) if (rates.take(rated, bytes) === null) passed += 1;
  return passed;
}

describe('the rate of a device', () => {
  test('passes ten seconds of it at once, then as much as comes back', () => {
    const { rates, clock } = ratesOf({ deviceMessagesPerSecond: 10 });
    const device = { deviceId: 'a/1' };
    expect(passing(rates, device, { count: 150 })).toBe(100);
    clock.ms += 500;
    expect(passing(rates, device, { count: 150 })).toBe(5);
    clock.ms += 3_600_000;
    expect(passing(rates, device, { count: 150 })).toBe(100);
  });

  test('never passes more than burst and rate allow, whatever is sent when', () => {
    const step = fc.record({ count: fc.nat(40), waitMs: fc.nat(3000) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { rates, clock } = ratesOf({ deviceMessagesPerSecond: 10 });
        const device = { deviceId: 'a/1' };
        const start = clock.ms;
        let passed = 0;
        for (const { count, waitMs } of steps) {
          clock.ms += waitMs;
          passed += passing(rates, device, { count });
          expect(passed).toBeLessThanOrEqual(100 + (10 * (clock.ms - start)) / 1000 + 1e-6);
        }
      }),
    );
  });

  test('a refusal says when a second of the rate is back, and then it is', () => {
    const { rates, clock } = ratesOf({ deviceMessagesPerSecond: 10 });
    const device = { deviceId: 'a/1' };
    passing(rates, device, { count: 100 });
    const refusal = rates.take(device, 1);
    expect(refusal).toMatchObject({ code: 'ERR_RATE_DEVICE', retryAfterMs: 1100 });
    clock.ms += refusal!.retryAfterMs;
    expect(passing(rates, device, { count: 50 })).toBe(11);
  });

  test('bytes: a message larger than the burst passes, and the next waits until it is paid for', () => {
    const { rates, clock } = ratesOf({ deviceBytesPerSecond: 1000 });
    const device = { deviceId: 'a/1' };
    expect(rates.take(device, 60_000)).toBeNull();
    expect(rates.take(device, 1)).toMatchObject({ code: 'ERR_RATE_DEVICE', retryAfterMs: 45_000 });
    expect(rates.allowance(device)).toBeGreaterThan(0);
    clock.ms += 44_001;
    expect(rates.take(device, 1)).toBeNull();
  });

  test('a tenth of it may be refused for what it is, then nothing is read; nobody waits longer than ten seconds', () => {
    const { rates, clock } = ratesOf({ deviceMessagesPerSecond: 100 });
    const [forger, other] = [{ deviceId: 'a/1' }, { deviceId: 'a/2' }];
    for (let n = 0; n < 10; n++) rates.refused(forger);
    expect(rates.allowance(forger)).toBeGreaterThan(0);
    rates.refused(forger);
    expect(rates.allowance(forger)).toBe(0);
    clock.ms += 100;
    expect(rates.allowance(forger)).toBeGreaterThan(0);
    for (let n = 0; n < 1000; n++) rates.refused(forger);
    clock.ms += 9900;
    expect(rates.allowance(forger)).toBe(0);
    clock.ms += 101;
    expect(rates.allowance(forger)).toBeGreaterThan(0);
    expect(passing(rates, other, { count: 1000 })).toBe(1000);
  });

  test('for the rate of its owner a refused message counts as ten', () => {
    const { rates } = ratesOf({ ownerMessagesPerSecond: 20 });
    for (let n = 0; n < 10; n++) {
      expect(rates.take({ deviceId: 'a/1' }, 1)).toBeNull();
      rates.refused({ deviceId: 'a/1' });
    }
    expect(passing(rates, { deviceId: 'a/2' }, { count: 200 })).toBe(100);
  });

  test('a limit that is lifted is not lowered by refusals', () => {
    const { rates } = ratesOf();
    const device = { deviceId: 'a/1' };
    for (let n = 0; n < 100; n++) rates.refused(device);
    expect(passing(rates, device, { count: 50 })).toBe(50);
    expect(rates.allowance(device)).toBe(Number.POSITIVE_INFINITY);
  });

  test('a new connection finds the bucket of the one before; another device has its own', () => {
    const { rates } = ratesOf({ deviceMessagesPerSecond: 10 });
    passing(rates, { deviceId: 'a/1' }, { count: 100 });
    expect(rates.take({ deviceId: 'a/1' }, 1)).not.toBeNull();
    expect(rates.take({ deviceId: 'a/2' }, 1)).toBeNull();
  });

  test('packets that are no messages take of it, and have no verdict', () => {
    const { rates } = ratesOf({ deviceMessagesPerSecond: 10 });
    const device = { deviceId: 'a/1' };
    rates.spend(device, 90);
    expect(passing(rates, device, { count: 50 })).toBe(10);
  });

  test('a clock that is set back gives nothing and takes nothing', () => {
    const { rates, clock } = ratesOf({ deviceMessagesPerSecond: 10 });
    const device = { deviceId: 'a/1' };
    passing(rates, device, { count: 100 });
    clock.ms -= 60_000;
    expect(rates.take(device, 1)).toMatchObject({ retryAfterMs: 1100 });
    clock.ms += 1000;
    expect(passing(rates, device, { count: 50 })).toBe(10);
  });

  test('0 lifts every limit', () => {
    const { rates } = ratesOf();
    expect(passing(rates, { deviceId: 'a/1' }, { count: 20_000, bytes: 1e9 })).toBe(20_000);
    expect(rates.allowance({ deviceId: 'a/1' })).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('the rate of an owner', () => {
  test('is that of all devices of one owner, and of no other', () => {
    const { rates } = ratesOf({ ownerMessagesPerSecond: 15 });
    expect(passing(rates, { deviceId: 'a/1' }, { count: 100 })).toBe(100);
    expect(passing(rates, { deviceId: 'a/2' }, { count: 100 })).toBe(50);
    expect(rates.take({ deviceId: 'a/3' }, 1)).toMatchObject({ code: 'ERR_RATE_OWNER' });
    expect(rates.take({ deviceId: 'b/1' }, 1)).toBeNull();
  });

  test('follows a device to its new owner', () => {
    let owner = 'a';
    const limits = { ...LIFTED, ownerMessagesPerSecond: 1 };
    const rates = new Rates(limits, { ownerOf: () => owner, now: () => 0 });
    const device = { deviceId: '1' };
    expect(passing(rates, device, { count: 20 })).toBe(10);
    owner = 'b';
    expect(passing(rates, device, { count: 20 })).toBe(10);
  });
});

describe('what is read of a flood', () => {
  test('what passes and ten refusals a second, then nothing until the rate is back', () => {
    const { rates, clock } = ratesOf({ deviceMessagesPerSecond: 10 });
    const device = { deviceId: 'a/1' };
    expect(rates.allowance(device)).toBe(110);
    expect(passing(rates, device, { count: 110 })).toBe(100);
    expect(rates.allowance(device)).toBe(0);
    clock.ms += 1000;
    expect(rates.allowance(device)).toBe(20);
  });

  test('refusals of all devices together are bounded too', () => {
    const { rates, clock } = ratesOf({ deviceMessagesPerSecond: 1 });
    let refused = 0;
    const flood = () => {
      for (let i = 0; i < 500; i++) {
        const device = { deviceId: `owner/${i}` };
        for (let left = rates.allowance(device); left > 0; left--) {
          if (rates.take(device, 1) !== null) refused += 1;
        }
      }
    };
    flood();
    expect(refused).toBe(1000);
    clock.ms += 1000;
    flood();
    expect(refused).toBe(1200);
  });
});

describe('the guard', () => {
  const CONNECT = Buffer.from('101100044d5154540402003c000570726f6265', 'hex');
  const PUBLISH = Buffer.from('3004000161aa', 'hex');
  const PING = Buffer.from('c000', 'hex');

  test('hands on as many packets as it is allowed, in their order, and keeps the others', () => {
    const guard = new PacketGuard({ maxConnectBytes: 512, maxPacketBytes: 1024 });
    guard.push(CONNECT);
    guard.takeOthers();
    const half = PUBLISH.subarray(0, 3);
    expect(guard.push(Buffer.concat([PUBLISH, PING, PUBLISH, half]), 2)).toEqual(
      Buffer.concat([PUBLISH, PING]),
    );
    expect(guard.isWaiting).toBe(true);
    expect(guard.takeOthers()).toBe(1);
    expect(guard.push(Buffer.alloc(0), 0)).toBeNull();
    expect(guard.isWaiting).toBe(true);
    expect(guard.push(Buffer.alloc(0), 9)).toEqual(PUBLISH);
    expect(guard.isWaiting).toBe(false);
    expect(guard.push(PUBLISH.subarray(3), 9)).toEqual(PUBLISH);
    expect(guard.takeOthers()).toBe(0);
  });

  test('what it keeps is checked when its turn comes', () => {
    const guard = new PacketGuard({ maxConnectBytes: 512, maxPacketBytes: 1024 });
    guard.push(CONNECT);
    const bad = Buffer.from('c100', 'hex');
    expect(guard.push(Buffer.concat([PUBLISH, bad]), 1)).toEqual(PUBLISH);
    expect(guard.push(Buffer.alloc(0), 1)).toEqual({ clause: 'MQTT-2.2.2-2' });
  });
});
