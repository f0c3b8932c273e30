/**
 * What has come down for one leaf and waits for it: the newest receipt and configuration, and the rest in its order, within
 * bounds. In memory: a leaf asks again by sending again, and receipts list what was rejected.
 */

import type { LeafDownKind } from '@fieldproof/protocol/relay';

export interface Letter {
  readonly kind: LeafDownKind;
  readonly envelope: Uint8Array;
}

/** Of one leaf. */
const MAX_LETTERS = 128;
const MAX_BYTES = 512 * 1024;
/** Of which only the newest counts. */
const REPLACED: readonly LeafDownKind[] = ['receipt', 'config'];

export class LeafMail {
  #letters: Letter[] = [];
  #bytes = 0;
  /** Letters that were given up for want of room. */
  dropped = 0;

  get size(): number {
    return this.#letters.length;
  }

  /** Takes a letter; the oldest make room. */
  put(letter: Letter): void {
    if (REPLACED.includes(letter.kind)) {
      for (const old of this.#letters.filter(({ kind }) => kind === letter.kind)) this.remove(old);
    }
    this.#letters.push(letter);
    this.#bytes += letter.envelope.length;
    while (this.#letters.length > MAX_LETTERS || this.#bytes > MAX_BYTES) {
      this.remove(this.#letters[0]!);
      this.dropped += 1;
    }
  }

  /** The leaf has it, or it is not worth anything any more. */
  remove(letter: Letter): void {
    const at = this.#letters.indexOf(letter);
    if (at < 0) return;
    this.#letters.splice(at, 1);
    this.#bytes -= letter.envelope.length;
  }

  /** The oldest that is not among those. */
  next(except: ReadonlySet<Letter>): Letter | undefined {
    return this.#letters.find((letter) => !except.has(letter));
  }
}
