/** What readers of the plain profile leave untaken: the room is shared, and bounded in all. */

import { connect, type Socket } from 'node:net';
import { Publication } from '@fieldproof/broker/mqtt/plain/publication';
import { PlainSession } from '@fieldproof/broker/mqtt/plain/session';
import { PLAIN_DEFAULTS } from '@fieldproof/broker/mqtt/plain/settings';
import { Unsent, type UnsentHolder } from '@fieldproof/broker/mqtt/plain/unsent';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import mqttPacket from 'mqtt-packet';
import { type PlainTest, startPlain } from './support/plain.ts';
import { connectPacket, subscribePacket } from './support/raw-mqtt.ts';

const MIB = 1024 * 1024;

describe('the room that readers share', () => {
  const LIMITS = { maxUnsentBytes: 500, plainMaxUnsentTotalBytes: 1000, drainTimeoutMs: 6000 };
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

  function start() {
    const clock = { now: 0, full: 0 };
    const onFull = () => {
      clock.full += 1;
    };
    const unsent = new Unsent({ limits: LIMITS, now: () => clock.now, onFull });
    const woken: string[] = [];
    const ended: string[] = [];
    const holder = (name: string): UnsentHolder => ({
      unsentBytes: 0,
      onRoom: () => void woken.push(name),
      onSlow: () => void ended.push(name),
    });
    return { clock, unsent, woken, ended, holder };
  }

  test('is for one as much as it leaves for others, at most its own bound', () => {
    const { clock, unsent, holder } = start();
    const [a, b, c] = [holder('a'), holder('b'), holder('c')];
    unsent.tell(a, 500);
    expect(unsent.mayTake(a)).toBe(false);
    unsent.tell(a, 400);
    expect(unsent.mayTake(a)).toBe(true);
    unsent.tell(b, 300);
    // 700 of 1,000 are taken: who has 300 or more waits, who has less does not.
    expect([unsent.mayTake(a), unsent.mayTake(b), unsent.mayTake(c)]).toEqual([false, false, true]);
    unsent.tell(c, 300);
    expect([unsent.bytes, unsent.mayTake(c), clock.full]).toEqual([1000, false, 3]);
    unsent.stop();
  });

  test('goes to those who have waited longest once there is some again', async () => {
    const { unsent, holder, woken } = start();
    const [a, b, c] = [holder('a'), holder('b'), holder('c')];
    unsent.tell(a, 1000);
    for (const each of [b, c, b]) expect(unsent.mayTake(each)).toBe(false);
    unsent.forget(a);
    expect(woken).toEqual([]);
    await turn();
    expect([woken, unsent.bytes]).toEqual([['b', 'c'], 0]);
  });

  test('is made by ending those that have been behind for longest, once that was long', async () => {
    const { clock, unsent, holder, woken, ended } = start();
    const [a, b, c, reader] = [holder('a'), holder('b'), holder('c'), holder('reader')];
    for (const [i, each] of [a, b, c].entries()) {
      clock.now = i * 100;
      unsent.tell(each, 334);
    }
    // One that has taken everything begins anew.
    unsent.tell(a, 0);
    unsent.tell(a, 334);
    clock.now = 1099;
    expect(unsent.mayTake(reader)).toBe(false);
    expect(ended).toEqual([]);
    clock.now = 1100;
    expect([unsent.mayTake(b), ended]).toEqual([false, []]);
    expect([unsent.mayTake(reader), ended, unsent.bytes]).toEqual([false, ['b'], 668]);
    await turn();
    expect([woken, unsent.mayTake(reader)]).toEqual([['reader'], true]);
    unsent.stop();
  });

  test('is not kept for one that is gone', async () => {
    const { unsent, holder, woken } = start();
    const [a, b] = [holder('a'), holder('b')];
    unsent.tell(a, 1000);
    expect(unsent.mayTake(b)).toBe(false);
    unsent.forget(b);
    unsent.forget(a);
    await turn();
    expect(woken).toEqual([]);
  });
});

test('what a session sends again waits for room as well, and comes before anything new', () => {
  const session = new PlainSession(
    { id: 'a', owner: null, clean: false },
    {
      limits: PLAIN_DEFAULTS,
      totals: { messages: 0, bytes: 0 },
      now: () => 0,
      onLimited: () => {},
    },
  );
  const publish = (text: string) =>
    session.deliver(
      new Publication({ topic: 't', payload: Buffer.from(text), qos: 1, retain: false }),
      1,
      false,
    );
  const written: string[] = [];
  let room = 3;
  const link = {
    mayTake: () => room > 0,
    write: (bytes: Buffer) => {
      room -= 1;
      written.push(`${bytes[0]! & 8 ? 'again ' : ''}${bytes.subarray(7).toString()}`);
    },
  };
  session.attach(link);
  for (const text of ['a', 'b', 'c']) publish(text);
  session.detach();
  publish('d');
  written.length = 0;
  room = 2;
  session.attach(link);
  publish('e');
  expect(written).toEqual(['again a', 'again b']);
  room = 10;
  session.pump();
  expect(written.slice(2)).toEqual(['again c', 'd', 'e']);
});

describe('readers that do not read', () => {
  const TOTAL = 2 * MIB;
  let plain: PlainTest;
  beforeAll(async () => {
    plain = await startPlain({
      plainMaxUnsentTotalBytes: TOTAL,
      plainMaxQueuedTotalBytes: 8 * MIB,
      plainPacketsPerSecond: 0,
      drainTimeoutMs: 6000,
    });
  });
  afterAll(() => plain.close());

  test('hold no more than all may together; who reads finds room, and it comes back', async () => {
    const { hostname, port } = new URL(plain.url);
    const sockets: Socket[] = [];
    for (let i = 0; i < 12; i++) {
      const socket = connect(Number(port), hostname).pause();
      socket.on('error', () => {});
      socket.write(mqttPacket.generate(connectPacket()));
      socket.write(mqttPacket.generate(subscribePacket([['flood', 0]])));
      sockets.push(socket);
    }
    while (plain.status().subscriptions < 12) await new Promise((done) => setTimeout(done, 5));
    const writer = await plain.client();
    const large = 'x'.repeat(200_000);
    const code = () => plain.status().refused.ERR_PLAIN_UNSENT ?? 0;
    let most = 0;
    while (code() === 0 || plain.status().queuedBytes < MIB) {
      await writer.publish('flood', large, { qos: 1 });
      most = Math.max(most, plain.status().unsentBytes);
    }
    expect(most).toBeGreaterThan(TOTAL / 2);
    expect(most).toBeLessThan(TOTAL + 2 * large.length);
    const reader = await plain.client();
    await reader.subscribe(['other', 1]);
    await writer.publish('other', 'small', { qos: 1 });
    expect(String((await reader.next('publish')).payload)).toBe('small');
    for (const socket of sockets) socket.destroy();
    while (plain.status().online > 2) await new Promise((done) => setTimeout(done, 5));
    while (plain.status().unsentBytes > 0) await new Promise((done) => setTimeout(done, 5));
    expect(plain.status()).toMatchObject({ unsentBytes: 0, queued: 1 });
    await reader.disconnect();
    await writer.disconnect();
  });
});
