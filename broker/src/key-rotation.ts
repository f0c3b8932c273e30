/**
 * Next keys of roles in a data folder: prepared, taken into force, given up. docs/spec/identity.md 2.5.
 *
 * Each step is one file operation, and between any two of them the descriptor in force says which file counts.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import type { Descriptor, RoleName } from '@fieldproof/protocol/statements';
import { BrokerError } from './errors.ts';
import type { KeyFileLayer } from './key-file-layer.ts';
import { formatKey, isNext, keyInForce, leftoverOf, nextKey, ROLES, type RoleKey } from './keys.ts';

export interface NextKeyOptions {
  /** The key in force is in wrong hands: what is signed with it counts no more once it is replaced. */
  readonly isCompromised: boolean;
  /** A public key whose seed is kept elsewhere: control and ledger only. */
  readonly publicKey?: Uint8Array;
  readonly random: (bytes: number) => Uint8Array;
  readonly files: KeyFileLayer;
}

/**
 * Makes the key that is to replace a role's, or gives the one that waits already.
 *
 * @throws {BrokerError} ERR_KEY_FILE; ERR_REQUEST when another public key waits, or the broker itself signs with it.
 */
export function prepareNextKey(dataDir: string, role: RoleName, options: NextKeyOptions): RoleKey {
  const { isCompromised, publicKey, random, files } = options;
  const folder = join(dataDir, 'keys');
  const waiting = nextKey(folder, role);
  if (publicKey !== undefined && (role === 'registry' || role === 'log')) {
    throw new BrokerError('ERR_REQUEST', `${role}: the broker signs with it, so its seed is here`);
  }
  if (waiting !== undefined && publicKey && !equalBytes(publicKey, waiting.publicKey)) {
    const id = deviceIdFromPublicKey(waiting.publicKey);
    throw new BrokerError('ERR_REQUEST', `${role}: ${id} waits already; cancel that first`);
  }
  // Before the key: a draft that names it says so as well.
  if (isCompromised) markCompromised(folder, role, files);
  // What a crash has left of a replacement before says nothing about the key that is in force now.
  else if (waiting === undefined) unmark(folder, role, files);
  if (waiting === undefined) {
    if (publicKey) files.replace(join(folder, `${role}.next.pub`), formatKey(publicKey), 0o644);
    else files.replace(join(folder, `${role}.next.key`), formatKey(random(32)));
  }
  return nextKey(folder, role)!;
}

/** Gives a key up that waits. @returns false when none does. */
export function dropNextKey(dataDir: string, role: RoleName, files: KeyFileLayer): boolean {
  const folder = join(dataDir, 'keys');
  const waiting = nextKey(folder, role);
  if (waiting === undefined) return false;
  files.remove(join(folder, waiting.file));
  unmark(folder, role, files);
  return true;
}

/** Roles whose key in force is to be called compromised when the one that waits replaces it. */
export function compromisedRoles(dataDir: string): readonly RoleName[] {
  const folder = join(dataDir, 'keys');
  const marked = readMarks(folder);
  return ROLES.filter((role) => marked.includes(role) && nextKey(folder, role) !== undefined);
}

/** Gives the files of the keys that a descriptor in force names their names; the keys before them are gone then. */
export function finishRotations(
  dataDir: string,
  named: Descriptor['keys'],
  files: KeyFileLayer,
): readonly RoleName[] {
  const folder = join(dataDir, 'keys');
  return ROLES.filter((role) => {
    const key = keyInForce(dataDir, role, named);
    if (key === undefined) return false;
    const wasNext = isNext(key);
    const ending = key.signer === null ? 'pub' : 'key';
    if (wasNext) files.rename(join(folder, key.file), join(folder, `${role}.${ending}`));
    const leftover = leftoverOf(folder, role, key);
    if (leftover !== undefined) files.remove(join(folder, leftover.file));
    if (wasNext || leftover !== undefined) unmark(folder, role, files);
    return wasNext;
  });
}

const MARKS = 'compromised.json';

function readMarks(folder: string): readonly string[] {
  try {
    const marks: unknown = JSON.parse(readFileSync(join(folder, MARKS), 'utf8'));
    return Array.isArray(marks) ? marks.map(String) : [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new BrokerError('ERR_KEY_FILE', `${join(folder, MARKS)}: expected a list of roles`, {
      cause: error,
    });
  }
}

function markCompromised(folder: string, role: RoleName, files: KeyFileLayer): void {
  const marks = readMarks(folder);
  if (marks.includes(role)) return;
  files.replace(join(folder, MARKS), `${JSON.stringify([...marks, role])}\n`, 0o644);
}

function unmark(folder: string, role: RoleName, files: KeyFileLayer): void {
  const marks = readMarks(folder);
  if (!marks.includes(role)) return;
  const left = marks.filter((mark) => mark !== role);
  if (left.length === 0) files.remove(join(folder, MARKS));
  else files.replace(join(folder, MARKS), `${JSON.stringify(left)}\n`, 0o644);
}
