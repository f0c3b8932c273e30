import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FileLayer, nodeFiles } from '@fieldproof/broker/evidence/file-layer';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeBatchEntry, isBatchEntry } from '@fieldproof/protocol/log-entries';
import { afterEach, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type TestDevice, until } from './support/device.ts';

let broker: TestBroker;

afterEach(async () => {
  await broker.close();
});

async function tail(): Promise<Uint8Array> {
  const token = readFileSync(join(broker.dataDir, 'tokens/service'), 'utf8').trim();
  const response = await fetch(`${broker.running.addresses.http}/v1/tail?from=0&live=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  expect(response.status).toBe(200);
  return new Uint8Array(await response.arrayBuffer());
}

async function recordedSeqs(device: TestDevice): Promise<number[]> {
  const reader = new FrameReader(0);
  reader.push(await tail());
  const seqs: number[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    if (!isBatchEntry(frame.entry)) continue;
    const entry = decodeBatchEntry(frame.entry);
    if (Buffer.from(entry.device).equals(device.signer.publicKey)) seqs.push(entry.seq);
  }
  return seqs;
}

describe('verification in threads', () => {
  test('what a client sends is recorded in its order, and every PUBLISH has a verdict', async () => {
    broker = await startTestBroker({ verifierThreads: 2 });
    const devices = await Promise.all([broker.device(), broker.device(), broker.device()]);
    const count = 300;
    await Promise.all(
      devices.map(async (device) => {
        await device.connect();
        const sent: Promise<void>[] = [];
        for (let i = 0; i < count; i++) {
          sent.push(device.publish('telemetry', device.seal()));
          const bad = device.seal({ seq: 1000 + i });
          bad[bad.length - 1]! ^= 1;
          if (i % 10 === 0) sent.push(device.publish('telemetry', bad));
        }
        await Promise.all(sent);
      }),
    );
    const order = Array.from({ length: count }, (_, i) => i);
    for (const device of devices) expect(await recordedSeqs(device)).toEqual(order);
    expect(broker.running.status().verdicts).toMatchObject({
      received: 3 * 330,
      accepted: 900,
      rejected: 90,
      inFlight: 0,
    });
  });
});

describe('PUBACK', () => {
  test('comes after fdatasync and not before', async () => {
    let hold: Promise<void> | null = null;
    const files: FileLayer = {
      ...nodeFiles,
      open: async (path, mode) => {
        const file = await nodeFiles.open(path, mode);
        if (!path.includes('segments')) return file;
        return {
          ...file,
          sync: async () => {
            await hold;
            await file.sync();
          },
        };
      },
    };
    broker = await startTestBroker({}, { files });
    const device = await broker.device();
    await device.connect();
    let release = () => {};
    hold = new Promise((resolve) => {
      release = resolve;
    });
    let acknowledged = false;
    const published = device.publish('telemetry', device.seal()).then(() => {
      acknowledged = true;
    });
    await until(() => broker.running.status().evidence.pendingBytes > 0);
    // Another round trip on the same socket: an acknowledgement would have come by now.
    for (let i = 0; i < 5; i++) await device.hello();
    expect(acknowledged).toBe(false);
    expect(broker.running.status().verdicts).toMatchObject({ received: 1, inFlight: 1 });
    release();
    await published;
    expect(broker.running.status().verdicts).toMatchObject({ accepted: 1, inFlight: 0 });
  });

  test('a disk that refuses is a transient reject, and the envelope is accepted later', async () => {
    let full = false;
    const files: FileLayer = {
      ...nodeFiles,
      open: async (path, mode) => {
        const file = await nodeFiles.open(path, mode);
        return {
          ...file,
          write: async (position, bytes) => {
            if (full && path.includes('segments')) {
              throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
            }
            await file.write(position, bytes);
          },
        };
      },
    };
    broker = await startTestBroker({}, { files });
    const device = await broker.device();
    await device.connect();
    full = true;
    const envelope = device.seal();
    await device.publish('telemetry', envelope);
    await until(() => device.rejects.length > 0);
    expect(device.rejects[0]).toMatchObject({ code: 'ERR_LOG_FULL', permanent: false });
    full = false;
    await until(() => broker.running.status().evidence.writable);
    await device.publish('telemetry', envelope);
    expect(broker.running.status().verdicts).toMatchObject({ accepted: 1, rejected: 1 });
  });
});

describe('back-pressure', () => {
  test('a broker whose disk lags pauses its sockets and loses nothing', async () => {
    const files: FileLayer = {
      ...nodeFiles,
      open: async (path, mode) => {
        const file = await nodeFiles.open(path, mode);
        const slow = async () => {
          await new Promise((resolve) => setTimeout(resolve, 5));
          await file.sync();
        };
        return path.includes('segments') ? { ...file, sync: slow } : file;
      },
    };
    broker = await startTestBroker({ maxPendingBytes: 65_536 }, { files });
    const devices = await Promise.all([broker.device(), broker.device(), broker.device()]);
    let paused = 0;
    const watch = setInterval(() => {
      paused = Math.max(paused, broker.running.status().mqtt.paused);
    }, 1);
    await Promise.all(
      devices.map(async (device) => {
        await device.connect();
        const sent = Array.from({ length: 600 }, () => device.publish('telemetry', device.seal()));
        await Promise.all(sent);
      }),
    );
    expect(broker.running.status().verdicts).toMatchObject({ accepted: 1800, rejected: 0 });
    clearInterval(watch);
    expect(paused).toBeGreaterThan(0);
  });
});

test('the wrong kind is named however much good traffic there was before', async () => {
  broker = await startTestBroker({ verifierThreads: 1 });
  const device = await broker.device();
  await device.connect();
  await Promise.all(Array.from({ length: 200 }, () => device.publish('telemetry', device.seal())));
  await device.publish('event', device.seal({ kind: 'telemetry' }));
  await until(() => device.rejects.length > 0);
  expect(device.rejects[0]?.code).toBe('ERR_WRONG_KIND');
});
