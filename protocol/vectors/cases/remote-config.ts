/** Examples of docs/spec/remote-config.md: a desired state, and what a device says of it. */

import { sha256 } from '@noble/hashes/sha2.js';
import { toHex } from '../../src/bytes.ts';
import { encode } from '../../src/cbor.ts';
import { configEventOf } from '../../src/config-report.ts';
import { digestOfState, encodeDesiredState } from '../../src/desired-state.ts';
import { CONTENT_TYPES, downAad, seal, upAad } from '../../src/envelope.ts';
import { encodeEvent } from '../../src/messages.ts';
import { stampOf } from './envelope.ts';
import { network } from './identity.ts';
import { control, device, NOON } from './people.ts';
import { cborCase, type VectorFile } from './vector-file.ts';

const id = sha256(encode('fieldproof example configuration')).slice(0, 16);

const state = encodeDesiredState({
  ...{ id, issued: NOON, version: 4, expires: NOON + 30 * 86_400_000 },
  wanted: ['air', 'system/load'],
  intervals: { air: 30_000 },
  edge: { 'air/temp': 'window 1m mean | deadband 0.2' },
  preferences: { sealEveryMs: 60_000, heartbeatMs: 50_000 },
});

/** As another implementation may send it: each mistake is to be named. */
const wrong = encode({
  ...{ type: 'desired-state', id, issued: NOON, version: 5, expires: NOON },
  ...{ wanted: ['Air', 'air', 'air'], intervals: { air: 99 }, exec: 'sh' },
});

const digest = digestOfState(state);
const wrongDigest = digestOfState(wrong);

function event(seq: number, report: Parameters<typeof configEventOf>[0]): Uint8Array {
  return seal({
    contentType: CONTENT_TYPES.cbor,
    payload: encodeEvent(configEventOf(report)),
    stamp: stampOf(seq),
    externalAad: upAad(network, 'event'),
    signer: device,
  });
}

export function remoteConfigVectors(): VectorFile {
  return {
    spec: 'docs/spec/remote-config.md',
    cases: [
      cborCase(
        { name: 'desired state', about: 'Payload.', inputs: { sha256: toHex(digest) } },
        state,
      ),
      cborCase(
        {
          name: 'desired state envelope',
          about: `Signed by control, external_aad ["${network}", "config", device id].`,
        },
        seal({
          contentType: CONTENT_TYPES.cbor,
          payload: state,
          externalAad: downAad(network, 'config', device.id),
          signer: control,
        }),
      ),
      cborCase(
        {
          name: 'payload with mistakes',
          about: 'Five: expires, an unknown key, wanted[0], wanted[2], intervals.air.',
          inputs: { sha256: toHex(wrongDigest) },
        },
        wrong,
      ),
      cborCase(
        { name: 'config-applied', about: 'Event, seq 1.' },
        event(1, {
          ...{ outcome: 'applied', id, version: 4, digest, reasons: [], newest: 4, inForce: 4 },
        }),
      ),
      cborCase(
        { name: 'config-refused', about: 'Event, seq 2; version 4 stays in force.' },
        event(2, {
          ...{ outcome: 'refused', id, version: 5, digest: wrongDigest, newest: 5, inForce: 4 },
          ...{ code: 'ERR_CONFIG_INVALID' },
          reasons: ['intervals.air: expected a whole number from 100 to 86400000, got 99'],
        }),
      ),
      cborCase(
        { name: 'config-rolled-back', about: 'Event, seq 3.' },
        event(3, {
          ...{ outcome: 'rolled-back', id, version: 4, digest, newest: 5, inForce: 0 },
          code: 'ERR_CONFIG_NO_READINGS',
          reasons: ['air: expected a reading within 3 intervals of 30000 ms, got none'],
        }),
      ),
    ],
  };
}
