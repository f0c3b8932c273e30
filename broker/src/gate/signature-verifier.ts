/**
 * Which library verifies signatures: libsodium when its binding is installed, loads here and judges by our rule, else
 * OpenSSL in Node. Their verdicts are the same; the time is not.
 */

import { verify as opensslVerify } from '@fieldproof/protocol/ed25519-node';
import {
  createSodiumVerify,
  isTrustworthy,
  type SodiumVerify,
} from '@fieldproof/protocol/ed25519-sodium';
import type { Verify } from '@fieldproof/protocol/envelope';

/** `auto` takes libsodium when it can. */
export const SIGNATURE_LIBRARIES = ['auto', 'openssl'] as const;
export type SignatureLibrary = (typeof SIGNATURE_LIBRARIES)[number];

export interface SignatureVerifier {
  readonly library: 'libsodium' | 'openssl';
  readonly verify: Verify;
  /** Why it is not libsodium, although it might have been. */
  readonly reason: string | null;
}

const OPENSSL: SignatureVerifier = { library: 'openssl', verify: opensslVerify, reason: null };

/** Loads the library. Never fails: OpenSSL is always there. */
export async function loadSignatureVerifier(
  wanted: SignatureLibrary,
  load: () => Promise<SodiumVerify> = loadSodium,
): Promise<SignatureVerifier> {
  if (wanted === 'openssl') return OPENSSL;
  try {
    const sodiumVerify = await load();
    if (!isTrustworthy(sodiumVerify)) {
      return { ...OPENSSL, reason: 'libsodium judges signatures by another rule' };
    }
    return { library: 'libsodium', verify: createSodiumVerify(sodiumVerify), reason: null };
  } catch (error) {
    return { ...OPENSSL, reason: `libsodium does not load: ${(error as Error).message}` };
  }
}

async function loadSodium(): Promise<SodiumVerify> {
  // Optional: there is no binding for every system.
  const { default: sodium } = await import('sodium-native');
  return sodium.crypto_sign_verify_detached;
}
