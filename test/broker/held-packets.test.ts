/** What half-sent packets may cost. */

import { HeldPackets } from '@fieldproof/broker/mqtt/held-packets';
import { afterEach, describe, expect, test } from '@jest/globals';

let nowMs = 0;
let held: HeldPackets;

afterEach(() => held.stop());

function start(limits: { packetTimeoutMs?: number; maxHeldBytes?: number } = {}): void {
  nowMs = 0;
  held = new HeldPackets({ packetTimeoutMs: 1000, maxHeldBytes: 1000, ...limits }, () => nowMs);
}

function connect() {
  const connection = { readableLength: 0 };
  const ended: string[] = [];
  const holder = { connection, endHolder: (why: string) => void ended.push(why) };
  return {
    connection,
    ended,
    hold: (bytes: number, { isNew = false } = {}) => held.tell(holder, { bytes, isNew }),
  };
}

describe('time', () => {
  test('a packet that is not whole in time ends its connection, however often a byte of it comes', () => {
    start();
    const slow = connect();
    for (; nowMs <= 1000; nowMs += 100) {
      slow.hold(1 + nowMs / 100);
      held.endLate();
      expect(slow.ended).toEqual([]);
    }
    held.endLate();
    expect(slow.ended).toEqual(['packet not in time']);
    expect(held.bytes).toBe(0);
  });

  test('each packet has its own time', () => {
    start();
    const busy = connect();
    for (; nowMs < 5000; nowMs += 500) {
      busy.hold(10, { isNew: true });
      held.endLate();
    }
    expect(busy.ended).toEqual([]);
  });

  test('what was sent and not read yet is not late', () => {
    start();
    const device = connect();
    device.hold(10);
    nowMs = 1500;
    device.connection.readableLength = 5;
    held.endLate();
    nowMs = 2000;
    device.connection.readableLength = 0;
    held.endLate();
    expect(device.ended).toEqual([]);
    nowMs = 2600;
    held.endLate();
    expect(device.ended).toEqual(['packet not in time']);
  });
});

describe('bytes', () => {
  test('the largest holders go first, until an eighth is free', () => {
    start();
    const [small, large, middle] = [connect(), connect(), connect()];
    small.hold(100);
    large.hold(600);
    middle.hold(280);
    expect(held.bytes).toBe(980);
    small.hold(130);
    expect([small.ended, large.ended, middle.ended]).toEqual([[], ['held bytes'], []]);
    expect(held.bytes).toBe(410);
  });

  test('are counted once, whatever a connection holds one after the other', () => {
    start();
    const device = connect();
    for (const bytes of [10, 500, 20, 0, 0, 30]) device.hold(bytes);
    expect(held.bytes).toBe(30);
    device.hold(0);
    expect(held.bytes).toBe(0);
  });

  test('one that was ended and is told to hold nothing afterwards counts no second time', () => {
    start({ maxHeldBytes: 10 });
    const device = connect();
    device.hold(11);
    device.hold(0);
    expect([device.ended, held.bytes]).toEqual([['held bytes'], 0]);
  });
});
