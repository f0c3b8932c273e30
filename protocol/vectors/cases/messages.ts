/** Examples of docs/spec/messages.md, settlement.md and topics.md. */

import { sha256 } from '@noble/hashes/sha2.js';
import { encodeUtf8, toHex } from '../../src/bytes.ts';
import { sealDelegation } from '../../src/delegation.ts';
import { CONTENT_TYPES, downAad, seal, upAad } from '../../src/envelope.ts';
import { encodeBirth, encodeEvent, encodeGap } from '../../src/messages.ts';
import { encodeRelay, encodeRelayDown } from '../../src/relay.ts';
import { encodeReceipt, encodeReject } from '../../src/settlement-messages.ts';
import { type DownKind, formatTopic, type UpKind } from '../../src/topics.ts';
import { sealTelemetry, senmlPayload, stampOf } from './envelope.ts';
import { evidenceExample } from './evidence.ts';
import { network, serverNonce } from './identity.ts';
import { BOOT_SEED, device, gateway, log, NOON } from './people.ts';
import { cborCase, type VectorFile } from './vector-file.ts';

export const birthPayload = encodeBirth({
  nonce: serverNonce,
  agent: 'fieldproof-agent/0.1.0',
  source: 'sensor',
  profiles: {
    air: [
      { metric: 'temp', unit: 'Cel', resolution: 0.01, intervalMs: 10_000 },
      { metric: 'rh', unit: '%RH', intervalMs: 10_000 },
    ],
  },
  capabilities: { memoryMb: 1024, formats: [112, 65001] },
  rejectsSeen: [],
  head: null,
  wall: [NOON, 20],
});

/** The device of the other examples is the leaf here. */
const delegation = sealDelegation(
  { leaf: device.id, gateway: gateway.id, issued: NOON, expires: NOON + 365 * 86_400_000 },
  { network, signer: device },
);

/** A relay of the leaf's heartbeat, seq 0 of the gateway's boot 3. */
function relay(inside: Uint8Array): Uint8Array {
  return seal({
    contentType: CONTENT_TYPES.cbor,
    payload: encodeRelay({ leaf: device.id, kind: 'event', envelope: inside }),
    stamp: { bootCounter: 3, bootSeed: BOOT_SEED, seq: 0, bootMs: 100, boundMs: 20 },
    externalAad: upAad(network, 'relay'),
    signer: gateway,
  });
}

function up(kind: UpKind, seq: number, payload: Uint8Array): Uint8Array {
  return seal({
    contentType: CONTENT_TYPES.cbor,
    payload,
    stamp: stampOf(seq),
    externalAad: upAad(network, kind),
    signer: device,
  });
}

function down(kind: DownKind, payload: Uint8Array): Uint8Array {
  return seal({
    contentType: CONTENT_TYPES.cbor,
    payload,
    externalAad: downAad(network, kind, device.id),
    signer: log,
  });
}

export function messageVectors(): VectorFile {
  return {
    spec: 'docs/spec/messages.md',
    cases: [
      cborCase({ name: 'birth', about: 'Payload.' }, birthPayload),
      cborCase(
        { name: 'birth envelope', about: 'Sealed with seq 0.' },
        up('birth', 0, birthPayload),
      ),
      cborCase(
        { name: 'event envelope', about: 'A heartbeat, seq 1.' },
        up('event', 1, encodeEvent({ event: 'heartbeat' })),
      ),
      cborCase(
        { name: 'gap envelope', about: 'Boot 6, seq 40 to 57 were dropped; seq 2.' },
        up('gap', 2, encodeGap({ gaps: [[6, Uint8Array.of(9, 9, 9, 9), 40, 57, 'outbox-full']] })),
      ),
      cborCase(
        {
          name: 'delegation',
          about: `The device names a gateway for a year. Signed by it, external_aad ["${network}", "delegation"].`,
        },
        delegation,
      ),
      cborCase(
        {
          name: 'relay envelope',
          about: 'The gateway carries the heartbeat above. Its own seq 0.',
        },
        relay(up('event', 1, encodeEvent({ event: 'heartbeat' }))),
      ),
      cborCase(
        {
          name: 'relay-down message',
          about: 'A reject for the leaf, on the way to its gateway. The inside is signed by log.',
        },
        encodeRelayDown({ leaf: device.id, kind: 'reject', envelope: down('reject', rejectOf()) }),
      ),
    ],
  };
}

function rejectOf(): Uint8Array {
  return encodeReject({
    digest: sha256(sealTelemetry(senmlPayload, CONTENT_TYPES.senml, stampOf(2))),
    boot: [7, BOOT_SEED],
    seq: 2,
    code: 'ERR_TIME_FUTURE',
    remedy: 'Correct the clock of the device.',
    permanent: true,
  });
}

export function settlementVectors(): VectorFile {
  const { leafHash, index, checkpoint, size, root } = evidenceExample();
  const receipt = encodeReceipt({
    at: NOON + 1000,
    boots: [[7, BOOT_SEED, 3, [[6, 8]], [[2, 'ERR_TIME_FUTURE']]]],
    entry: [index, leafHash],
    heads: [[0, size, root]],
    checkpoint,
  });
  const reject = rejectOf();
  return {
    spec: 'docs/spec/settlement.md',
    cases: [
      cborCase(
        {
          name: 'receipt',
          about:
            'Payload: boot 7 is settled through seq 3, and 6 to 8; seq 2 was rejected. 4 and 5 are missing.',
        },
        receipt,
      ),
      cborCase(
        {
          name: 'receipt envelope',
          about: `Signed by log, external_aad ["${network}", "receipt", device id].`,
        },
        down('receipt', receipt),
      ),
      cborCase({ name: 'reject', about: 'Payload.' }, reject),
      cborCase({ name: 'reject envelope', about: 'Signed by log.' }, down('reject', reject)),
    ],
  };
}

export function topicVectors(): VectorFile {
  return {
    spec: 'docs/spec/topics.md',
    cases: (['telemetry', 'receipt'] as const).map((kind) => {
      const topic = formatTopic({ network, deviceId: device.id, kind });
      return {
        name: `${kind} topic`,
        about: 'UTF-8 text.',
        hex: toHex(encodeUtf8(topic)),
        diagnostic: topic,
      };
    }),
  };
}
