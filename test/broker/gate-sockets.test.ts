import { randomBytes } from 'node:crypto';
import { remedyOf } from '@fieldproof/broker/errors';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES } from '@fieldproof/protocol/envelope';
import { encodeGap } from '@fieldproof/protocol/messages';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import mqtt from 'mqtt';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { senml, TestDevice, until } from './support/device.ts';

let broker: TestBroker;
let device: TestDevice;

beforeEach(async () => {
  broker = await startTestBroker();
  device = await broker.device();
  await device.connect();
});

afterEach(async () => {
  await broker.close();
});

function verdicts() {
  return broker.running.status().verdicts;
}

function entries(): number {
  return broker.running.status().evidence.entries;
}

/** @param logged - entries that say so, beside the reject. */
async function expectReject(code: string, act: () => Promise<void>, logged = 0): Promise<void> {
  const before = entries();
  await act();
  await until(() => device.rejects.length > 0, `a reject with ${code}`);
  expect(device.rejects[0]).toMatchObject({ code, remedy: remedyOf(code) });
  expect(verdicts().rejectedByCode).toEqual({ [code]: 1 });
  await until(() => entries() >= before + logged, 'an entry');
  expect(entries()).toBe(before + logged);
  const { received, accepted, duplicate, rejected } = verdicts();
  expect(received).toBe(accepted + duplicate + rejected);
}

describe('accepted', () => {
  test('an acknowledged envelope is in the log and a receipt settles it', async () => {
    const before = entries();
    await device.publish('birth', device.seal({ kind: 'birth' }));
    await device.publish('telemetry', device.seal());
    // Birth, time anchor, telemetry.
    expect(entries()).toBe(before + 3);
    expect(verdicts()).toMatchObject({ received: 2, accepted: 2, duplicate: 0, rejected: 0 });
    await until(() => device.receipts.some((receipt) => receipt.boots[0]?.[2] === 1));
  });

  test('a birth with another nonce gets no time anchor', async () => {
    const before = entries();
    const payload = device.birth({ nonce: randomBytes(32) });
    await device.publish('birth', device.seal({ kind: 'birth', payload }));
    expect(entries()).toBe(before + 1);
  });

  test('a gap settles what it names', async () => {
    const gaps: [number, Uint8Array, number, number, string][] = [
      [device.bootCounter, device.bootSeed, 0, 4, 'outbox full'],
    ];
    device.seq = 5;
    await device.publish('gap', device.seal({ kind: 'gap', payload: encodeGap({ gaps }) }));
    await until(() => device.receipts.some((receipt) => receipt.boots[0]?.[2] === 5));
  });

  test('QoS 0 is recorded all the same', async () => {
    await device.client!.publishAsync(
      device.topic('event'),
      Buffer.from(device.seal({ kind: 'event' })),
      {
        qos: 0,
      },
    );
    await until(() => verdicts().accepted === 1);
  });

  test('a resend is a duplicate: acknowledged, receipted, stored once', async () => {
    const envelope = device.seal();
    await device.publish('telemetry', envelope);
    const before = entries();
    device.receipts.length = 0;
    await device.publish('telemetry', envelope);
    expect(entries()).toBe(before);
    expect(verdicts()).toMatchObject({ received: 2, accepted: 1, duplicate: 1 });
    await until(() => device.receipts.length > 0);
  });

  test('two copies sent at once are one accepted and one duplicate', async () => {
    const envelope = device.seal();
    await Promise.all([
      device.publish('telemetry', envelope),
      device.publish('telemetry', envelope),
    ]);
    expect(verdicts()).toMatchObject({ received: 2, accepted: 1, duplicate: 1 });
  });
});

