/** The desk with streams in memory and brokers that note what they read. */

import { type Duplex, duplexPair } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import {
  type Flow,
  FrontDesk,
  type FrontDeskOptions,
  type PlainArrival,
} from '@fieldproof/broker/mqtt/front-desk';
import { HeldPackets } from '@fieldproof/broker/mqtt/held-packets';
import { Refusals } from '@fieldproof/broker/mqtt/refusals';
import { type Origin, type RouteRules, routeConnect } from '@fieldproof/broker/mqtt/route';
import { afterEach, describe, expect, test } from '@jest/globals';
import mqttPacket, { type IConnectPacket } from 'mqtt-packet';

const DEVICE = 'z6MkfDRC7Y5TSZ2h4PFbNWJcfQfo5SzijZ4qtwbkWrUQuyzY';
const TCP: Origin = { address: '192.0.2.1', listener: 'tcp' };
const PINGREQ = Buffer.from('c000', 'hex');

function connectPacket(changes: Partial<IConnectPacket> = {}): Buffer {
  return mqttPacket.generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    keepalive: 60,
    clientId: DEVICE,
    ...changes,
  });
}

const OPERATOR = { clientId: 'tool', username: 'token', password: Buffer.from('good') };

const desks: FrontDesk[] = [];

afterEach(() => {
  for (const desk of desks.splice(0)) desk.stop();
});

/** Of a broker that takes everything at once. */
const FLOW: Flow = {
  holds: () => false,
  allowance: () => Number.POSITIVE_INFINITY,
  onOthers: () => {},
  end: () => {},
};

function createDesk(changes: Partial<FrontDeskOptions> = {}) {
  const read: { to: string; hex: string; arrival?: PlainArrival }[] = [];
  const reader = (to: string) => (connection: Duplex, arrival?: PlainArrival) => {
    connection.on('readable', () => {
      for (let bytes = connection.read(); Buffer.isBuffer(bytes); bytes = connection.read()) {
        read.push({ to, hex: bytes.toString('hex'), ...(arrival && { arrival }) });
      }
    });
    return true;
  };
  const refusals = new Refusals();
  const desk = new FrontDesk({
    slices: { add: (task) => task() },
    device: {
      ...{ maxPacketBytes: 262_144, maxFilters: 2 },
      ...{ flow: () => FLOW, handle: reader('device') },
    },
    plain: { maxPacketBytes: 10, flow: () => FLOW, handle: reader('plain') },
    rules: {
      judgeAccessToken: (text) => (text === 'good' ? { name: 'anna', scopes: ['mqtt'] } : null),
      plainAnonymous: true,
    },
    refusals,
    door: { loggedIn: () => {}, loginFailed: () => 0 },
    held: new HeldPackets({ packetTimeoutMs: 60_000, maxHeldBytes: 2 ** 30 }),
    limits: {
      maxConnectBytes: 4096,
      maxPacketBytes: 262_144,
      connectTimeoutMs: 60_000,
    },
    onNotice: () => {},
    ...changes,
  });
  desk.open();
  desks.push(desk);
  const dial = (origin = TCP) => {
    const [peer, ours] = duplexPair();
    const seen = { hex: '', closed: false };
    peer.on('data', (chunk: Buffer) => {
      seen.hex += chunk.toString('hex');
    });
    peer.on('error', () => {});
    ours.once('close', () => {
      seen.closed = true;
    });
    desk.accept(ours, origin);
    return { peer, ours, seen };
  };
  return { desk, dial, read, refused: () => refusals.values() };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn();
}

