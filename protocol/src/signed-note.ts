/**
 * Signed notes (C2SP signed-note, golang.org/x/mod/sumdb/note): a text, an empty line, and signature
 * lines `— <key name> <base64(key id ‖ signature)>`.
 *
 * Parsing is strict and says nothing about trust; only what `verifyNote` returns is verified. Ed25519
 * is passed in, as functions. Keys are in `note-key.ts`.
 */
import { decodeBase64, encodeBase64 } from './base64.ts';
import { cosignatureMessage, decodeCosignature } from './cosignature.ts';
import { ProtocolError } from './errors.ts';
import { COSIGNATURE, isKeyName, type NoteVerifier } from './note-key.ts';

/** Protects memory; holds the 16 signatures of nearly 5 kB that the specification speaks of. */
export const MAX_NOTE_BYTES = 131_072;
/** Protects from verifying without end; the specification demands at least 16. */
export const MAX_NOTE_SIGNATURES = 64;

const KEY_ID_BYTES = 4;
const ED25519_BYTES = 64;
const SIGNATURE_LINE = /^\u2014 ([^ ]+) ([^ ]+)$/u;

/** A signature line taken apart; nothing about it is verified. */
export interface NoteSignature {
  readonly name: string;
  /** uint32. */
  readonly keyId: number;
  /** What follows the key id. */
  readonly signature: Uint8Array;
}

