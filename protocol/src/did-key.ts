/**
 * did:key identifiers of Ed25519 keys (W3C CCG did:key, section 3.1.1): `did:key:z6Mk…`, and the bare `z6Mk…` part,
 * which names a device in topics, user names and tags.
 *
 * An identifier here is an identity that signs, so reading one refuses keys that cannot (docs/spec/envelope.md
 * section 5). One key has one identifier: nothing but 48 characters of canonical base58btc is taken. Leaves out other
 * key types, DID URLs and DID documents.
 */

import { decodeBase58, encodeBase58 } from './base58.ts';
import { isAcceptablePublicKey, PUBLIC_KEY_BYTES } from './ed25519.ts';
import { ProtocolError } from './errors.ts';

const DID_PREFIX = 'did:key:';
/** Multibase prefix of base58btc. */
const MULTIBASE = 'z';
/** `z` and the 47 digits that 34 bytes starting with 0xed take. */
const ID_LENGTH = 48;
/** Multicodec ed25519-pub, 0xed, as a varint. */
const MULTICODEC = [0xed, 0x01] as const;

/**
 * `did:key:z6Mk…` of a 32-byte public key. The key is not checked beyond its length.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the key is not 32 bytes.
 */
export function didKeyFromPublicKey(publicKey: Uint8Array): string {
  return DID_PREFIX + deviceIdFromPublicKey(publicKey);
}

/**
 * The public key of a did:key, 32 bytes.
 *
 * @throws {ProtocolError} ERR_DID_MALFORMED, or ERR_KEY_INVALID when the text is well-formed and the key cannot sign.
 */
export function publicKeyFromDidKey(did: string): Uint8Array {
  if (typeof did !== 'string' || !did.startsWith(DID_PREFIX)) {
    throw new ProtocolError('ERR_DID_MALFORMED', `did: expected ${DID_PREFIX}z6Mk…`);
  }
  return parseId(did.slice(DID_PREFIX.length), 'did');
}

/**
 * `z6Mk…` of a 32-byte public key. The key is not checked beyond its length.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the key is not 32 bytes.
 */
export function deviceIdFromPublicKey(publicKey: Uint8Array): string {
  if (!(publicKey instanceof Uint8Array) || publicKey.length !== PUBLIC_KEY_BYTES) {
    const got = publicKey instanceof Uint8Array ? `${publicKey.length} bytes` : typeof publicKey;
    throw new ProtocolError('ERR_ARGUMENT', `public key: expected 32 bytes, got ${got}`);
  }
  const prefixed = new Uint8Array(MULTICODEC.length + PUBLIC_KEY_BYTES);
  prefixed.set(MULTICODEC);
  prefixed.set(publicKey, MULTICODEC.length);
  return MULTIBASE + encodeBase58(prefixed);
}

/**
 * The public key of a device id, 32 bytes.
 *
 * @throws {ProtocolError} ERR_DID_MALFORMED, or ERR_KEY_INVALID when the text is well-formed and the key cannot sign.
 */
export function publicKeyFromDeviceId(id: string): Uint8Array {
  return parseId(id, 'device id');
}

function parseId(id: string, name: string): Uint8Array {
  if (typeof id !== 'string') throw malformed(name, `text, got ${typeof id}`);
  // The length first: base58 takes quadratic time.
  if (id.length !== ID_LENGTH) throw malformed(name, `${ID_LENGTH} characters, got ${id.length}`);
  if (!id.startsWith(MULTIBASE)) throw malformed(name, `base58btc multibase z, got ${id[0]}`);
  const bytes = decodeId(id, name);
  if (bytes.length !== MULTICODEC.length + PUBLIC_KEY_BYTES) {
    throw malformed(name, `34 bytes, got ${bytes.length}`);
  }
  if (bytes[0] !== MULTICODEC[0] || bytes[1] !== MULTICODEC[1]) {
    throw malformed(name, 'multicodec ed25519-pub (ed01)');
  }
  const publicKey = bytes.slice(MULTICODEC.length);
  if (!isAcceptablePublicKey(publicKey)) {
    throw new ProtocolError(
      'ERR_KEY_INVALID',
      `${name}: expected a canonical point of large order, got a key that cannot sign`,
    );
  }
  return publicKey;
}

function decodeId(id: string, name: string): Uint8Array {
  try {
    return decodeBase58(id.slice(MULTIBASE.length));
  } catch (cause) {
    throw new ProtocolError('ERR_DID_MALFORMED', `${name}: expected base58btc`, { cause });
  }
}

function malformed(name: string, expected: string): ProtocolError {
  return new ProtocolError('ERR_DID_MALFORMED', `${name}: expected ${expected}`);
}
