/** When a connection is read, without sockets: streams that record what they are told. */

import { Duplex } from 'node:stream';
import { BackPressure, MESSAGE_COST_BYTES } from '@fieldproof/broker/mqtt/back-pressure';
import { describe, expect, test } from '@jest/globals';

const COST = MESSAGE_COST_BYTES;
const LIMITS = { maxPendingBytes: 10 * COST, maxInFlightBytes: 8 * COST, maxInFlight: 3 };

/** A connection that counts how often it is told to read, and takes what is written when the test says so. */
class Fake extends Duplex {
  told = 0;
  private callback: (() => void) | null = null;

  constructor() {
    super({ writableHighWaterMark: 16 });
    this.on('readable', () => {
      this.told += 1;
    });
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    this.callback = done;
  }

  drain(): void {
    this.callback?.();
  }
}

const connection = () => new Fake();
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('one connection', () => {
  test('is held from its limit of messages on, until one is settled', () => {
    const pressure = new BackPressure(LIMITS);
    const a = connection();
    const b = connection();
    const leave = [1, 2, 3].map(() => pressure.enter(a, 0));
    expect(pressure.holds(a)).toBe(true);
    expect(pressure.holds(b)).toBe(false);
    leave[0]!();
    expect(pressure.holds(a)).toBe(false);
  });

  test('is held from its limit of bytes on', () => {
    const pressure = new BackPressure(LIMITS);
    const a = connection();
    const leave = pressure.enter(a, 7 * COST);
    expect(pressure.holds(a)).toBe(true);
    leave();
    expect(pressure.holds(a)).toBe(false);
    expect(pressure.pendingBytes).toBe(0);
  });

  test('is held while it takes nothing of what was written to it, and told when it has', async () => {
    const pressure = new BackPressure(LIMITS);
    const a = connection();
    a.write('0123456789abcdef');
    expect(pressure.holds(a)).toBe(true);
    expect(pressure.holds(a)).toBe(true);
    a.drain();
    await turn();
    expect(a.told).toBe(1);
    expect(pressure.holds(a)).toBe(false);
  });
});

describe('all connections', () => {
  test('are held from the limit for all on, and told in the order in which they came', async () => {
    const pressure = new BackPressure(LIMITS);
    const [a, b, c] = [connection(), connection(), connection()];
    const leave = [pressure.enter(a, 4 * COST), pressure.enter(b, 4 * COST)];
    for (const each of [c, b]) expect(pressure.holds(each)).toBe(true);
    expect(pressure.pausedConnections).toBe(2);
    // What the first one reads is too much again: the second one waits.
    c.prependListener('readable', () => pressure.enter(c, 6 * COST));
    leave[0]!();
    await turn();
    expect([c.told, b.told]).toEqual([1, 0]);
    expect(pressure.pausedConnections).toBe(1);
    leave[1]!();
    await turn();
    expect(b.told).toBe(1);
    expect(pressure.pausedConnections).toBe(0);
  });

  test('one that ends while it is held is forgotten', async () => {
    const pressure = new BackPressure(LIMITS);
    const [a, b] = [connection(), connection()];
    pressure.enter(a, 9 * COST);
    expect(pressure.holds(b)).toBe(true);
    b.destroy();
    await turn();
    expect(pressure.pausedConnections).toBe(0);
  });
});