describe('the front desk', () => {
  test('hands a CONNECT that comes byte by byte on when it is whole, and not before', async () => {
    const { dial, read } = createDesk();
    const { peer } = dial();
    const packet = connectPacket();
    for (const byte of packet.subarray(0, -1)) {
      peer.write(Uint8Array.of(byte));
      await turn();
    }
    await settle();
    expect(read).toEqual([]);
    peer.write(packet.subarray(-1));
    await settle();
    expect(read).toEqual([{ to: 'device', hex: packet.toString('hex') }]);
  });

  test('hands on what came with the CONNECT, and what comes later', async () => {
    const { dial, read } = createDesk();
    const { peer } = dial();
    peer.write(Buffer.concat([connectPacket(), PINGREQ, PINGREQ.subarray(0, 1)]));
    await settle();
    // The CONNECT alone: what follows it is for whoever is logged in.
    expect(read.map(({ hex }) => hex)).toEqual([connectPacket().toString('hex'), 'c000']);
    peer.write(PINGREQ.subarray(1));
    await settle();
    peer.write(PINGREQ);
    await settle();
    expect(read.slice(2).map(({ hex }) => hex)).toEqual(['c000', 'c000']);
  });

  test('hands a client with an access token to the plain broker, with its limits', async () => {
    const { dial, read, refused } = createDesk();
    const { peer, seen } = dial();
    peer.write(connectPacket(OPERATOR));
    await settle();
    expect(read[0]).toMatchObject({
      to: 'plain',
      arrival: { login: { name: 'anna' }, connect: { clientId: 'tool', keepAliveSeconds: 60 } },
    });
    peer.write(Buffer.from(`30${'0b'}000161${'00'.repeat(8)}`, 'hex'));
    await settle();
    expect(seen.closed).toBe(true);
    expect(refused()).toEqual({ size: 1 });
  });

  test('hands on packets with as many filters as a broker takes', async () => {
    const { dial, read, refused } = createDesk();
    const { peer, seen } = dial();
    const filters = (count: number) => {
      const subscriptions = Array.from({ length: count }, () => ({ topic: 'a', qos: 0 as const }));
      return mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions });
    };
    peer.write(Buffer.concat([connectPacket(), filters(2)]));
    await settle();
    expect(read.map(({ hex }) => hex)).toContain(filters(2).toString('hex'));
    peer.write(filters(3));
    await settle();
    expect([seen.closed, refused()]).toEqual([true, { filters: 1 }]);
  });

  test('answers whom it does not let in with a CONNACK, and ends the connection', async () => {
    const { dial, refused } = createDesk();
    const { peer, seen } = dial();
    peer.write(connectPacket({ ...OPERATOR, password: Buffer.from('bad') }));
    await settle();
    expect(seen).toEqual({ hex: '20020004', closed: true });
    expect(refused()).toEqual({ 'CONNACK 4': 1 });
  });

  test('answers with return code 3 while the broker is not ready', async () => {
    const { desk, dial } = createDesk();
    desk.close();
    const { peer, seen } = dial();
    peer.write(connectPacket());
    await settle();
    expect(seen).toEqual({ hex: '20020003', closed: true });
  });

  test('ends a connection whose CONNECT does not come in time', async () => {
    const limits = { maxConnectBytes: 4096, maxPacketBytes: 4096 };
    const { desk, dial, refused } = createDesk({ limits: { ...limits, connectTimeoutMs: 1 } });
    const { peer, ours } = dial();
    peer.write(connectPacket().subarray(0, 5));
    await new Promise((resolve) => ours.once('close', resolve));
    expect(refused()).toEqual({ 'no CONNECT in time': 1 });
    expect(desk.status().connections).toBe(0);
  });

  test('forgets a peer that leaves before its CONNECT', async () => {
    const { desk, dial } = createDesk();
    const { peer, seen } = dial();
    peer.write(connectPacket().subarray(0, 5));
    peer.end();
    await settle();
    expect(seen.closed).toBe(true);
    expect(desk.status().connections).toBe(0);
  });

  test('does not read while the broker of the devices takes nothing', async () => {
    let held = true;
    const read: string[] = [];
    const { dial } = createDesk({
      device: {
        maxPacketBytes: 262_144,
        flow: () => ({ ...FLOW, holds: () => held }),
        handle: (connection) => {
          connection.on('readable', () => void read.push(String(connection.read()?.length)));
        },
      },
    });
    const { peer, ours } = dial();
    peer.write(connectPacket());
    await settle();
    expect(read).toEqual([]);
    held = false;
    ours.emit('readable');
    expect(read).toEqual([String(connectPacket().length)]);
  });
});

describe('whom a CONNECT is for', () => {
  const rules: RouteRules = {
    judgeAccessToken: (text) =>
      ({
        good: { name: 'anna', scopes: ['mqtt'] },
        other: { name: 'anna', scopes: ['tail'] },
      })[text] ?? null,
    plainAnonymous: false,
  };
  const facts = { keepAliveSeconds: 0, clean: true, will: null };
  const client = { clientId: 'tool', username: undefined, password: undefined };
  const good = Buffer.from('good');
  const will = { topic: 'a', payload: Buffer.from('b'), qos: 0, retain: false } as const;
  const plain: Origin = { address: '', listener: 'plain' };

  test.each([
    ['the client id of a device', { ...client, clientId: DEVICE }, { to: 'device' }],
    [
      'the user name of a device, whatever the password',
      { ...client, username: DEVICE, password: good },
      { to: 'device' },
    ],
    [
      'a token under its own name',
      { ...client, username: 'anna', password: good },
      { to: 'plain', login: { name: 'anna' } },
    ],
    [
      'a token under the name of another',
      { ...client, username: 'bert', password: good },
      { to: 'nobody', connack: 4 },
    ],
    [
      'a token without the scope',
      { ...client, username: 'token', password: Buffer.from('other') },
      { to: 'nobody', connack: 4 },
    ],
    ['nothing at all', client, { to: 'nobody', connack: 4 }],
    ['a will and no login', { ...client, will }, { to: 'nobody', connack: 5 }],
    ['a session to keep and no login', { ...client, clean: false }, { to: 'nobody', connack: 2 }],
  ])('%s', (_what, connect, expected) => {
    expect(routeConnect({ ...facts, ...connect }, TCP, rules)).toMatchObject(expected);
  });

  test('the plain listener takes anybody only when it is told to', () => {
    const connect = { ...facts, ...client, clean: false, will };
    expect(routeConnect(connect, plain, rules)).toMatchObject({ to: 'nobody', connack: 5 });
    expect(routeConnect(connect, plain, { ...rules, plainAnonymous: true })).toMatchObject({
      to: 'plain',
      login: { name: null },
    });
    expect(routeConnect({ ...connect, clientId: DEVICE }, plain, rules)).toEqual({ to: 'device' });
  });
});
