/** What peers that have not logged in can take, by their address and in all. */

import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { Door, type DoorLimits, FAILED_LOGIN_DELAY_MS } from '@fieldproof/broker/mqtt/door';
import { addressRule } from '@fieldproof/protocol/address-share-node';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { until } from './support/device.ts';

class FakeSocket extends EventEmitter {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress = '192.0.2.200';
  readonly localPort = 7884;
  destroyed = false;

  constructor(remoteAddress: string, remotePort: number) {
    super();
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
  }

  /** Its end comes later, as that of a real one. */
  destroy(): void {
    this.destroyed = true;
  }
}

const ROOMY: DoorLimits = {
  ...{ maxConnections: 1000, maxConnectionsPerAddress: 1000 },
  ...{ maxPending: 1000, maxPendingPerAddress: 1000 },
  ...{ maxHandshakes: 1000, handshakeTimeoutMs: 60_000 },
  ...{ connectsPerSecond: 0, connectsPerSecondPerAddress: 0, failedLoginsPerMinute: 0 },
};
const ATTACKER = '203.0.113.66';
const DEVICE = '198.51.100.1';

let door: Door;
let refused: string[];
let nowMs = 0;
let nextPort = 1024;

beforeEach(() => {
  refused = [];
  nowMs = 0;
});

function make(limits: Partial<DoorLimits>): void {
  door = new Door({
    slices: { add: (task) => task() },
    limits: { ...ROOMY, ...limits },
    shareOf: addressRule(),
    count: (why) => refused.push(why),
    onNotice: () => {},
    monotonicMs: () => nowMs,
  });
}

function come(address: string, next: 'handshake' | 'login' = 'login'): Socket & FakeSocket {
  const socket = new FakeSocket(address, nextPort++) as unknown as Socket & FakeSocket;
  const admitted = door.admit(socket, next);
  expect(admitted).toBe(!socket.destroyed);
  return socket;
}

function logIn(address: string): Socket & FakeSocket {
  const socket = come(address);
  door.loggedIn(socket);
  return socket;
}

const comeOften = (address: string, times: number) =>
  Array.from({ length: times }, () => come(address));
const open = (sockets: readonly FakeSocket[]) => sockets.filter(({ destroyed }) => !destroyed);

describe('connections that have not logged in', () => {
  test('of one address: the oldest makes room, those of others and those logged in stay', () => {
    make({ maxPendingPerAddress: 3 });
    const device = come(DEVICE);
    const session = logIn(ATTACKER);
    const flood = comeOften(ATTACKER, 10);
    expect(open(flood)).toEqual(flood.slice(-3));
    expect([device.destroyed, session.destroyed]).toEqual([false, false]);
    expect(refused).toEqual(Array(7).fill('not logged in, of one address'));
    expect(door.status()).toEqual({ connections: 5, pending: 4, handshakes: 0 });
  });

  test('in all: the oldest of the address that has most of them makes room', () => {
    make({ maxPending: 5 });
    const first = come(DEVICE);
    const flood = comeOften(ATTACKER, 20);
    const second = come('198.51.100.2');
    expect([first.destroyed, second.destroyed]).toEqual([false, false]);
    expect(open(flood)).toEqual(flood.slice(-3));
    expect(door.status().pending).toBe(5);
  });

  test('an IPv6 network of 64 bits is one address', () => {
    make({ maxPendingPerAddress: 2 });
    const flood = ['2001:db8::1', '2001:db8::2', '2001:db8::3'].map((address) => come(address));
    const other = come('2001:db8:0:1::1');
    expect(flood.map(({ destroyed }) => destroyed)).toEqual([true, false, false]);
    expect(other.destroyed).toBe(false);
  });

  test('trusted addresses have no limit of their own, only that for all', () => {
    make({
      maxPendingPerAddress: 2,
      maxConnectionsPerAddress: 2,
      maxPending: 8,
      connectsPerSecondPerAddress: 1,
    });
    const flood = comeOften('127.0.0.1', 20);
    expect(open(flood)).toHaveLength(8);
  });
});