describe('rejected, with its code, counter and a signed reject', () => {
  test('a byte that was altered', async () => {
    await expectReject('ERR_SIGNATURE_INVALID', async () => {
      const envelope = device.seal();
      envelope[envelope.length - 1]! ^= 1;
      await device.publish('telemetry', envelope);
    });
    expect(device.rejects[0]).toMatchObject({ boot: null, seq: null, permanent: true });
  });

  test('a stranger’s signature', async () => {
    await expectReject('ERR_KEY_UNKNOWN', () =>
      device.publish('telemetry', device.seal({ signer: signerFromSeed(randomBytes(32)) })),
    );
  });

  test('a stranger’s signature under the device’s kid', async () => {
    const stranger = signerFromSeed(randomBytes(32));
    const signer = { publicKey: device.signer.publicKey, sign: stranger.sign };
    await expectReject('ERR_SIGNATURE_INVALID', () =>
      device.publish('telemetry', device.seal({ signer })),
    );
  });

  test('another kind than that of the topic', async () => {
    await expectReject('ERR_WRONG_KIND', () =>
      device.publish('event', device.seal({ kind: 'telemetry' })),
    );
  });

  test('an envelope of another network', async () => {
    await expectReject('ERR_SIGNATURE_INVALID', () =>
      device.publish('telemetry', device.seal({ network: 'elsewhere' })),
    );
  });

  test('a topic of another network', async () => {
    await expectReject('ERR_WRONG_NETWORK', async () => {
      const topic = device.topic('telemetry').replace(device.network, 'elsewhere');
      await device.client!.publishAsync(topic, Buffer.from(device.seal()), { qos: 1 });
    });
  });

  test.each(['fp/1/NET/d/OTHER/telemetry', 'fp/1/NET/d/SELF/receipt', '$SYS/x/new/clients', 'a'])(
    'the topic %s',
    async (name) => {
      const other = await broker.device();
      const topic = name
        .replace('NET', device.network)
        .replace('SELF', device.id)
        .replace('OTHER', other.id);
      await expectReject('ERR_TOPIC_FORBIDDEN', async () => {
        await device.client!.publishAsync(topic, Buffer.from(device.seal()), { qos: 1 });
      });
    },
  );

  test('a retained message', async () => {
    await expectReject('ERR_RETAINED', async () => {
      const options = { qos: 1, retain: true } as const;
      await device.client!.publishAsync(
        device.topic('telemetry'),
        Buffer.from(device.seal()),
        options,
      );
    });
  });

  test('QoS 2', async () => {
    await expectReject('ERR_QOS', async () => {
      await device.client!.publishAsync(device.topic('telemetry'), Buffer.from(device.seal()), {
        qos: 2,
      });
    });
  });

  test('an envelope above 60,000 bytes', async () => {
    await expectReject('ERR_TOO_LARGE', () => device.publish('telemetry', new Uint8Array(60_001)));
  });

  test('no CBOR at all', async () => {
    await expectReject('ERR_CBOR_MALFORMED', () => device.publish('event', Uint8Array.of(0xff, 1)));
  });

  test('another envelope with a seq that is recorded', async () => {
    await device.publish('telemetry', device.seal({ seq: 0 }));
    const second = device.seal({ seq: 0, payload: senml(1_700_000_000) });
    await expectReject('ERR_EQUIVOCATION', () => device.publish('telemetry', second));
  });

  test('a reading from the future', async () => {
    const payload = senml(Math.floor(Date.now() / 1000) + 60);
    await expectReject('ERR_TIME_FUTURE', () =>
      device.publish('telemetry', device.seal({ payload })),
    );
    expect(device.rejects[0]).toMatchObject({ seq: 0, boot: [1, device.bootSeed] });
  });

  test('absolute times from an unsynced clock', async () => {
    await expectReject('ERR_TIME_UNSYNCED', () =>
      device.publish('telemetry', device.seal({ boundMs: null })),
    );
  });

  test('relative times from a synced clock', async () => {
    await expectReject('ERR_TIME_RELATIVE', () =>
      device.publish('telemetry', device.seal({ payload: senml(-5) })),
    );
  });

  test('a content type that the kind does not have', async () => {
    const envelope = device.seal({ contentType: CONTENT_TYPES.cbor, payload: Uint8Array.of(0xa0) });
    await expectReject('ERR_MESSAGE_MALFORMED', () => device.publish('telemetry', envelope));
  });

  test('a relay that carries nothing', async () => {
    const envelope = device.seal({ kind: 'relay', payload: Uint8Array.of(0x80) });
    await expectReject('ERR_MESSAGE_MALFORMED', () => device.publish('relay', envelope));
  });

  test('the same boot counter with another seed, and only that boot', async () => {
    await device.publish('telemetry', device.seal());
    const bootSeed = randomBytes(4);
    const envelope = device.seal({ bootSeed, seq: 0 });
    // With the quarantine in the log.
    await expectReject('ERR_BOOT_CLONED', () => device.publish('telemetry', envelope), 1);
    await device.publish('telemetry', device.seal());
    expect(verdicts().accepted).toBe(2);
  });

  test('a suspended device: the session ends and logins get return code 5', async () => {
    await broker.admin('POST', `/admin/devices/${device.id}/suspend`, { reason: 'test' });
    await until(() => !device.client!.connected);
    await expect(device.connect()).rejects.toMatchObject({ code: 5 });
  });
});

