/** Captured envelopes, sent again by a client that is not ours. Each verdict has its own code and counter. */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { formatTopic } from '@fieldproof/protocol/topics';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { describeWith, findService } from '../support/services.ts';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type TestDevice, until } from './support/device.ts';

const run = promisify(execFile);

describeWith(['mosquitto_pub'], 'captured envelopes and mosquitto_pub', () => {
  let broker: TestBroker;
  let device: TestDevice;
  let other: TestDevice;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-mosquitto-'));
    broker = await startTestBroker({ verifierThreads: 2 });
    device = await broker.device();
    other = await broker.device();
    await device.descriptor();
  });
  afterAll(async () => {
    await broker.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function options(topic: string, envelope: Uint8Array): Promise<string[]> {
    const file = join(folder, 'envelope');
    writeFileSync(file, envelope);
    const { port } = new URL(device.mqttUrl);
    return [
      ...['-h', '127.0.0.1', '-p', port, '-V', 'mqttv311', '-q', '1', '-i', device.id],
      ...['-u', device.id, '-P', await device.loginPassword(), '-t', topic, '-f', file],
    ];
  }

  async function publish(topic: string, envelope: Uint8Array): Promise<void> {
    await run(findService('mosquitto_pub')!, await options(topic, envelope));
  }

  const verdicts = () => broker.running.status().verdicts;
  const entries = () => broker.running.status().evidence.entries;

  function altered(envelope: Uint8Array): Uint8Array {
    const copy = envelope.slice();
    copy[copy.length - 70]! ^= 1;
    return copy;
  }

  test.each<[string, string, () => [topic: string, envelope: Uint8Array]]>([
    [
      'altered in one bit',
      'ERR_SIGNATURE_INVALID',
      () => [device.topic('telemetry'), altered(device.seal())],
    ],
    [
      'signed for another network',
      'ERR_SIGNATURE_INVALID',
      () => [device.topic('telemetry'), device.seal({ network: 'elsewhere' })],
    ],
    [
      'sent to another network',
      'ERR_WRONG_NETWORK',
      () => [
        formatTopic({ network: 'elsewhere', deviceId: device.id, kind: 'telemetry' }),
        device.seal(),
      ],
    ],
    [
      'sent to the topic of another device',
      'ERR_TOPIC_FORBIDDEN',
      () => [other.topic('telemetry'), device.seal()],
    ],
    [
      'sent as another kind',
      'ERR_WRONG_KIND',
      () => [device.topic('event'), device.seal({ kind: 'telemetry' })],
    ],
    [
      'signed by a stranger',
      'ERR_KEY_UNKNOWN',
      () => [device.topic('telemetry'), device.seal({ signer: signerFromSeed(randomBytes(32)) })],
    ],
    [
      'of 60,001 bytes',
      'ERR_TOO_LARGE',
      () => [device.topic('telemetry'), new Uint8Array(60_001).fill(0x20)],
    ],
    [
      'that is no CBOR',
      'ERR_CBOR_MALFORMED',
      () => [device.topic('telemetry'), Uint8Array.of(0xff, 0, 1)],
    ],
  ])('an envelope %s is not recorded: %s', async (_name, code, message) => {
    const before = { entries: entries(), ...verdicts() };
    await publish(...message());
    const after = verdicts();
    expect(entries()).toBe(before.entries);
    expect(after.received).toBe(before.received + 1);
    expect(after.accepted).toBe(before.accepted);
    expect(after.rejectedByCode[code]).toBe((before.rejectedByCode[code] ?? 0) + 1);
  });

  test('an unaltered one is recorded; its resend is a duplicate and receipted', async () => {
    const envelope = device.seal({ seq: 0 });
    const before = verdicts();
    await publish(device.topic('telemetry'), envelope);
    expect(verdicts().accepted).toBe(before.accepted + 1);
    const recorded = entries();
    await publish(device.topic('telemetry'), envelope);
    expect(verdicts()).toMatchObject({
      accepted: before.accepted + 1,
      duplicate: before.duplicate + 1,
    });
    expect(entries()).toBe(recorded);
    // mosquitto_pub hears nothing; the device itself, resending once more, gets the receipt.
    await device.connect();
    await device.publish('telemetry', envelope);
    await until(() => device.receipts.length > 0);
    expect(device.receipts[0]?.boots[0]?.slice(0, 3)).toEqual([
      device.bootCounter,
      device.bootSeed,
      0,
    ]);
  });
});
