/**
 * The keys of a network in a data folder: root, registry, log, control, ledger. docs/spec/identity.md section 1.
 *
 * Each is a seed file, base64url on one line, mode 0600, in `keys/`. `root.pub` says which network the folder is of; `root.key`
 * is there only as long as the operator leaves it there. A role key that is to replace the one in force waits as
 * `<role>.next.key`. Of control and ledger a composition may keep the seeds elsewhere and give public keys: `<role>.pub`,
 * `<role>.next.pub`. Which of these files counts is said by the network descriptor in force.
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, fromBase64url, toBase64url } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { type Signer, signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { networkIdFromRootKey } from '@fieldproof/protocol/network-id';
import type { Descriptor, RoleName } from '@fieldproof/protocol/statements';
import { BrokerError } from './errors.ts';
import { type KeyFileLayer, nodeKeyFiles } from './key-file-layer.ts';

export const ROLES = ['registry', 'log', 'control', 'ledger'] as const satisfies RoleName[];

/** A role key as a file has it. */
export interface RoleKey {
  readonly publicKey: Uint8Array;
  /** Null when only the public key is here. */
  readonly signer: Signer | null;
  /** Name in `keys/`. */
  readonly file: string;
}

export interface NetworkKeys {
  /** The network id, from the root key. docs/spec/topics.md section 1.1. */
  readonly network: string;
  readonly rootKey: Uint8Array;
  /** Null when the operator keeps the root key elsewhere. */
  readonly root: Signer | null;
  readonly registry: Signer;
  readonly log: Signer;
  /** Public keys for the descriptor. */
  readonly roles: Readonly<Record<RoleName, Uint8Array>>;
  /** All that there are files of: the descriptor in force says which of them counts. */
  readonly known: Readonly<Record<RoleName, readonly Uint8Array[]>>;
  /** Keys that wait to replace the ones in force. */
  readonly next: Readonly<Partial<Record<RoleName, RoleKey>>>;
}

/**
 * Loads the keys of a data folder, or makes them when it has none.
 *
 * @throws {BrokerError} ERR_KEY_FILE: malformed, or some of the keys of an existing network are gone.
 */
export function loadKeys(
  dataDir: string,
  random: (bytes: number) => Uint8Array,
  files: KeyFileLayer = nodeKeyFiles,
): NetworkKeys {
  const folder = join(dataDir, 'keys');
  if (!existsSync(join(folder, 'root.pub'))) {
    // Another root key would be another network.
    const isNetwork = existsSync(join(dataDir, 'descriptor.cose'));
    if (isNetwork && !existsSync(join(folder, 'root.key'))) throw missing(join(folder, 'root.pub'));
    makeKeys(folder, ['root', ...ROLES], { random, files });
    const root = readSigner(join(folder, 'root.key'));
    if (root === null) throw missing(join(folder, 'root.key'));
    writeRootPub(folder, root.publicKey, files);
  }
  const rootKey = readRootKey(dataDir);
  const current = (role: RoleName) => candidates(folder, role).find(isCurrent);
  const keys = Object.fromEntries(
    ROLES.map((role) => {
      const key = current(role);
      if (key === undefined) throw missing(join(folder, `${role}.key`));
      return [role, key];
    }),
  ) as Record<RoleName, RoleKey>;
  const waiting = ROLES.map((role) => [role, nextKey(folder, role)] as const);
  return {
    network: networkIdFromRootKey(rootKey),
    rootKey,
    root: readRoot(dataDir),
    registry: requireSigner(folder, keys.registry),
    log: requireSigner(folder, keys.log),
    roles: mapRoles((role) => keys[role].publicKey),
    known: mapRoles((role) => candidates(folder, role).map(({ publicKey }) => publicKey)),
    next: Object.fromEntries(waiting.filter(([, key]) => key !== undefined)),
  };
}

/**
 * Makes the keys of a data folder whose network is that of a root key kept elsewhere. Again with the same root key it
 * changes nothing.
 *
 * @throws {BrokerError} ERR_KEY_FILE when the folder is of another network.
 */
export function initKeys(
  dataDir: string,
  rootKey: Uint8Array,
  { random, files = nodeKeyFiles }: { random: (bytes: number) => Uint8Array; files?: KeyFileLayer },
): string {
  const folder = join(dataDir, 'keys');
  const network = networkIdFromRootKey(rootKey);
  if (existsSync(join(folder, 'root.pub'))) {
    const here = readRootKey(dataDir);
    if (equalBytes(here, rootKey)) return network;
    throw new BrokerError(
      'ERR_KEY_FILE',
      `${join(folder, 'root.pub')}: expected no keys or those of ${network}, got ${networkIdFromRootKey(here)}`,
    );
  }
  if (existsSync(join(folder, 'root.key'))) {
    const path = join(folder, 'root.key');
    throw new BrokerError('ERR_KEY_FILE', `${path}: expected no root key here, got one`);
  }
  makeKeys(folder, ROLES, { random, files });
  writeRootPub(folder, rootKey, files);
  return network;
}

