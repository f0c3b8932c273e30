import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { remedyOf } from '@fieldproof/broker/errors';
import { type FileLayer, nodeFiles } from '@fieldproof/broker/evidence/file-layer';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Flooder } from '../pressure/support/flooder.ts';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { TestDevice, until } from './support/device.ts';
import { connectPacket, publishPacket, RawMqtt } from './support/raw-mqtt.ts';

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

describe('the table of limits in broker/README.md', () => {
  const MAX_IN_FLIGHT = 40;
  let broker: TestBroker;
  let devices: TestDevice[] = [];
  let release = () => {};
  let disk: Promise<void> | null = null;

  beforeAll(async () => {
    const files: FileLayer = {
      ...nodeFiles,
      open: async (path, mode) => {
        const file = await nodeFiles.open(path, mode);
        if (!path.includes('segments')) return file;
        return { ...file, sync: () => (disk ?? Promise.resolve()).then(() => file.sync()) };
      },
    };
    const small = {
      deviceMessagesPerSecond: 10,
      deviceBytesPerSecond: 2000,
      ownerMessagesPerSecond: 15,
      maxInFlight: MAX_IN_FLIGHT,
      maxInFlightBytes: 65_536,
      maxPendingBytes: 65_536,
      maxPacketBytes: 70_000,
      maxConnectBytes: 1024,
      connectTimeoutMs: 2000,
      maxSessions: 2,
      maxSubscriptions: 2,
      maxTopicLevels: 7,
    };
    broker = await startTestBroker(small, { files });
  });

  afterAll(() => broker.close());

  /** Whatever was provoked: a good device is served, and every PUBLISH has had its verdict. */
  afterEach(async () => {
    release();
    for (const device of devices) await device.close();
    devices = [];
    await until(() => status().mqtt.sessions === 0, 'the end of the sessions');
    const good = await connected();
    await good.publish('event', good.seal({ kind: 'event' }));
    await until(() => status().verdicts.inFlight === 0, 'every verdict');
    const { received, accepted, duplicate, rejected } = status().verdicts;
    expect(received).toBe(accepted + duplicate + rejected);
    await good.close();
    devices = [];
    await until(() => status().mqtt.sessions === 0, 'the end of the sessions');
  });

  const status = () => broker.running.status();
  const refused = (why: string) => status().mqtt.refused[why] ?? 0;

  function holdDisk(): void {
    disk = new Promise((done) => {
      release = () => {
        disk = null;
        done();
      };
    });
  }

  async function connected(owner?: TestDevice['owner']): Promise<TestDevice> {
    const { addresses, network } = broker.running;
    const device = new TestDevice({ http: addresses.http, mqtt: addresses.mqtt, network });
    if (owner !== undefined) Object.assign(device, { owner });
    await device.enrol(await broker.joinLine());
    await device.connect();
    devices.push(device);
    return device;
  }

  /** Publishes without waiting. */
  function flood(device: TestDevice, count: number): void {
    for (let i = 0; i < count; i++) {
      device.publish('event', device.seal({ kind: 'event' })).catch(() => {});
    }
  }

  async function expectReject(device: TestDevice, code: string, permanent: boolean): Promise<void> {
    await until(() => device.rejects.some((reject) => reject.code === code), `${code}`);
    const reject = device.rejects.find((each) => each.code === code)!;
    expect(reject).toMatchObject({ permanent, remedy: remedyOf(code) });
    expect(reject.retryAfterMs === undefined).toBe(permanent);
    expect(status().verdicts.rejectedByCode[code]).toBeGreaterThan(0);
  }

  async function expectEnd(bytes: Buffer, why: string): Promise<void> {
    const before = refused(why);
    const socket = connect(Number(new URL(broker.running.addresses.mqtt).port), '127.0.0.1');
    socket.on('error', () => {}).resume();
    socket.write(bytes);
    await until(() => socket.destroyed || socket.readableEnded, 'the end');
    expect(refused(why)).toBe(before + 1);
  }

  const PROVOKED: Readonly<Record<string, () => Promise<void>>> = {
    'messages of a device': async () => {
      const subscriber = await connected();
      const filters = Array.from({ length: 150 }, (_, i) => `x/${i}`);
      await subscriber.client!.subscribeAsync(filters).catch(() => {});
      await until(() => status().mqtt.overRate === 1, 'each filter counts');
      await subscriber.close();
      await until(() => status().mqtt.sessions === 0, 'the end of the session');
      const device = await connected();
      flood(device, 150);
      await expectReject(device, 'ERR_RATE_DEVICE', false);
      await until(() => status().mqtt.overRate === 1, 'it is left unread');
    },
    'bytes of a device': async () => {
      const device = await connected();
      const big = device.seal({ payload: new Uint8Array(40_000) });
      await device.publish('telemetry', big);
      await device.publish('event', device.seal({ kind: 'event' }));
      await expectReject(device, 'ERR_RATE_DEVICE', false);
      expect(device.rejects.at(-1)!.retryAfterMs).toBeGreaterThan(1000);
    },
    'refused messages of a device, such as forged ones': async () => {
      const device = await connected();
      const forged = device.seal({ kind: 'event' });
      forged[forged.length - 1]! ^= 1;
      for (let n = 0; n < 40; n++) device.publish('event', forged).catch(() => {});
      await until(() => status().mqtt.overRate === 1, 'it is left unread');
      expect(status().verdicts.rejectedByCode.ERR_SIGNATURE_INVALID).toBeGreaterThan(0);
    },
    "messages of an owner's devices": async () => {
      const one = await connected();
      const other = await connected(one.owner);
      flood(one, 80);
      await until(() => status().verdicts.inFlight === 0, 'those of one');
      flood(other, 90);
      await expectReject(other, 'ERR_RATE_OWNER', false);
      expect(one.rejects).toEqual([]);
    },
    'messages on their way, of a connection': async () => {
      const device = await connected();
      holdDisk();
      flood(device, MAX_IN_FLIGHT);
      await until(() => status().mqtt.full === 1, 'it is not read');
    },
    'bytes on their way, of a connection': async () => {
      const device = await connected();
      holdDisk();
      // No batches, and so refused; but what comes behind an envelope on its way is settled after it.
      device.publish('event', device.seal({ kind: 'event' })).catch(() => {});
      device.publish('telemetry', device.seal({ payload: new Uint8Array(59_000) })).catch(() => {});
      device.publish('telemetry', device.seal({ payload: new Uint8Array(5000) })).catch(() => {});
      await until(() => status().mqtt.full === 1, 'it is not read');
    },
    'bytes on their way, of all': async () => {
      const [one, other] = [await connected(), await connected()];
      holdDisk();
      flood(one, MAX_IN_FLIGHT - 2);
      await until(() => status().verdicts.inFlight === MAX_IN_FLIGHT - 2, 'those of one');
      for (let i = 0; status().mqtt.paused === 0; i++) {
        if (i === 60) throw new Error('expected it to be paused');
        flood(other, 1);
        await new Promise((done) => setTimeout(done, 10));
      }
    },
    envelope: async () => {
      const device = await connected();
      await device.publish('telemetry', new Uint8Array(60_001));
      await expectReject(device, 'ERR_TOO_LARGE', true);
    },
    packet: async () => {
      const device = await connected();
      const before = refused('size');
      device.publish('telemetry', new Uint8Array(70_001)).catch(() => {});
      await until(() => !device.client!.connected, 'the end');
      expect(refused('size')).toBe(before + 1);
    },
    CONNECT: () => expectEnd(Buffer.from('108110', 'hex'), 'size'),
    'time until CONNECT': () => expectEnd(Buffer.from('10', 'hex'), 'no CONNECT in time'),
    sessions: async () => {
      await connected();
      await connected();
      const third = await broker.device();
      await expect(third.connect()).rejects.toMatchObject({ code: 3 });
      expect(refused('sessions')).toBe(1);
      // A device that is in takes its own place.
      await devices[0]!.connect();
    },
    'subscriptions of a device': async () => {
      // It has one, to everything that is its own.
      const device = await connected();
      const topics = ['receipt', 'reject', 'task'].map((kind) => device.topic(kind));
      await expect(device.client!.subscribeAsync(topics, { qos: 1 })).rejects.toMatchObject({
        packet: { granted: [1, 128, 128] },
      });
      expect(refused('subscriptions')).toBe(2);
    },
    'filters in a packet': async () => {
      const device = await connected();
      const filters = Array.from({ length: 257 }, (_, i) => `x/${i}`);
      device.client!.subscribe(filters, () => {});
      await until(() => !device.client!.connected, 'the end');
      expect(refused('filters')).toBe(1);
    },
    'levels of a topic': async () => {
      const device = await connected();
      device.client!.publish('a/b/c/d/e/f/g/h', 'x', { qos: 1 }, () => {});
      await until(() => !device.client!.connected, 'the end');
      expect(refused('topic levels')).toBe(1);
    },
    'sessions of a device': async () => {
      const device = await connected();
      const older = device.client!;
      await device.connect();
      await until(() => !older.connected, 'the end of the older one');
      expect(status().mqtt.sessions).toBe(1);
    },
  };

  /** Where the others are provoked: they take a process of their own, or thousands of messages. */
  const ELSEWHERE: Readonly<Record<string, readonly [file: string, says: string]>> = {
    'what a device leaves unread': ['../pressure/broker-intake.test.ts', 'slow reader'],
    'rejects that no birth has acknowledged': ['attacks.test.ts', 'unsettledRejects'],
    'what waits for a device that is away': ['rules.test.ts', 'clean'],
  };

  test('has a row for each of these, and no others', () => {
    const readme = readFileSync(resolve(import.meta.dirname, '../../broker/README.md'), 'utf8');
    const table = readme.slice(readme.indexOf('## Limits on devices')).split('\n\n')[2]!;
    const rows = table.split('\n').slice(2);
    const names = rows.map((row) => row.split('|')[1]!.trim());
    expect(names.sort()).toEqual([...Object.keys(PROVOKED), ...Object.keys(ELSEWHERE)].sort());
    for (const [file, says] of Object.values(ELSEWHERE)) {
      expect(readFileSync(resolve(import.meta.dirname, file), 'utf8')).toContain(says);
    }
  });

  test('who is not read is not taken for silent, however short its keep-alive; who is silent is', async () => {
    const device = await connected();
    await device.close();
    // Signed before its keep-alive runs.
    const packets = Array.from({ length: MAX_IN_FLIGHT }, (_, n) => ({
      ...publishPacket(device.topic('event'), '', { qos: 1, messageId: n + 1 }),
      payload: Buffer.from(device.seal({ kind: 'event' })),
    }));
    const login = { clientId: device.id, username: device.id };
    const password = Buffer.from(await device.loginPassword());
    const client = new RawMqtt(broker.running.addresses.mqtt);
    client.send(connectPacket({ ...login, password, keepalive: 1 }));
    await client.next('connack');
    holdDisk();
    client.send(...packets);
    await until(() => status().mqtt.full === 1, 'it is not read');
    await new Promise((done) => setTimeout(done, 2500));
    expect(client.closed).toBe(false);
    release();
    for (let n = 0; n < MAX_IN_FLIGHT; n++) await client.next('puback');
    await client.until(() => client.closed, 'the end of the silent');
  });

  test.each(Object.entries(PROVOKED))('%s', async (_name, provoke) => {
    await provoke();
  });
});
