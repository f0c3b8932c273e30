/**
 * The broker's own role keys while it runs: what signs, and how that changes without a restart. docs/spec/identity.md 2.5.
 *
 * Everything that is signed is bound to a place in the log. Registry entries change keys with the `network` entry itself; a
 * checkpoint is signed by the key in force at its size; hellos, credentials, receipts and rejects follow when the entry
 * is durable.
 */

import { type Checkpoint, encodeCheckpoint } from '@fieldproof/protocol/checkpoint';
import type { Signer } from '@fieldproof/protocol/envelope';
import { noteVerifier } from '@fieldproof/protocol/note-key';
import { signNote } from '@fieldproof/protocol/signed-note';

export interface OwnKeys {
  readonly registry: Signer;
  readonly log: Signer;
}

/** A `log` key in force behind a `network` entry; −1: from the beginning. */
interface CheckpointKey {
  readonly index: number;
  readonly signer: Signer;
  /** The key before it: for whoever has the older descriptor, until the process ends. Null when it is compromised. */
  readonly also: Signer | null;
}

export class RoleSigners {
  /** Signs `registry` entries. */
  readonly statements: Signer = live(() => this.#inUse(this.#statements));
  /** Signs hellos and credentials. */
  readonly registry: Signer = live(() => this.#inUse(this.#keys?.registry));
  /** Signs receipts and rejects. */
  readonly log: Signer = live(() => this.#inUse(this.#keys?.log));
  #statements: Signer | undefined;
  #keys: OwnKeys | undefined;
  readonly #checkpointKeys: CheckpointKey[] = [];
  readonly #started: Promise<void>;
  #start: () => void = () => {};
  #giveUp: (reason: Error) => void = () => {};

  constructor() {
    this.#started = new Promise((resolve, reject) => {
      this.#start = resolve;
      this.#giveUp = reject;
    });
    this.#started.catch(() => {});
  }

  /** From now on everything can be signed. `before`: the `log` key of what is below the entry `index`. */
  start(
    keys: OwnKeys,
    before?: { readonly log: Signer; readonly index: number; readonly isCompromised: boolean },
  ): void {
    if (before !== undefined) {
      this.#checkpointKeys.push({ index: -1, signer: before.log, also: null });
    }
    const also = before === undefined || before.isCompromised ? null : before.log;
    this.#checkpointKeys.push({ index: before?.index ?? -1, signer: keys.log, also });
    this.#statements = keys.registry;
    this.#keys = keys;
    this.#start();
  }

  /** Nothing will be signed: what waits for a key is refused. Without meaning after `start`. */
  close(): void {
    this.#giveUp(new Error('the broker did not start'));
  }

  /** For the entries that are appended from now on. @returns what takes it back. */
  switchStatements(signer: Signer): () => void {
    const before = this.#statements;
    this.#statements = signer;
    return () => {
      this.#statements = before;
    };
  }

  /** For checkpoints above the entry. */
  switchCheckpoints(
    index: number,
    { log, isCompromised }: { readonly log: Signer; readonly isCompromised: boolean },
  ): void {
    const before = this.#checkpointKeys.at(-1)!;
    const also = isCompromised ? null : before.signer;
    this.#checkpointKeys.push({ index, signer: log, also });
  }

  /** For everything else. */
  switchTo(keys: OwnKeys): void {
    this.#keys = keys;
  }

  /** Signs a checkpoint under the key in force at its size, as soon as that is known. */
  async signCheckpoint(checkpoint: Checkpoint): Promise<string> {
    await this.#started;
    const key = this.#checkpointKeys.findLast(({ index }) => index < checkpoint.size);
    const signers = [key?.signer, key?.also].filter((signer) => signer != null);
    return signNote(
      encodeCheckpoint(checkpoint),
      signers.map(({ publicKey, sign }) => ({
        verifier: noteVerifier(checkpoint.origin, publicKey),
        sign,
      })),
    );
  }

  #inUse(signer: Signer | undefined): Signer {
    if (signer === undefined) throw new Error('role keys: asked for before they are known');
    return signer;
  }
}

/** A signer that is another one from time to time; key and signature within one turn belong together. */
function live(current: () => Signer): Signer {
  return {
    get publicKey() {
      return current().publicKey;
    },
    sign: (message) => current().sign(message),
  };
}