/**
 * The root key's seed as long as it is in the data folder: asked anew each time, for it may be taken away.
 *
 * @throws {BrokerError} ERR_KEY_FILE, also when it is that of another network.
 */
export function readRoot(dataDir: string): Signer | null {
  const path = join(dataDir, 'keys', 'root.key');
  const root = readSigner(path);
  if (root === null || equalBytes(root.publicKey, readRootKey(dataDir))) return root;
  throw new BrokerError('ERR_KEY_FILE', `${path}: expected the key of root.pub, got another`);
}

/** @throws {BrokerError} ERR_KEY_FILE. */
export function readRootKey(dataDir: string): Uint8Array {
  return readKey(join(dataDir, 'keys', 'root.pub'));
}

/** The file of a role that has a key which the descriptor names, whether it is the current or the next one. */
export function keyInForce(
  dataDir: string,
  role: RoleName,
  named: Descriptor['keys'],
): RoleKey | undefined {
  return candidates(join(dataDir, 'keys'), role).find(({ publicKey }) =>
    equalBytes(publicKey, named[role]),
  );
}

/**
 * The key with which the broker signs as a role.
 *
 * @throws {BrokerError} ERR_KEY_FILE when none of its files has the one that the descriptor names.
 */
export function ownKeyInForce(
  dataDir: string,
  role: 'registry' | 'log',
  named: Descriptor['keys'],
): Signer {
  const key = keyInForce(dataDir, role, named);
  if (key !== undefined) return requireSigner(join(dataDir, 'keys'), key);
  throw new BrokerError(
    'ERR_KEY_FILE',
    `${join(dataDir, 'keys', `${role}.key`)}: expected ${deviceIdFromPublicKey(named[role])}, which the descriptor names, got another`,
  );
}

/** Whether a role's key waits in a file of its own. */
export function isNext({ file }: RoleKey): boolean {
  return file.includes('.next.');
}

/** The signer of a key with which this process signs. @throws {BrokerError} ERR_KEY_FILE. */
export function requireSigner(folder: string, { signer, file }: RoleKey): Signer {
  if (signer !== null) return signer;
  throw new BrokerError('ERR_KEY_FILE', `key file ${join(folder, file)}: expected a seed`);
}

/** A file of a role's current key beside that of the one in force: of the key before it, when a crash left it there. */
export function leftoverOf(folder: string, role: RoleName, inForce: RoleKey): RoleKey | undefined {
  return candidates(folder, role).find(
    (key) => isCurrent(key) && !equalBytes(key.publicKey, inForce.publicKey),
  );
}

/** The key that waits to replace a role's current one. */
export function nextKey(folder: string, role: RoleName): RoleKey | undefined {
  return candidates(folder, role).find(isNext);
}

/** One line of a key file. */
export function formatKey(key: Uint8Array): string {
  return `${toBase64url(key)}\n`;
}

/** @throws {BrokerError} ERR_KEY_FILE. */
export function readKey(path: string): Uint8Array {
  let key: Uint8Array;
  try {
    key = fromBase64url(readFileSync(path, 'utf8').trim());
  } catch (cause) {
    throw new BrokerError('ERR_KEY_FILE', `key file ${path}: expected base64url`, { cause });
  }
  if (key.length !== 32) {
    throw new BrokerError('ERR_KEY_FILE', `key file ${path}: expected 32 bytes, got ${key.length}`);
  }
  return key;
}

export function readSigner(path: string): Signer | null {
  return existsSync(path) ? signerFromSeed(readKey(path)) : null;
}

export function mapRoles<T>(give: (role: RoleName) => T): Record<RoleName, T> {
  return Object.fromEntries(ROLES.map((role) => [role, give(role)])) as Record<RoleName, T>;
}

function isCurrent(key: RoleKey): boolean {
  return !isNext(key);
}

/** All that the folder has for a role; seeds before public keys, and the current before the next. */
function candidates(folder: string, role: RoleName): readonly RoleKey[] {
  return ['key', 'pub', 'next.key', 'next.pub'].flatMap((ending): RoleKey[] => {
    const file = `${role}.${ending}`;
    const path = join(folder, file);
    if (!existsSync(path)) return [];
    const key = readKey(path);
    if (ending.endsWith('pub')) return [{ publicKey: key, signer: null, file }];
    const signer = signerFromSeed(key);
    return [{ publicKey: signer.publicKey, signer, file }];
  });
}

/** Those that are not there; `root.pub` comes after them: keys are complete when it is there. */
function makeKeys(
  folder: string,
  names: readonly string[],
  { random, files }: { random: (bytes: number) => Uint8Array; files: KeyFileLayer },
): void {
  for (const name of names) {
    const path = join(folder, `${name}.key`);
    const given = existsSync(path) || existsSync(join(folder, `${name}.pub`));
    if (!given) files.replace(path, formatKey(random(32)));
  }
}

function writeRootPub(folder: string, rootKey: Uint8Array, files: KeyFileLayer): void {
  files.replace(join(folder, 'root.pub'), formatKey(rootKey), 0o644);
}

function missing(path: string): BrokerError {
  return new BrokerError('ERR_KEY_FILE', `key file ${path}: missing`);
}
