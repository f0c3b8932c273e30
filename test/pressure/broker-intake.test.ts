/**
 * Senders that do not wait, against a broker process whose disk hangs, and clients that never read: what the broker
 * holds is bounded by its settings, the senders are held back by TCP, and nothing is lost. Far more is offered
 * than the broker may hold.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from '@fieldproof/protocol/cbor';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { until } from '../support/network.ts';
import { type BrokerProcess, startBrokerProcess } from './support/broker-process.ts';
import { Flooder, sealed } from './support/flooder.ts';
import { memoryOf } from './support/process-memory.ts';

const MIB = 2 ** 20;
const LIMITS = {
  MAX_PENDING_BYTES: MIB,
  MAX_IN_FLIGHT_BYTES: MIB / 2,
  MAX_IN_FLIGHT: 200,
  MAX_UNSENT_BYTES: 128 * 1024,
  DRAIN_TIMEOUT_MS: 1000,
  // Rates have suites of their own.
  DEVICE_MESSAGES_PER_SECOND: 0,
  OWNER_MESSAGES_PER_SECOND: 0,
};
const FLOODERS = 4;
const EACH = 350;
/** One read of a socket, of which all messages are taken in. */
const CHUNK_BYTES = 128 * 1024;
/** Ring of the tail (32 MiB), a commit twice (4 MiB), and what a garbage collector lets stand. */
const ROOM_MIB = 140;
/** Sealing and verifying all of it takes its time on a busy machine. */
const LIMIT_MS = 180_000;

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-pressure-'));
let broker: BrokerProcess;
const flooders: Flooder[] = [];

beforeAll(async () => {
  broker = await startBrokerProcess(folder, LIMITS);
});

afterAll(async () => {
  for (const flooder of flooders) flooder.close();
  await broker?.stop();
  rmSync(folder, { recursive: true, force: true });
});

afterEach(() => broker.disk(0));

async function open(): Promise<Flooder> {
  const flooder = await Flooder.open(await broker.device());
  flooders.push(flooder);
  return flooder;
}

/** A batch of few readings and many bytes. */
function bigBatch(): Uint8Array {
  const text = 'x'.repeat(10_000);
  const time = Math.floor(Date.now() / 1000) - 60;
  return encode(
    [0, 1, 2, 3, 4].map((i) => {
      const record: [number, number | string][] = [
        [0, `air/note${i}`],
        [3, text],
        [6, time],
      ];
      return new Map(record);
    }),
  );
}

test(
  'a disk that hangs holds senders back, and all they sent is recorded when it works again',
  async () => {
    const senders: Flooder[] = [];
    for (let i = 0; i < FLOODERS; i++) senders.push(await open());
    const before = memoryOf(broker.pid);
    const { verdicts, evidence } = await broker.status();
    const payload = bigBatch();
    broker.disk('hang');
    const sending = senders.map((sender) =>
      sender.send('telemetry', sealed(sender.device, { count: EACH, payload })),
    );

    await until('every sender is held back', async () => {
      const { mqtt } = await broker.status();
      return mqtt.paused > 0 && senders.every(({ isHeld }) => isHeld);
    });
    const held = await broker.status();
    expect(held.mqtt.pendingBytes).toBeLessThan(LIMITS.MAX_PENDING_BYTES + FLOODERS * CHUNK_BYTES);
    expect(held.mqtt.paused).toBeGreaterThan(0);
    expect(held.evidence.entries).toBe(evidence.entries);
    // 70 MB are offered: what was written is in the broker (1 MiB) or in the kernel.
    expect(senders.reduce((sum, { written }) => sum + written, 0)).toBeLessThan(FLOODERS * EACH);

    broker.disk(300);
    await until(
      'commits go on, slowly',
      async () => (await broker.status()).evidence.entries > 100,
    );
    broker.disk(0);
    await Promise.all(sending);
    await until('every message is acknowledged', () =>
      senders.every(({ acknowledged }) => acknowledged === EACH),
    );
    const after = await broker.status();
    expect(after.verdicts.accepted - verdicts.accepted).toBe(FLOODERS * EACH);
    expect(after.verdicts.rejected).toBe(0);
    expect(after.evidence.entries).toBeGreaterThanOrEqual(evidence.entries + FLOODERS * EACH);
    expect(after.mqtt).toMatchObject({ pendingBytes: 0, paused: 0 });
    if (before) expect(memoryOf(broker.pid)!.peak - before.rss).toBeLessThan(ROOM_MIB);
  },
  LIMIT_MS,
);

test(
  'one sender that waits for nothing is held at its own limit while the disk hangs, and others are read',
  async () => {
    const greedy = await open();
    const polite = await open();
    broker.disk('hang');
    const payload = bigBatch();
    // 18 MB: the kernel may take 10 of them.
    const sending = greedy.send('telemetry', sealed(greedy.device, { count: EACH, payload }));
    await until('the greedy one is held', () => greedy.isHeld);
    const { mqtt, verdicts } = await broker.status();
    expect(mqtt.pendingBytes).toBeLessThan(LIMITS.MAX_IN_FLIGHT_BYTES + 2 * CHUNK_BYTES);
    expect(mqtt.paused).toBe(0);
    await polite.send('telemetry', sealed(polite.device, { count: 3, payload }));
    await until('the polite one is read', async () => {
      return (await broker.status()).verdicts.received >= verdicts.received + 3;
    });
    broker.disk(0);
    await sending;
    await until('both have all acknowledged', () => {
      return greedy.acknowledged === EACH && polite.acknowledged === 3;
    });
  },
  LIMIT_MS,
);

test(
  'junk without end is refused one by one, with no more on its way than the limit',
  async () => {
    const sender = await open();
    const before = await broker.status();
    const count = 4000;
    const junk = sender.device.seal();
    junk[junk.length - 1]! ^= 1;
    let isSending = true;
    const sending = sender
      .send(
        'telemetry',
        Array.from({ length: count }, () => junk),
      )
      .finally(() => {
        isSending = false;
      });
    let most = 0;
    while (isSending) most = Math.max(most, (await broker.status()).verdicts.inFlight);
    await sending;
    await until('all are refused', () => sender.acknowledged === count);
    const { verdicts } = await broker.status();
    expect(verdicts.rejected - before.verdicts.rejected).toBe(count);
    // A read of the socket brings so many of them at once.
    expect(most).toBeLessThan(LIMITS.MAX_IN_FLIGHT + CHUNK_BYTES / junk.length);
    expect(sender.received).toBeGreaterThanOrEqual(count);
  },
  LIMIT_MS,
);

test(
  'a client that never reads is cut off, and what it made the broker send is let go',
  async () => {
    const silent = await open();
    const other = await open();
    const before = memoryOf(broker.pid);
    const { mqtt } = await broker.status();
    const junk = silent.device.seal();
    junk[junk.length - 1]! ^= 1;
    silent.socket.pause();
    await silent.send(
      'telemetry',
      (function* () {
        for (;;) yield junk;
      })(),
    );
    expect(silent.isClosed).toBe(true);
    await until('it is counted', async () => {
      const { refused } = (await broker.status()).mqtt;
      return (refused['slow reader'] ?? 0) > (mqtt.refused['slow reader'] ?? 0);
    });
    await until('nothing of it is pending', async () => {
      return (await broker.status()).mqtt.pendingBytes === 0;
    });
    await other.send('telemetry', sealed(other.device, { count: 1, payload: bigBatch() }));
    await until('others go on', () => other.acknowledged === 1);
    if (before) expect(memoryOf(broker.pid)!.rss - before.rss).toBeLessThan(ROOM_MIB / 2);
  },
  LIMIT_MS,
);
