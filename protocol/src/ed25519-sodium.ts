/**
 * Ed25519 verification over libsodium, with the verdicts of `ed25519.ts` (docs/spec/envelope.md section 5), at less than half
 * of what OpenSSL 3 takes. The native binding is passed in: this package depends on none.
 *
 * libsodium compares the encoding of [S]B - [k]A with R as bytes, like OpenSSL. It also refuses an R of small order, which the
 * rule accepts when the equation holds: those, which no honest signer makes, are OpenSSL's to judge. Keys, S and R are
 * checked before it is asked, and `isTrustworthy` asks it for what versions and builds have differed in.
 */

import { fromHex } from './bytes.ts';
import { isAcceptablePublicKey, PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from './ed25519.ts';
import { hasSmallOrderY, isCanonicalY, isReducedScalar } from './ed25519-encoding.ts';
import { verify as verifyWithOpenssl } from './ed25519-node.ts';
import type { Verify } from './envelope.ts';
import { KeyCache } from './key-cache.ts';

/** libsodium's `crypto_sign_verify_detached`, as `sodium-native` has it. */
export type SodiumVerify = (
  signature: Uint8Array,
  message: Uint8Array,
  publicKey: Uint8Array,
) => boolean;

/** Acceptable keys kept; 32 bytes each and their places. */
const MAX_KEYS = 4096;

/** The rule over a binding. False, never an exception, for whatever else comes. */
export function createSodiumVerify(sodiumVerify: SodiumVerify): Verify {
  const keys = new KeyCache<Uint8Array | null>(MAX_KEYS);
  return (signature, message, publicKey) => {
    if (!(publicKey instanceof Uint8Array) || publicKey.length !== PUBLIC_KEY_BYTES) return false;
    if (!(signature instanceof Uint8Array) || signature.length !== SIGNATURE_BYTES) return false;
    if (!(message instanceof Uint8Array)) return false;
    if (!isReducedScalar(signature, 32) || !isCanonicalY(signature, 0)) return false;
    if (hasSmallOrderY(signature)) return verifyWithOpenssl(signature, message, publicKey);
    const key = keys.get(publicKey, acceptable);
    return key !== null && sodiumVerify(signature, message, key);
  };
}

/** Whether a binding judges as the rule does where it matters: a good signature, a torn one, one only cofactored. */
export function isTrustworthy(sodiumVerify: SodiumVerify): boolean {
  try {
    const verify = createSodiumVerify(sodiumVerify);
    return PROBES.every(({ publicKey, message, signature, isValid }) => {
      return verify(fromHex(signature), fromHex(message), fromHex(publicKey)) === isValid;
    });
  } catch {
    return false;
  }
}

function acceptable(publicKey: Uint8Array): Uint8Array | null {
  return isAcceptablePublicKey(publicKey) ? Uint8Array.from(publicKey) : null;
}

const GOOD = {
  // RFC 8032 section 7.1, TEST 3.
  publicKey: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
  message: 'af82',
  signature:
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
};

const PROBES = [
  { ...GOOD, isValid: true },
  { ...GOOD, message: 'af83', isValid: false },
  { ...GOOD, signature: GOOD.signature.replace(/0a$/, '0b'), isValid: false },
  {
    // ed25519-speccheck case 4 ("Taming the many EdDSAs", table 6): A and R of mixed order, only 8 times the equation holds.
    publicKey: 'cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d',
    message: 'e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c',
    signature:
      '160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09',
    isValid: false,
  },
] as const;
