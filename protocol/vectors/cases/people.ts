/** The keys and times that all examples share. */

import { sha256 } from '@noble/hashes/sha2.js';
import { encodeUtf8 } from '../../src/bytes.ts';
import { deviceIdFromPublicKey } from '../../src/did-key.ts';
import { publicKeyFromSeed, sign } from '../../src/ed25519.ts';
import type { Signer } from '../../src/envelope.ts';

export interface Person extends Signer {
  readonly seedText: string;
  readonly seed: Uint8Array;
  /** The multibase form of the key. */
  readonly id: string;
}

function person(name: string): Person {
  const seedText = `fieldproof example ${name}`;
  const seed = sha256(encodeUtf8(seedText));
  const publicKey = publicKeyFromSeed(seed);
  return {
    seedText,
    seed,
    publicKey,
    id: deviceIdFromPublicKey(publicKey),
    sign: (message) => sign(message, seed),
  };
}

export const root = person('root');
export const registry = person('registry');
export const log = person('log');
export const control = person('control');
export const ledger = person('ledger');
export const device = person('device');
export const owner = person('owner');
export const nextKey = person('next key');
export const newOwner = person('new owner');
export const gateway = person('gateway');

/** 2026-11-21T12:00:00Z, Unix ms. */
export const NOON = 1_795_262_400_000;
export const BOOT_SEED = Uint8Array.of(0xa1, 0xb2, 0xc3, 0xd4);

/** First `length` bytes of SHA-256 of the text: stands for random bytes in the examples. */
export function exampleBytes(text: string, length: number): Uint8Array {
  return sha256(encodeUtf8(text)).slice(0, length);
}
