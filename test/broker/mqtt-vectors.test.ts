import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import mqttPacket from 'mqtt-packet';
import { REPOSITORY } from '../support/services.ts';
import { PATIENCE_MS } from '../support/until.ts';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import type { TestDevice } from './support/device.ts';

interface Case {
  readonly name: string;
  readonly hex: string;
  readonly after_connect: boolean;
  readonly expect: string;
}

const folder = join(REPOSITORY, 'test/vectors/mqtt');
const { cases } = JSON.parse(readFileSync(join(folder, 'own_malformed_even.json'), 'utf8')) as {
  cases: Case[];
};
const recorded = JSON.parse(readFileSync(join(folder, 'recorded_packets_even.json'), 'utf8')) as {
  type: string;
  file: string;
  hex: string;
}[];

let broker: TestBroker;
let device: TestDevice;

beforeAll(async () => {
  broker = await startTestBroker({ plainPort: 0 });
  device = await broker.device();
});

afterAll(async () => {
  await broker.close();
});

type Listener = 'device' | 'plain';

/** A raw connection that keeps what it is sent. */
class Raw {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  closed = false;

  constructor(listener: Listener = 'device') {
    const url = listener === 'device' ? device.mqttUrl : broker.running.addresses.plain!;
    this.socket = connect(Number(new URL(url).port), '127.0.0.1');
    this.socket.on('data', (chunk) => {
      this.received = Buffer.concat([this.received, chunk]);
    });
    this.socket.on('close', () => {
      this.closed = true;
    });
    this.socket.on('error', () => {});
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  async until(condition: () => boolean): Promise<void> {
    const end = Date.now() + PATIENCE_MS;
    while (!condition()) {
      if (Date.now() > end) throw new Error(`timed out with ${this.received.toString('hex')}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  has(hex: string): boolean {
    return this.received.toString('hex').includes(hex);
  }
}

async function login(listener: Listener = 'device'): Promise<Raw> {
  const raw = new Raw(listener);
  raw.send(
    mqttPacket.generate({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: true,
      keepalive: 60,
      ...(listener === 'plain'
        ? { clientId: 'well-behaved' }
        : {
            clientId: device.id,
            username: device.id,
            password: Buffer.from(await device.loginPassword()),
          }),
    }),
  );
  await raw.until(() => raw.received.length >= 4);
  expect(raw.received.toString('hex')).toBe('20020000');
  raw.received = Buffer.alloc(0);
  return raw;
}

const PINGREQ = Buffer.from('c000', 'hex');

/** What a broker did, in the words of the vectors. */
async function observe(raw: Raw): Promise<string> {
  raw.send(PINGREQ);
  await raw.until(() => raw.closed || raw.has('d000'));
  return raw.closed ? 'close' : 'alive';
}

describe.each(['device', 'plain'] as const)('malformed streams at the %s listener', (listener) => {
  test.each(cases)(
    '$name: $expect',
    async ({ hex, after_connect: afterConnect, expect: wanted }) => {
      const raw = afterConnect ? await login(listener) : new Raw(listener);
      raw.send(Buffer.from(hex, 'hex'));
      const seen = await observe(raw);
      const answers = raw.received.toString('hex');
      raw.socket.destroy();
      const connack = /^connack-(\d)-or-close$/.exec(wanted);
      if (connack) expect(seen === 'close' && /^(2002000\d)?$/.test(answers)).toBe(true);
      else if (wanted === 'close-or-suback-128')
        expect(seen === 'close' || /80/.test(answers)).toBe(true);
      else if (wanted === 'alive-or-close' || wanted === 'close-or-ignore')
        expect(seen).toMatch(/alive|close/);
      else expect(seen).toBe(wanted);
      // Whatever came, others are served.
      const other = await login(listener);
      expect(await observe(other)).toBe('alive');
      other.socket.destroy();
    },
  );
});

describe.each(['device', 'plain'] as const)('recorded packets at the %s listener', (listener) => {
  test('none of them, whole, cut or flipped, disturbs a well-behaved client', async () => {
    const received = broker.running.status().verdicts;
    expect(received.inFlight).toBe(0);
    let seed = 1;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    for (const { hex } of recorded) {
      const packet = Buffer.from(hex, 'hex');
      const flipped = Buffer.from(packet);
      const at = random(packet.length);
      flipped[at] = flipped[at]! ^ (1 << random(8));
      for (const bytes of [packet, flipped, packet.subarray(0, random(packet.length) + 1)]) {
        const fresh = new Raw(listener);
        fresh.send(bytes);
        fresh.socket.end();
        const known = await login(listener);
        known.send(bytes);
        known.socket.end();
        await known.until(() => known.closed);
        fresh.socket.destroy();
      }
    }
    const last = await login(listener);
    expect(await observe(last)).toBe('alive');
    last.socket.destroy();
  });
});

describe('limits', () => {
  test('a CONNECT longer than the limit ends the connection before it is read', async () => {
    const raw = new Raw();
    raw.send(Buffer.from('10808004', 'hex'));
    await raw.until(() => raw.closed);
  });

  test('a packet longer than the limit ends a session', async () => {
    const raw = await login();
    raw.send(Buffer.from('3081808001', 'hex'));
    await raw.until(() => raw.closed);
    expect(broker.running.status().mqtt.refused.size).toBeGreaterThan(0);
  });

  test('a packet sent byte by byte is understood', async () => {
    const raw = await login();
    for (const byte of Buffer.from('300400016178c000', 'hex')) {
      raw.send(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await raw.until(() => raw.has('d000'));
    raw.socket.destroy();
  });
});
