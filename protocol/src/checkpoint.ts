/**
 * Checkpoints of a transparency log (C2SP tlog-checkpoint): origin, size and root as a signed note,
 * with the cosignatures of witnesses (C2SP tlog-cosignature). Sizes are below 2^53.
 *
 * Whether a checkpoint is consistent with an earlier one is shown by a proof (`merkle-proof.ts`);
 * a log and a witness check it before they sign.
 */
import { decodeBase64, encodeBase64 } from './base64.ts';
import { cosignatureMessage, encodeCosignature } from './cosignature.ts';
import { ProtocolError } from './errors.ts';
import { HASH_BYTES } from './merkle.ts';
import { COSIGNATURE, NOTE_SIGNATURE, type NoteVerifier } from './note-key.ts';
import {
  formatNote,
  type NoteSigner,
  parseNote,
  signNote,
  type VerifiedSignature,
  type Verify,
  verifyNote,
} from './signed-note.ts';

/** The head of a log: the root of the tree over its first `size` entries. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
  /** Opaque lines; not recommended by the specification. */
  readonly extensions?: readonly string[];
}

/** A checkpoint that the log signed. */
export interface VerifiedCheckpoint extends Checkpoint {
  /** The witnesses that cosigned it, each with its Unix time in seconds; one per key. */
  readonly cosignatures: readonly VerifiedSignature[];
}

export interface CheckpointKeys {
  /** The origin line that the log must state. */
  readonly origin: string;
  /** The key of the log, type 1. */
  readonly log: NoteVerifier;
  /** Known witnesses, type 4; others are ignored. */
  readonly witnesses?: readonly NoteVerifier[];
  readonly verify: Verify;
}

/**
 * The note text of a checkpoint.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when a line would be empty or hold a control character, the
 *   root is not 32 bytes, or the size is not a whole number below 2^53.
 */
export function encodeCheckpoint({ origin, size, root, extensions = [] }: Checkpoint): string {
  for (const line of [origin, ...extensions]) {
    if (!isLine(line)) {
      throw new ProtocolError(
        'ERR_ARGUMENT',
        `line: expected one of text, got ${JSON.stringify(line)}`,
      );
    }
  }
  if (!Number.isSafeInteger(size) || size < 0) {
    throw new ProtocolError('ERR_ARGUMENT', `size: expected 0 to 2^53 - 1, got ${size}`);
  }
  if (root.length !== HASH_BYTES) {
    throw new ProtocolError(
      'ERR_ARGUMENT',
      `root: expected ${HASH_BYTES} bytes, got ${root.length}`,
    );
  }
  return `${[origin, size, encodeBase64(root), ...extensions].join('\n')}\n`;
}

/**
 * Reads the note text of a checkpoint, without its signatures: nothing is verified.
 *
 * @throws {ProtocolError} ERR_NOTE_MALFORMED.
 */
export function parseCheckpoint(text: string): Checkpoint {
  if (!text.endsWith('\n')) throw malformed('expected a newline at the end, got none');
  const [origin, size, root, ...extensions] = text.slice(0, -1).split('\n');
  if (origin === undefined || size === undefined || root === undefined) {
    throw malformed('expected at least three lines');
  }
  if (!isLine(origin))
    throw malformed('expected an origin, got an empty line or control character');
  // "the ASCII decimal representation of the number of leaves in the tree, with no leading zeroes"
  if (!/^(0|[1-9]\d{0,15})$/.test(size) || !Number.isSafeInteger(Number(size))) {
    throw malformed(`expected a decimal size below 2^53, got ${JSON.stringify(size.slice(0, 40))}`);
  }
  const hash = decodeBase64(root);
  if (hash?.length !== HASH_BYTES) throw malformed(`expected base64 of a ${HASH_BYTES}-byte root`);
  // "Extension lines, if any, MUST be non-empty."
  if (!extensions.every(isLine)) throw malformed('expected extension lines of text, got another');
  const head = { origin, size: Number(size), root: hash };
  return extensions.length > 0 ? { ...head, extensions } : head;
}

/**
 * Signs a checkpoint as its log. The specification asks for a key name equal to the origin.
 *
 * @throws {ProtocolError} ERR_ARGUMENT, as {@link encodeCheckpoint} and `signNote`.
 */
export function signCheckpoint(checkpoint: Checkpoint, signer: NoteSigner): string {
  return signNote(encodeCheckpoint(checkpoint), [signer]);
}

/**
 * Adds the cosignature of a witness, which must have verified the log's signature and the
 * consistency with the last head that it cosigned.
 *
 * @param timestamp - Unix seconds.
 * @throws {ProtocolError} ERR_NOTE_MALFORMED when the note is no checkpoint; ERR_ARGUMENT unless the
 *   signer's key is of type 4.
 */
export function cosignCheckpoint(
  note: string | Uint8Array,
  signer: NoteSigner,
  timestamp: number,
): string {
  const { verifier, sign } = signer;
  if (verifier.type !== COSIGNATURE) {
    throw new ProtocolError(
      'ERR_ARGUMENT',
      `signer ${verifier.name}: expected type ${COSIGNATURE}, got ${verifier.type}`,
    );
  }
  const { text, signatures } = parseNote(note);
  parseCheckpoint(text);
  const signature = encodeCosignature({
    timestamp,
    signature: sign(cosignatureMessage(text, timestamp)),
  });
  const added = { name: verifier.name, keyId: verifier.keyId, signature };
  return formatNote({ text, signatures: [...signatures, added] });
}

/**
 * Verifies that the log signed a checkpoint, and which known witnesses cosigned it. How many
 * witnesses are enough is the caller's policy.
 *
 * @throws {ProtocolError} ERR_NOTE_MALFORMED when it is no checkpoint or of another origin;
 *   ERR_SIGNATURE_INVALID when the log did not sign it, or a signature by a known key is bad.
 */
export function verifyCheckpoint(
  note: string | Uint8Array,
  { origin, log, witnesses = [], verify }: CheckpointKeys,
): VerifiedCheckpoint {
  checkType('log', log, NOTE_SIGNATURE);
  for (const witness of witnesses) checkType('witness', witness, COSIGNATURE);
  const { text, signatures } = verifyNote(note, [log, ...witnesses], verify);
  if (!signatures.some(({ verifier }) => verifier === log)) {
    throw new ProtocolError(
      'ERR_SIGNATURE_INVALID',
      `checkpoint: expected a signature by ${log.name}, got none`,
    );
  }
  const checkpoint = parseCheckpoint(text);
  if (checkpoint.origin !== origin) {
    throw malformed(`expected origin ${origin}, got ${JSON.stringify(checkpoint.origin)}`);
  }
  const cosignatures = signatures.filter(({ verifier }) => verifier !== log);
  return { ...checkpoint, cosignatures };
}

/** A line of a note: not empty, and without what a note may not contain. */
function isLine(line: string): boolean {
  const hasControl = [...line].some((character) => character < ' ');
  return line !== '' && !hasControl && !/\p{Surrogate}/u.test(line);
}

function checkType(role: string, { name, type }: NoteVerifier, expected: number): void {
  if (type === expected) return;
  throw new ProtocolError(
    'ERR_ARGUMENT',
    `${role} ${name}: expected type ${expected}, got ${type}`,
  );
}

function malformed(message: string): ProtocolError {
  return new ProtocolError('ERR_NOTE_MALFORMED', `checkpoint: ${message}`);
}