/** A note taken apart; nothing about it is verified. */
export interface UnverifiedNote {
  /** Ends in a newline. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** A key whose signature on the text was verified. */
export interface VerifiedSignature {
  readonly verifier: NoteVerifier;
  /** Unix seconds, when the key is a witness's. */
  readonly timestamp?: number;
}

/** A text that at least one known key signed. */
export interface VerifiedNote {
  readonly text: string;
  /** One per key, in the order of the note. */
  readonly signatures: readonly VerifiedSignature[];
}

/** A key that can sign; `sign` gives the 64 bytes of Ed25519 over the message. */
export interface NoteSigner {
  readonly verifier: NoteVerifier;
  readonly sign: (message: Uint8Array) => Uint8Array;
}

/** Ed25519 verification: true exactly when the signature is good. */
export type Verify = (signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array) => boolean;

/**
 * Takes a note apart.
 *
 * @param note - the text or its UTF-8 bytes, at most MAX_NOTE_BYTES.
 * @throws {ProtocolError} ERR_NOTE_MALFORMED.
 */
export function parseNote(note: string | Uint8Array): UnverifiedNote {
  const whole = decodeText(note);
  // "the text is separated from the signatures by the last empty line in the note"
  const gap = whole.lastIndexOf('\n\n');
  if (gap < 0) throw malformed('expected an empty line before the signatures, got none');
  if (!whole.endsWith('\n')) throw malformed('expected a newline at the end, got none');
  const lines = whole.slice(gap + 2, -1).split('\n');
  if (lines.length > MAX_NOTE_SIGNATURES) {
    throw malformed(`expected at most ${MAX_NOTE_SIGNATURES} signatures, got ${lines.length}`);
  }
  return { text: whole.slice(0, gap + 1), signatures: lines.map(parseSignatureLine) };
}

/**
 * Joins a text and its signatures.
 *
 * @throws {ProtocolError} ERR_NOTE_MALFORMED when the result would not be a note.
 */
export function formatNote({ text, signatures }: UnverifiedNote): string {
  const note = `${text}\n${signatures.map(formatSignatureLine).join('')}`;
  // A text without its newline would be taken apart elsewhere than it was joined.
  if (!text.endsWith('\n')) throw malformed('expected a text that ends in a newline');
  parseNote(note);
  return note;
}

/** One signature line with its newline. */
export function formatSignatureLine({ name, keyId, signature }: NoteSignature): string {
  const bytes = new Uint8Array(KEY_ID_BYTES + signature.length);
  new DataView(bytes.buffer).setUint32(0, keyId);
  bytes.set(signature, KEY_ID_BYTES);
  return `— ${name} ${encodeBase64(bytes)}\n`;
}

/**
 * Signs a text with every signer, in that order.
 *
 * @param text - UTF-8 without control characters, ending in a newline.
 * @throws {ProtocolError} ERR_NOTE_MALFORMED for another text; ERR_ARGUMENT for a witness's key,
 *   which signs checkpoints (`cosignCheckpoint`).
 */
export function signNote(text: string, signers: readonly NoteSigner[]): string {
  const message = new TextEncoder().encode(text);
  const signatures = signers.map(({ verifier, sign }) => {
    if (verifier.type === COSIGNATURE) {
      throw new ProtocolError('ERR_ARGUMENT', `signer ${verifier.name}: expected type 1, got 4`);
    }
    return { name: verifier.name, keyId: verifier.keyId, signature: sign(message) };
  });
  return formatNote({ text, signatures });
}

/**
 * Verifies a note with the keys that are known. Signatures of other keys are ignored.
 *
 * @param note - the text or its UTF-8 bytes, at most MAX_NOTE_BYTES.
 * @returns the text and the keys that signed it, at least one.
 * @throws {ProtocolError} ERR_NOTE_MALFORMED; ERR_SIGNATURE_INVALID when no known key signed, or a
 *   signature under a known name and key id is bad; ERR_ARGUMENT when two verifiers have the same
 *   name and key id.
 */
export function verifyNote(
  note: string | Uint8Array,
  verifiers: readonly NoteVerifier[],
  verify: Verify,
): VerifiedNote {
  const known = new Map<string, NoteVerifier>();
  for (const verifier of verifiers) {
    const identity = identityOf(verifier);
    if (known.has(identity)) {
      throw new ProtocolError('ERR_ARGUMENT', `verifiers: expected one ${identity}, got two`);
    }
    known.set(identity, verifier);
  }

  const { text, signatures } = parseNote(note);
  const verified = new Map<NoteVerifier, VerifiedSignature>();
  for (const line of signatures) {
    // "Verifiers MUST ignore signatures from unknown keys, even if they share a name or ID (but not
    // both) with a known key."
    const verifier = known.get(identityOf(line));
    if (verifier === undefined) continue;
    // "If a signature from a known key fails to verify, clients SHOULD reject the whole note."
    const signature = verifyLine(text, { line, verifier, verify });
    if (!verified.has(verifier)) verified.set(verifier, signature);
  }
  // "If no signature from a known key verifies successfully, clients MUST reject the note."
  if (verified.size === 0) {
    throw new ProtocolError(
      'ERR_SIGNATURE_INVALID',
      `note: expected a signature by a known key, got ${signatures.length} by others`,
    );
  }
  return { text, signatures: [...verified.values()] };
}

interface LineToVerify {
  readonly line: NoteSignature;
  readonly verifier: NoteVerifier;
  readonly verify: Verify;
}

function verifyLine(text: string, { line, verifier, verify }: LineToVerify): VerifiedSignature {
  const { publicKey } = verifier;
  if (verifier.type === COSIGNATURE) {
    const cosignature = decodeCosignature(line.signature);
    if (cosignature !== undefined) {
      const { timestamp, signature } = cosignature;
      if (verify(signature, cosignatureMessage(text, timestamp), publicKey)) {
        return { verifier, timestamp };
      }
    }
  } else if (line.signature.length === ED25519_BYTES) {
    if (verify(line.signature, new TextEncoder().encode(text), publicKey)) return { verifier };
  }
  throw new ProtocolError(
    'ERR_SIGNATURE_INVALID',
    `note: the signature of ${verifier.name} does not verify`,
  );
}

function parseSignatureLine(line: string): NoteSignature {
  const [, name, encoded] = SIGNATURE_LINE.exec(line) ?? [];
  if (name === undefined || encoded === undefined || !isKeyName(name)) {
    throw malformed('expected a signature line "— <name> <base64>", got another');
  }
  const bytes = decodeBase64(encoded);
  if (bytes === undefined || bytes.length <= KEY_ID_BYTES) {
    throw malformed(`expected base64 of a key id and a signature by ${name}, got another`);
  }
  const keyId = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  return { name, keyId, signature: bytes.slice(KEY_ID_BYTES) };
}

/** "Signed notes MUST be valid UTF-8 and MUST NOT contain any ASCII control characters […]" */
function decodeText(note: string | Uint8Array): string {
  const bytes = typeof note === 'string' ? new TextEncoder().encode(note) : note;
  if (bytes.length > MAX_NOTE_BYTES) {
    throw malformed(`expected at most ${MAX_NOTE_BYTES} bytes, got ${bytes.length}`);
  }
  let text: string;
  try {
    // A byte order mark is text like any other: dropping it would change what was signed.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ProtocolError('ERR_NOTE_MALFORMED', 'note: expected UTF-8', { cause });
  }
  if (typeof note === 'string' && text !== note) throw malformed('expected whole surrogate pairs');
  for (const byte of bytes) {
    if (byte < 0x20 && byte !== 0x0a) throw malformed(`expected no control character, got ${byte}`);
  }
  return text;
}

function identityOf({ name, keyId }: { readonly name: string; readonly keyId: number }): string {
  return `${name}+${keyId.toString(16).padStart(8, '0')}`;
}

function malformed(message: string): ProtocolError {
  return new ProtocolError('ERR_NOTE_MALFORMED', `note: ${message}`);
}