describe('settlement', () => {
  test('rejected seqs are listed until a birth acknowledges them', async () => {
    await device.publish('birth', device.seal({ kind: 'birth' }));
    await device.publish('telemetry', device.seal({ payload: senml(-5) }));
    await until(() => device.receipts.at(-1)?.boots[0]?.[4].length === 1);
    expect(device.receipts.at(-1)!.boots[0]!.slice(2)).toEqual([1, [], [[1, 'ERR_TIME_RELATIVE']]]);
    const payload = device.birth({ rejectsSeen: [[1, device.bootSeed, 1]] });
    await device.publish('birth', device.seal({ kind: 'birth', payload }));
    await until(() => device.receipts.at(-1)?.boots[0]?.[4].length === 0);
  });

  test('rejects beyond 1,024 that nobody acknowledges name no seq, and a gap settles what they left', async () => {
    const { bootSeed } = device;
    const refused = Array.from({ length: 1030 }, () => device.seal({ payload: senml(-5) }));
    await Promise.all(refused.map((envelope) => device.publish('telemetry', envelope)));
    await until(() => device.rejects.length === 1030);
    const named = device.rejects.flatMap(({ seq }) => (seq === null ? [] : [seq]));
    expect(named.sort((x, y) => x - y)).toEqual(Array.from({ length: 1024 }, (_, seq) => seq));
    for (const { boot, code, permanent } of device.rejects.filter(({ seq }) => seq === null)) {
      expect({ boot, code, permanent }).toEqual({
        boot: null,
        code: 'ERR_TIME_RELATIVE',
        permanent: true,
      });
    }
    expect(verdicts()).toMatchObject({ rejected: 1030, unsettledRejects: 6 });
    const rejectsSeen = named.map((seq): [number, Uint8Array, number] => [1, bootSeed, seq]);
    const payload = device.birth({ rejectsSeen });
    await device.publish('birth', device.seal({ kind: 'birth', payload }));
    await until(() => device.receipts.at(-1)?.boots[0]?.[2] === 1023);
    const gaps = encodeGap({ gaps: [[1, bootSeed, 1024, 1029, 'rejected']] });
    await device.publish('gap', device.seal({ kind: 'gap', payload: gaps }));
    await until(() => device.receipts.at(-1)?.boots[0]?.[2] === 1031);
  });

  test('a restart keeps verdicts, devices and settlement', async () => {
    const accepted = device.seal();
    const future = device.seal({ payload: senml(Math.floor(Date.now() / 1000) + 60) });
    await device.publish('telemetry', accepted);
    await device.publish('telemetry', future);
    await device.close();
    await broker.restart();
    const { addresses, network } = broker.running;
    const again = new TestDevice({ http: addresses.http, mqtt: addresses.mqtt, network });
    Object.assign(again, { signer: device.signer, id: device.id, owner: device.owner });
    Object.assign(again, { rootKey: broker.running.rootKey });
    await again.connect();
    await again.publish('telemetry', accepted);
    expect(verdicts()).toMatchObject({ accepted: 0, duplicate: 1 });
    await until(() => again.receipts.length > 0);
    expect(again.receipts[0]!.boots[0]!.slice(2)).toEqual([1, [], [[1, 'ERR_TIME_FUTURE']]]);
    const other = device.seal({ seq: 0, payload: senml(1_700_000_000) });
    await again.publish('telemetry', other);
    expect(verdicts().rejectedByCode).toEqual({ ERR_EQUIVOCATION: 1 });
    await again.close();
  });
});