describe('connections', () => {
  test('of one address: refused when all have logged in, else the oldest that has not makes room', () => {
    make({ maxConnectionsPerAddress: 3 });
    const [, , pending] = [logIn(ATTACKER), logIn(ATTACKER), come(ATTACKER)];
    expect(logIn(ATTACKER).destroyed).toBe(false);
    expect(pending.destroyed).toBe(true);
    expect(come(ATTACKER).destroyed).toBe(true);
    expect(come(DEVICE).destroyed).toBe(false);
    expect(refused).toEqual(['not logged in, of one address', 'connections of one address']);
  });

  test('in all, in the same way; places are free again when connections end', () => {
    make({ maxConnections: 3 });
    const session = logIn(DEVICE);
    const flood = comeOften(ATTACKER, 5);
    expect(open(flood)).toHaveLength(2);
    for (const socket of open(flood)) door.loggedIn(socket as unknown as Socket);
    expect(come('198.51.100.2').destroyed).toBe(true);
    expect(refused.at(-1)).toBe('connections');
    session.emit('close');
    expect(come('198.51.100.2').destroyed).toBe(false);
  });

  test('one that was ended is counted once, whenever its socket closes', () => {
    make({ maxPendingPerAddress: 1 });
    const [first] = comeOften(ATTACKER, 2);
    first!.emit('close');
    expect(door.status()).toEqual({ connections: 1, pending: 1, handshakes: 0 });
  });
});

describe('rates', () => {
  test('of one address; others are not concerned', () => {
    make({ connectsPerSecondPerAddress: 2 });
    expect(open(comeOften(ATTACKER, 50))).toHaveLength(20);
    expect(come(DEVICE).destroyed).toBe(false);
    nowMs = 1000;
    expect(open(comeOften(ATTACKER, 50))).toHaveLength(2);
    expect(new Set(refused)).toEqual(new Set(['connect rate of one address']));
  });

  test('in all: who has not come lately still comes in', () => {
    make({ connectsPerSecond: 2, connectsPerSecondPerAddress: 50 });
    expect(open(comeOften(ATTACKER, 50))).toHaveLength(20);
    expect(come(DEVICE).destroyed).toBe(false);
    expect(come(DEVICE).destroyed).toBe(true);
    expect(refused.at(-1)).toBe('connect rate');
  });
});

describe('TLS handshakes', () => {
  test('the oldest of the address that has most makes room; one that is over holds no place', () => {
    make({ maxHandshakes: 3 });
    const device = come(DEVICE, 'handshake');
    door.secured(device);
    const flood = Array.from({ length: 9 }, () => come(ATTACKER, 'handshake'));
    const late = come(DEVICE, 'handshake');
    expect([device.destroyed, late.destroyed]).toEqual([false, false]);
    expect(open(flood)).toHaveLength(2);
    expect(door.status()).toEqual({ connections: 4, pending: 4, handshakes: 3 });
  });

  test('one that takes too long is ended', async () => {
    make({ handshakeTimeoutMs: 10 });
    const done = come(DEVICE, 'handshake');
    door.secured(done);
    const slow = come(ATTACKER, 'handshake');
    await until(() => slow.destroyed, 'the end of the slow one');
    expect(done.destroyed).toBe(false);
    expect(refused).toEqual(['TLS handshake not in time']);
  });

  test('the socket that TLS makes of a connection, and the stream of a WebSocket, are that connection', () => {
    make({});
    const raw = come(DEVICE, 'handshake');
    const secure = Object.assign(new EventEmitter(), {
      ...{ remoteAddress: raw.remoteAddress, remotePort: raw.remotePort },
      ...{ localAddress: raw.localAddress, localPort: raw.localPort },
    }) as unknown as Socket;
    door.secured(secure);
    const stream = new EventEmitter() as unknown as Socket;
    door.follow(stream, secure);
    door.loggedIn(stream);
    expect(door.status()).toEqual({ connections: 1, pending: 0, handshakes: 0 });
  });
});

test('logins that fail are told late when an address has too many; other addresses are not concerned', () => {
  make({ failedLoginsPerMinute: 3 });
  const waits = comeOften(ATTACKER, 5).map((socket) => door.loginFailed(socket));
  expect(waits).toEqual([0, 0, 0, FAILED_LOGIN_DELAY_MS, FAILED_LOGIN_DELAY_MS]);
  expect(door.loginFailed(come(DEVICE))).toBe(0);
  expect(door.loginFailed(come('127.0.0.1'))).toBe(0);
  nowMs = 20_000;
  expect(door.loginFailed(come(ATTACKER))).toBe(0);
  expect(refused).toEqual(['failed logins', 'failed logins']);
});
