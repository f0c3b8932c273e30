/** The order of verdicts where an acknowledgement brings the next messages with it, as Aedes reads on within it. */

import { createHash } from 'node:crypto';
import type { Session } from '@fieldproof/broker/gate/session';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES, seal, upAad } from '@fieldproof/protocol/envelope';
import { encodeEvent } from '@fieldproof/protocol/messages';
import { formatTopic } from '@fieldproof/protocol/topics';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { GateBench, REAL_PARTS } from '../fuzz/envelopes/gate-bench.ts';

const NETWORK = 'gatenet1';
const NOW = 1_795_262_400_000;
const signer = signerFromSeed(new Uint8Array(32).fill(3));
const kid = digestOf(signer.publicKey).subarray(0, 8);
const deviceId = deviceIdFromPublicKey(signer.publicKey);
const topic = formatTopic({ network: NETWORK, deviceId, kind: 'event' });
const forbidden = formatTopic({ network: NETWORK, deviceId, kind: 'receipt' });
let bench: GateBench;

beforeAll(async () => {
  bench = await GateBench.open(REAL_PARTS);
});

afterAll(() => bench.close());

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function envelope(seq: number): Uint8Array {
  return seal({
    contentType: CONTENT_TYPES.cbor,
    payload: encodeEvent({ event: 'x' }),
    externalAad: upAad(NETWORK, 'event'),
    signer,
    stamp: { bootCounter: 1, bootSeed: Uint8Array.of(1, 2, 3, 4), seq, bootMs: 0, boundMs: null },
  });
}

test('messages that come within an acknowledgement are judged once each, and acknowledged in their order', async () => {
  const { gate, counters } = bench.gate({
    ...{ network: NETWORK, signer, verify, now: NOW, mayDiagnose: false, digestOf },
    deviceKey: () => ({ publicKey: signer.publicKey, kid, history: null, standing: 'good' }),
    // As from another thread: later.
    relayProblem: () => 'not-named',
    later: (answer) => void setImmediate(answer),
    publishDown: (_device, _kind, { done }) => {
      setImmediate(() => done?.());
      return true;
    },
  });
  const session: Session = {
    ...{ deviceId, deviceKey: signer.publicKey, nonce: '', nonceIssuedAt: NOW, kid },
    ...{ slots: [], judged: 0 },
  };
  const acknowledged: number[] = [];
  const send = (seq: number, to: string, within: () => void = () => {}) =>
    gate.receive(session, { topic: to, retain: false, qos: 1, envelope: envelope(seq) }, () => {
      acknowledged.push(seq);
      within();
    });
  send(0, topic, () => {
    send(1, topic);
    // Refused at once, while the one before it is on its way.
    send(2, forbidden, () => send(4, topic));
    send(3, topic);
  });
  for (let turn = 0; turn < 5000 && acknowledged.length < 5; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(acknowledged).toEqual([0, 1, 2, 3, 4]);
  const values = counters.values();
  expect(values).toMatchObject({ received: 5, accepted: 4, rejected: 1, inFlight: 0 });
  expect(session.judged).toBe(0);
});