describe('login', () => {
  const connect = (from: TestDevice, options: object) =>
    mqtt.connectAsync(from.mqttUrl, {
      clientId: from.id,
      username: from.id,
      protocolVersion: 4,
      clean: true,
      reconnectPeriod: 0,
      ...options,
    });

  test('a nonce works once', async () => {
    const nonce = await device.hello();
    const other = await broker.device();
    await other.descriptor();
    const password = await other.loginPassword(nonce);
    const client = await connect(other, { password });
    await client.endAsync(true);
    await expect(connect(other, { password })).rejects.toMatchObject({ code: 4 });
  });

  test('a nonce that the broker did not issue is refused', async () => {
    const password = await device.loginPassword(randomBytes(32));
    await expect(connect(device, { password })).rejects.toMatchObject({ code: 4 });
  });

  test('another key is refused', async () => {
    const password = await device.loginPassword(undefined, signerFromSeed(randomBytes(32)));
    await expect(connect(device, { password })).rejects.toMatchObject({ code: 4 });
  });

  test('a device that is not enrolled gets return code 5', async () => {
    const stranger = new TestDevice({
      http: device.http,
      mqtt: device.mqttUrl,
      network: device.network,
    });
    Object.assign(stranger, { rootKey: broker.running.rootKey });
    const password = await stranger.loginPassword();
    await expect(connect(stranger, { password })).rejects.toMatchObject({ code: 5 });
  });

  test('wills are refused with 5, sessions that are kept with 2', async () => {
    const will = { topic: device.topic('event'), payload: Buffer.from('x'), qos: 1 as const };
    const password = await device.loginPassword();
    await expect(connect(device, { password, will })).rejects.toMatchObject({ code: 5 });
    await expect(connect(device, { password, clean: false })).rejects.toMatchObject({ code: 2 });
  });

  test('a second connection of a device takes the session over', async () => {
    const first = device.client!;
    await device.connect();
    await until(() => !first.connected);
    await device.publish('telemetry', device.seal());
    expect(verdicts().accepted).toBe(1);
  });
});

describe('subscriptions', () => {
  test.each([
    '#',
    '$SYS/#',
    '$share/g/a',
    'fp/1/NET/d/OTHER/receipt',
    'fp/1/NET/d/SELF/telemetry',
    'fp/1/NET/d/+/receipt',
  ])('%s is refused', async (filter) => {
    const other = await broker.device();
    const name = filter
      .replace('NET', device.network)
      .replace('SELF', device.id)
      .replace('OTHER', other.id);
    await expect(device.client!.subscribeAsync(name)).rejects.toThrow();
  });

  test('state is there, retained', async () => {
    const states: string[] = [];
    device.client!.on('message', (topic, payload) => {
      if (topic === device.topic('state')) states.push(payload.toString());
    });
    await device.client!.subscribeAsync(device.topic('state'), { qos: 1 });
    await until(() => states.length > 0);
    expect(JSON.parse(states[0]!)).toMatchObject({ online: true });
  });
});
