/** Keys for tests of notes and checkpoints. */
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { NOTE_SIGNATURE, type NoteKeyType, noteVerifier } from '@fieldproof/protocol/note-key';
import type { NoteSigner } from '@fieldproof/protocol/signed-note';

/** A signer whose seed is one byte repeated. */
export function signerOf(
  name: string,
  seed: number,
  type: NoteKeyType = NOTE_SIGNATURE,
): NoteSigner {
  const { publicKey, sign } = signerFromSeed(new Uint8Array(32).fill(seed));
  return { verifier: noteVerifier(name, publicKey, type), sign };
}
