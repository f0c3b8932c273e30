/**
 * Keys of signed notes (C2SP signed-note): names, key ids and verifier key strings of Ed25519 note
 * signatures (type 1) and Ed25519 witness cosignatures (type 4, C2SP tlog-cosignature).
 *
 * Left out: every other signature type. Lines of other types are ignored when a note is verified.
 */
import { decodeBase64, encodeBase64 } from './base64.ts';
import { ProtocolError } from './errors.ts';
import { portableSha256 } from './merkle.ts';

/** An Ed25519 signature over the note text. */
export const NOTE_SIGNATURE = 0x01;
/** A timestamped Ed25519 witness cosignature over a checkpoint. */
export const COSIGNATURE = 0x04;

/** Bytes in an Ed25519 public key (RFC 8032 section 5.1.5). */
const PUBLIC_KEY_BYTES = 32;

export type NoteKeyType = typeof NOTE_SIGNATURE | typeof COSIGNATURE;

/** A key that signatures are verified with. Name and key id together identify it. */
export interface NoteVerifier {
  readonly name: string;
  readonly type: NoteKeyType;
  readonly publicKey: Uint8Array;
  /** uint32. */
  readonly keyId: number;
}

/**
 * Names a public key.
 *
 * @param name - a schema-less URL is recommended; not empty, no space, plus or control character.
 * @param publicKey - Ed25519, 32 bytes.
 * @throws {ProtocolError} ERR_ARGUMENT.
 */
export function noteVerifier(
  name: string,
  publicKey: Uint8Array,
  type: NoteKeyType = NOTE_SIGNATURE,
): NoteVerifier {
  if (!isKeyName(name)) {
    throw new ProtocolError(
      'ERR_ARGUMENT',
      `key name: expected no space or plus, got ${quote(name)}`,
    );
  }
  if (publicKey.length !== PUBLIC_KEY_BYTES) {
    throw new ProtocolError(
      'ERR_ARGUMENT',
      `public key: expected ${PUBLIC_KEY_BYTES} bytes, got ${publicKey.length}`,
    );
  }
  return { name, type, publicKey, keyId: keyIdOf(name, type, publicKey) };
}

/** The verifier key string `<name>+<key id, 8 hex digits>+<base64(type ‖ public key)>`. */
export function formatVerifierKey({ name, type, publicKey, keyId }: NoteVerifier): string {
  const id = keyId.toString(16).padStart(8, '0');
  return `${name}+${id}+${encodeBase64(Uint8Array.of(type, ...publicKey))}`;
}

/**
 * Reads a verifier key string.
 *
 * @throws {ProtocolError} ERR_NOTE_MALFORMED when it does not have that form, its key id is not the
 *   one of its key, or its type is neither 1 nor 4.
 */
export function parseVerifierKey(text: string): NoteVerifier {
  // Base64 may contain a plus, so only the first two separate.
  const [, name, id, encoded] = /^([^+]*)\+([0-9a-f]{8})\+(.*)$/su.exec(text) ?? [];
  if (name === undefined || id === undefined || encoded === undefined || !isKeyName(name)) {
    throw malformed(`expected <name>+<8 hex digits>+<base64>, got ${quote(text)}`);
  }
  const key = decodeBase64(encoded);
  if (key === undefined) throw malformed(`expected base64, got ${quote(encoded)}`);
  const type = key[0];
  if (type !== NOTE_SIGNATURE && type !== COSIGNATURE) {
    throw malformed(`expected signature type 1 or 4, got ${type ?? 'none'}`);
  }
  const publicKey = key.slice(1);
  if (publicKey.length !== PUBLIC_KEY_BYTES) {
    throw malformed(`expected a key of ${PUBLIC_KEY_BYTES} bytes, got ${publicKey.length}`);
  }
  const verifier = noteVerifier(name, publicKey, type);
  if (verifier.keyId !== Number.parseInt(id, 16)) {
    throw malformed(`expected key id ${verifier.keyId.toString(16).padStart(8, '0')}, got ${id}`);
  }
  return verifier;
}

/** "Key names MUST be non-empty and MUST NOT contain any Unicode spaces or plus (U+002B) characters." */
export function isKeyName(name: string): boolean {
  // Control characters have no place in a note, and half a surrogate pair has no UTF-8.
  return /^[^\p{White_Space}\p{Cc}\p{Surrogate}+]+$/u.test(name);
}

/** "key ID = SHA-256(key name || 0x0A || signature type || public key)[:4]" */
function keyIdOf(name: string, type: NoteKeyType, publicKey: Uint8Array): number {
  const prefix = new TextEncoder().encode(`${name}\n`);
  const digest = portableSha256(prefix, Uint8Array.of(type), publicKey);
  return new DataView(digest.buffer, digest.byteOffset).getUint32(0);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

function malformed(message: string): ProtocolError {
  return new ProtocolError('ERR_NOTE_MALFORMED', `verifier key: ${message}`);
}
