/**
 * The keys of a network, made on first start: root, registry, log, control, ledger. docs/spec/identity.md section 1.
 *
 * Each is a seed file, base64url on one line, mode 0600, in `keys/`. After the first start the operator may
 * take `root.key` away; then the descriptor cannot change. In this version the broker also makes `control.key`
 * and `ledger.key`, which the control process reads from here; a composition that keeps them elsewhere gives
 * their public keys as `control.pub` and `ledger.pub`. Root's public key stays as `root.pub`.
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromBase64url, toBase64url } from '@fieldproof/protocol/bytes';
import { type Signer, signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { networkIdFromRootKey } from '@fieldproof/protocol/network-id';
import type { RoleName } from '@fieldproof/protocol/statements';
import { BrokerError } from './errors.ts';
import { replaceFile } from './replace-file.ts';

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
}

/**
 * Loads the keys of a data folder, or makes them when it has none.
 *
 * @throws {BrokerError} ERR_KEY_FILE: malformed, or some of the keys of an existing network are gone.
 */
export function loadKeys(dataDir: string, random: (bytes: number) => Uint8Array): NetworkKeys {
  const folder = join(dataDir, 'keys');
  const rootPub = join(folder, 'root.pub');
  if (!existsSync(rootPub)) createKeys(folder, random);
  const rootKey = readKey(rootPub);
  const root = readSigner(join(folder, 'root.key'));
  const registry = requireSigner(join(folder, 'registry.key'));
  const log = requireSigner(join(folder, 'log.key'));
  const roles = {
    registry: registry.publicKey,
    log: log.publicKey,
    control: publicKeyOf(folder, 'control'),
    ledger: publicKeyOf(folder, 'ledger'),
  };
  return { network: networkIdFromRootKey(rootKey), rootKey, root, registry, log, roles };
}

/** `root.pub` comes last: keys are complete when it is there. */
function createKeys(folder: string, random: (bytes: number) => Uint8Array): void {
  for (const name of ['root', 'registry', 'log', 'control', 'ledger']) {
    const path = join(folder, `${name}.key`);
    const given = existsSync(path) || existsSync(join(folder, `${name}.pub`));
    if (!given) replaceFile(path, `${toBase64url(random(32))}\n`);
  }
  const root = requireSigner(join(folder, 'root.key'));
  replaceFile(join(folder, 'root.pub'), `${toBase64url(root.publicKey)}\n`, 0o644);
}

function publicKeyOf(folder: string, name: string): Uint8Array {
  const signer = readSigner(join(folder, `${name}.key`));
  return signer === null ? readKey(join(folder, `${name}.pub`)) : signer.publicKey;
}

function requireSigner(path: string): Signer {
  const signer = readSigner(path);
  if (signer === null) throw new BrokerError('ERR_KEY_FILE', `key file ${path}: missing`);
  return signer;
}

function readSigner(path: string): Signer | null {
  return existsSync(path) ? signerFromSeed(readKey(path)) : null;
}

function readKey(path: string): Uint8Array {
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
