/** The ceiling of a gate: Ed25519 verification of the same messages on one thread, keys and messages ready. */

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { parseEnvelope, upAad, verifyEnvelope } from '@fieldproof/protocol/envelope';
import type { FleetDevice } from './fleet.ts';

/** What an X.509 key says before the 32 bytes. RFC 8410 section 4. */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

export interface RawVerification {
  readonly perSecond: number;
  /** CPU time of one, µs: what it costs when others have the cores too. */
  readonly cpuMicros: number;
}

/** Verifies so many envelopes of a fleet. @throws {Error} when a signature does not verify. */
export function measureRawVerification(
  devices: readonly FleetDevice[],
  count: number,
): RawVerification {
  const jobs: { key: KeyObject; message: Uint8Array; signature: Uint8Array }[] = [];
  const each = Math.ceil(count / devices.length);
  for (const { signer, network, envelopes } of devices) {
    const der = Buffer.concat([SPKI_PREFIX, signer.publicKey]);
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
    const externalAad = upAad(network, 'telemetry');
    for (const envelope of envelopes.slice(0, each)) {
      const keep = (signature: Uint8Array, message: Uint8Array): boolean => {
        jobs.push({ key, message: Uint8Array.from(message), signature });
        return true;
      };
      const { publicKey } = signer;
      verifyEnvelope(parseEnvelope(envelope), { externalAad, publicKey, verify: keep });
    }
  }
  const cpu = process.cpuUsage();
  const start = performance.now();
  for (const { key, message, signature } of jobs) {
    if (!verify(null, message, key, signature)) throw new Error('signature: does not verify');
  }
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: jobs.length / seconds, cpuMicros: (user + system) / jobs.length };
}
