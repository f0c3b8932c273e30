/** A connection of the plain broker whose peer takes what it is sent slowly, or not at all; what its messages keep. */

import { Duplex } from 'node:stream';
import type { PlainArrival } from '@fieldproof/broker/mqtt/front-desk';
import { decodePackets } from '@fieldproof/broker/mqtt/plain/packets';
import { PlainClient } from '@fieldproof/broker/mqtt/plain/plain-client';
import { Unsent } from '@fieldproof/broker/mqtt/plain/unsent';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';

const DRAIN_MS = 1000;
const PIECE = Buffer.alloc(1000);
const LIMITS = {
  maxUnsentBytes: 1_000_000,
  plainMaxUnsentTotalBytes: 10_000_000,
  drainTimeoutMs: DRAIN_MS,
};

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
});
afterEach(() => {
  jest.useRealTimers();
});

/** What was written in one go is on its way after it. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function start() {
  const taking: (() => void)[] = [];
  const connection = new Duplex({
    writableHighWaterMark: 2000,
    read: () => {},
    write: (_bytes, _encoding, done) => void taking.push(done),
  });
  const closed: (string | null)[] = [];
  const client = new PlainClient(connection, {
    arrival: { connect: { keepAliveSeconds: 0 } } as PlainArrival,
    drainTimeoutMs: DRAIN_MS,
    unsent: new Unsent({ limits: LIMITS, now: Date.now, onFull: () => {} }),
    isHeld: () => false,
    onPacket: () => {},
    onRoom: () => {},
    onClosed: (reason) => void closed.push(reason),
  });
  client.start();
  /** The peer takes one piece. */
  const take = async () => {
    await turn();
    taking.shift()!();
    await turn();
  };
  return { connection, client, closed, take };
}

test('a reader that always has something to take stays while it takes some of it', async () => {
  const { client, closed, take } = start();
  for (let i = 0; i < 10; i++) client.write(PIECE);
  for (let i = 0; i < 8; i++) {
    await take();
    client.write(PIECE);
    jest.advanceTimersByTime(DRAIN_MS);
  }
  expect(closed).toEqual([]);
  jest.advanceTimersByTime(DRAIN_MS);
  expect(closed).toEqual(['slow reader']);
});

test('who takes nothing after its DISCONNECT does not keep its connection', async () => {
  const { connection, client, closed } = start();
  client.write(PIECE);
  client.close(null);
  await turn();
  expect([closed, connection.destroyed]).toEqual([[null], false]);
  jest.advanceTimersByTime(DRAIN_MS);
  expect(connection.destroyed).toBe(true);
});

test('a message keeps the bytes that it has, and none beside them', () => {
  const read = Buffer.from('300400016178', 'hex');
  const [packet] = decodePackets(read);
  const { payload } = (packet as { message: { payload: Buffer } }).message;
  expect(payload).toEqual(Buffer.from('x'));
  expect(payload.buffer.byteLength).toBe(1);
});
