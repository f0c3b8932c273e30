/**
 * Ed25519 verification of the same messages on one thread, keys and messages ready: with OpenSSL as Node has it, and with
 * libsodium, which the broker takes where it can.
 */

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { createSodiumVerify } from '@fieldproof/protocol/ed25519-sodium';
import { parseEnvelope, upAad, verifyEnvelope } from '@fieldproof/protocol/envelope';
import sodium from 'sodium-native';
import type { FleetDevice } from './fleet.ts';

/** What an X.509 key says before the 32 bytes. RFC 8410 section 4. */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** What verifies. */
export type RawLibrary = 'openssl' | 'libsodium';

export interface RawVerification {
  readonly perSecond: number;
  /** CPU time of one, µs: what it costs when others have the cores too. */
  readonly cpuMicros: number;
}

/** Verifies so many envelopes of a fleet. @throws {Error} when a signature does not verify. */
export function measureRawVerification(
  devices: readonly FleetDevice[],
  { library, count }: { readonly library: RawLibrary; readonly count: number },
): RawVerification {
  const jobs: Job[] = [];
  const each = Math.ceil(count / devices.length);
  for (const { signer, network, envelopes } of devices) {
    const der = Buffer.concat([SPKI_PREFIX, signer.publicKey]);
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
    const externalAad = upAad(network, 'telemetry');
    for (const envelope of envelopes.slice(0, each)) {
      const { publicKey } = signer;
      const keep = (signature: Uint8Array, message: Uint8Array): boolean => {
        jobs.push({ key, publicKey, message: Uint8Array.from(message), signature });
        return true;
      };
      verifyEnvelope(parseEnvelope(envelope), { externalAad, publicKey, verify: keep });
    }
  }
  const check = library === 'openssl' ? byOpenssl : bySodium;
  const cpu = process.cpuUsage();
  const start = performance.now();
  for (const job of jobs) if (!check(job)) throw new Error('signature: does not verify');
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: jobs.length / seconds, cpuMicros: (user + system) / jobs.length };
}

interface Job {
  readonly key: KeyObject;
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

const verifyWithSodium = createSodiumVerify(sodium.crypto_sign_verify_detached);

function byOpenssl({ key, message, signature }: Job): boolean {
  return verify(null, message, key, signature);
}

function bySodium({ publicKey, message, signature }: Job): boolean {
  return verifyWithSodium(signature, message, publicKey);
}
