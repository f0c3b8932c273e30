/** The id of a network from its root key. docs/spec/topics.md section 1.1. */

import { portableSha256 } from './merkle.ts';

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const CHARACTERS = 8;

/** First eight characters of the lower-case base32 (RFC 4648 section 6) of SHA-256(root public key). */
export function networkIdFromRootKey(rootKey: Uint8Array): string {
  const hash = portableSha256(rootKey);
  let id = '';
  for (let i = 0; i < CHARACTERS; i++) {
    const bit = i * 5;
    const pair = (hash[bit >> 3]! << 8) | hash[(bit >> 3) + 1]!;
    id += BASE32[(pair >> (11 - (bit & 7))) & 31];
  }
  return id;
}
