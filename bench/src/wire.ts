/**
 * Bytes of a whole PUBLISH per reading, topic and signature included: batches of 50 (5 metrics × 10 instants, two
 * decimals, one second apart), in both content types, beside what unsigned JSON and CBOR take.
 */

import { encode } from '@fieldproof/protocol/cbor';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { type ContentType, seal, upAad } from '@fieldproof/protocol/envelope';
import { encodeTelemetry } from '@fieldproof/protocol/readings-encode';
import { formatTopic } from '@fieldproof/protocol/topics';
import type { Benchmark } from './main.ts';
import { createWalk, type WalkReading } from './random-walk.ts';
import { benchCase } from './result.ts';

const NETWORK = 'h7dz6lhl';
const INSTANTS = 10;
const START_MS = 1_795_262_400_000;
const SIGNER = signerFromSeed(new Uint8Array(32).fill(1));
const DEVICE = deviceIdFromPublicKey(SIGNER.publicKey);
const TOPIC = formatTopic({ network: NETWORK, deviceId: DEVICE, kind: 'telemetry' });

export const wire: Benchmark = async ({ short }) => {
  const batches = Array.from({ length: short ? 50 : 2000 }, (_, seed) =>
    createWalk(seed, START_MS + seed * 60_000)(INSTANTS),
  );
  const peers = {
    'JSON, one message a reading': mean(batches, (batch) => singleJson(batch)),
    'SenML JSON': mean(batches, (batch) => publish('t/air', senmlJson(batch).length)),
    'SenML CBOR, plain': mean(batches, (batch) => publish('t/air', senmlCbor(batch).length)),
  };
  const cases = (['senml', 'columns'] as const).map((format) =>
    benchCase({
      case: format,
      unit: 'bytes/reading',
      values: batches.map((batch, seq) => sealed(batch, format, seq) / batch.length),
      peers,
      goal: { on: 'value', max: format === 'senml' ? 14 : 7 },
    }),
  );
  return {
    cases,
    notes: [
      'The value is the median of the batches; the peers are unsigned and on a topic of five characters.',
      'Steps of up to ±0.10 in the walk; larger steps need wider differences (docs/spec/telemetry.md section 3).',
    ],
  };
};

function sealed(batch: readonly WalkReading[], format: 'senml' | 'columns', seq: number): number {
  return encodeTelemetry(batch, { format })
    .map(({ contentType, payload }) => {
      const envelope = seal({
        contentType: contentType as ContentType,
        payload,
        externalAad: upAad(NETWORK, 'telemetry'),
        signer: SIGNER,
        stamp: {
          bootCounter: 7,
          bootSeed: Uint8Array.of(1, 2, 3, 4),
          seq: 1000 + seq,
          bootMs: 3_600_000 + seq * 10_000,
          boundMs: 20,
        },
      });
      return publish(TOPIC, envelope.length);
    })
    .reduce((a, b) => a + b, 0);
}

/** Fixed header, topic with its length, packet id, payload. MQTT 3.1.1 section 3.3. */
function publish(topic: string, payloadBytes: number): number {
  const remaining = 2 + Buffer.byteLength(topic) + 2 + payloadBytes;
  const lengthBytes = remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3;
  return 1 + lengthBytes + remaining;
}

function singleJson(batch: readonly WalkReading[]): number {
  return batch
    .map(({ metric, value, timeMs }) =>
      publish('t/air', JSON.stringify({ device: 'dev12', metric, value, ts: timeMs }).length),
    )
    .reduce((a, b) => a + b, 0);
}

function senmlJson(batch: readonly WalkReading[]): string {
  return JSON.stringify(
    batch.map(({ metric, value, timeMs }, i) => ({
      ...(i === 0 ? { bt: timeMs / 1000 } : {}),
      n: metric,
      v: value,
      t: (timeMs - batch[0]!.timeMs) / 1000,
    })),
  );
}

function senmlCbor(batch: readonly WalkReading[]): Uint8Array {
  return encode(
    batch.map(
      ({ metric, value, timeMs }, i) =>
        new Map<number, string | number>([
          ...(i === 0 ? [[-3, timeMs / 1000] as const] : []),
          [0, metric],
          [2, value],
          [6, (timeMs - batch[0]!.timeMs) / 1000],
        ]),
    ),
  );
}

function mean(
  batches: readonly (readonly WalkReading[])[],
  bytes: (batch: readonly WalkReading[]) => number,
): number {
  const total = batches.reduce((sum, batch) => sum + bytes(batch) / batch.length, 0);
  return total / batches.length;
}
