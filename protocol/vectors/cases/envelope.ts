/** Examples of docs/spec/envelope.md and telemetry.md. */

import { sha256 } from '@noble/hashes/sha2.js';
import { toHex } from '../../src/bytes.ts';
import { type CborValue, encode, Tagged } from '../../src/cbor.ts';
import { sigStructure } from '../../src/cose.ts';
import {
  CONTENT_TYPES,
  type ContentType,
  parseEnvelope,
  type Stamp,
  seal,
  upAad,
} from '../../src/envelope.ts';
import { formatTopic } from '../../src/topics.ts';
import { network } from './identity.ts';
import { BOOT_SEED, device, NOON } from './people.ts';
import { cborCase, type VectorCase, type VectorFile } from './vector-file.ts';

const SECONDS = NOON / 1000;

export function stampOf(seq: number, boundMs: number | null = 20): Stamp {
  return { bootCounter: 7, bootSeed: BOOT_SEED, seq, bootMs: 61_250, boundMs };
}

/** Two runs: temp 21.53, 21.55, 21.48 Cel and rh 0.47 /, ten seconds apart. */
export const senmlPayload = encode([
  new Map<number, CborValue>([
    [-5, new Tagged(4, [-2, 2153])],
    [-4, 'Cel'],
    [-3, SECONDS - 20],
    [-2, 'air/temp'],
    [2, 0],
  ]),
  new Map<number, CborValue>([
    [2, new Tagged(4, [-2, 2])],
    [6, 10],
  ]),
  new Map<number, CborValue>([
    [2, new Tagged(4, [-2, -5])],
    [6, 20],
  ]),
  new Map<number, CborValue>([
    [-5, 0],
    [-4, '%RH'],
    [-2, 'air/rh'],
    [2, 47],
  ]),
]);

/** The same readings of temp, and rh at all three instants, as columns. */
export const columnsPayload = encode([
  [
    'air',
    SECONDS - 20,
    [10, 3],
    [
      ['temp', 'Cel', -2, 2153, new Tagged(72, Uint8Array.of(0, 2, 0xfb))],
      ['rh', '%RH', 0, 47, new Tagged(72, Uint8Array.of(0, 0, 1))],
    ],
  ],
]);

const relativePayload = encode([
  new Map<number, CborValue>([
    [-4, 'Cel'],
    [-2, 'air/temp'],
    [2, new Tagged(4, [-2, 2153])],
    [6, -20],
  ]),
  new Map<number, CborValue>([
    [2, new Tagged(4, [-2, 2155])],
    [6, -10],
  ]),
]);

export function sealTelemetry(
  payload: Uint8Array,
  contentType: ContentType,
  stamp: Stamp,
): Uint8Array {
  return seal({
    contentType,
    payload,
    stamp,
    externalAad: upAad(network, 'telemetry'),
    signer: device,
  });
}

export function envelopeVectors(): VectorFile {
  const envelope = sealTelemetry(senmlPayload, CONTENT_TYPES.senml, stampOf(3));
  const parts = parseEnvelope(envelope);
  const externalAad = upAad(network, 'telemetry');
  return {
    spec: 'docs/spec/envelope.md',
    cases: [
      cborCase(
        {
          name: 'telemetry envelope',
          about: 'SenML, boot 7, seq 3, clock known to 20 ms, signed by the example device.',
          inputs: {
            topic: formatTopic({ network, deviceId: device.id, kind: 'telemetry' }),
            publicKey: toHex(device.publicKey),
            externalAad: toHex(externalAad),
            protected: toHex(parts.protectedBytes),
            payload: toHex(parts.payload),
            sigStructure: toHex(sigStructure(parts.protectedBytes, externalAad, parts.payload)),
            signature: toHex(parts.signature),
            digest: toHex(sha256(envelope)),
          },
        },
        envelope,
      ),
    ],
  };
}

export function telemetryVectors(): VectorFile {
  return {
    spec: 'docs/spec/telemetry.md',
    cases: [
      cborCase(
        {
          name: 'SenML payload',
          about:
            'Resolves to air/temp 21.53, 21.55, 21.48 Cel at 11:59:40, :50 and 12:00:00 and air/rh 47 %RH at 11:59:40 UTC.',
        },
        senmlPayload,
      ),
      cborCase(
        {
          name: 'columns payload',
          about:
            'air/temp 21.53, 21.55, 21.48 Cel and air/rh 47, 47, 48 %RH at the same three instants.',
        },
        columnsPayload,
      ),
      cborCase(
        {
          name: 'unsynchronised envelope',
          about: 'Clock bound null: air/temp 21.53 and 21.55 Cel, 20 s and 10 s before sealing.',
        },
        sealTelemetry(relativePayload, CONTENT_TYPES.senml, stampOf(4, null)),
      ),
      cborCase(
        { name: 'columns envelope', about: 'The columns payload, sealed with seq 5.' },
        sealTelemetry(columnsPayload, CONTENT_TYPES.columns, stampOf(5)),
      ),
    ] satisfies VectorCase[],
  };
}
