/**
 * The root key as a file of its own: made on a machine that never talks to the server, or moved out of a data folder.
 * docs/spec/identity.md sections 1 and 2.4.
 */

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { equalBytes, fromBase64url } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey, publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { type Signer, signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { networkIdFromRootKey } from '@fieldproof/protocol/network-id';
import { BrokerError } from './errors.ts';
import { type KeyFileLayer, nodeKeyFiles, syncFolder } from './key-file-layer.ts';
import { formatKey, readKey, readRoot } from './keys.ts';

export interface RootKeyFile {
  readonly file: string;
  readonly network: string;
  /** `z6Mk…` */
  readonly rootKey: string;
}

/**
 * Makes a root key: its seed in a file of mode 0600, its public key beside it as `<file>.pub`.
 *
 * @throws {BrokerError} ERR_FILE_EXISTS, ERR_FILE_UNREADABLE.
 */
export function newRootKey(file: string, random: (bytes: number) => Uint8Array): RootKeyFile {
  const seed = random(32);
  const { publicKey } = signerFromSeed(seed);
  const shown = showRoot(file, publicKey);
  if (existsSync(`${file}.pub`)) throw exists(`${file}.pub`);
  writeNewFile(file, formatKey(seed), 0o600);
  writeNewFile(`${file}.pub`, `${shown.rootKey}\n`, 0o644);
  return shown;
}

/**
 * Moves the root key out of a data folder: written and read back there before it is removed here.
 *
 * @throws {BrokerError} ERR_KEY_NOT_HERE when there is none, or the network has no signed descriptor yet; ERR_FILE_EXISTS,
 * ERR_FILE_UNREADABLE, with the key where it was.
 */
export function exportRootKey(
  dataDir: string,
  file: string,
  files: Pick<KeyFileLayer, 'remove'> = nodeKeyFiles,
): RootKeyFile {
  const path = join(dataDir, 'keys', 'root.key');
  const root = readRoot(dataDir);
  if (root === null) {
    throw new BrokerError('ERR_KEY_NOT_HERE', `${path}: expected the root key, got none`);
  }
  if (!existsSync(join(dataDir, 'descriptor.cose'))) {
    throw new BrokerError(
      'ERR_KEY_NOT_HERE',
      `${join(dataDir, 'descriptor.cose')}: expected a signed descriptor first, got none; start the broker once`,
    );
  }
  const { publicKey } = root;
  const isElsewhere = resolve(dirname(file)) !== resolve(dirname(path));
  if (!isElsewhere) throw exists(file);
  const seed = readKey(path);
  writeNewFile(file, formatKey(seed), 0o600);
  if (!equalBytes(readRootFile(file).publicKey, publicKey)) {
    throw new BrokerError(
      'ERR_FILE_UNREADABLE',
      `${file}: expected what was written, got other bytes`,
    );
  }
  files.remove(path);
  return showRoot(file, publicKey);
}

/** The root key in a seed file. @throws {BrokerError} ERR_FILE_UNREADABLE, ERR_KEY_FILE. */
export function readRootFile(file: string): Signer {
  readBytes(file);
  return signerFromSeed(readKey(file));
}

/**
 * A root public key from what an operator gives: `z6Mk…`, or a file with that or the key in base64url.
 *
 * @throws {BrokerError} ERR_FILE_UNREADABLE, ERR_KEY_FILE.
 */
export function parseRootKey(given: string): Uint8Array {
  const text = given.startsWith('z6Mk')
    ? given
    : Buffer.from(readBytes(given)).toString('utf8').trim();
  try {
    const key = text.startsWith('z6Mk') ? publicKeyFromDeviceId(text) : fromBase64url(text);
    if (key.length === 32) return key;
  } catch {
    // Said below.
  }
  throw new BrokerError(
    'ERR_KEY_FILE',
    `root key ${given.slice(0, 80)}: expected z6Mk… or a .pub file`,
  );
}

/** @throws {BrokerError} ERR_FILE_UNREADABLE. */
export function readBytes(file: string): Uint8Array {
  try {
    return Uint8Array.from(readFileSync(file));
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

/**
 * Writes a file that must not be there yet, durably.
 *
 * @throws {BrokerError} ERR_FILE_EXISTS, ERR_FILE_UNREADABLE; what was written of it is removed again.
 */
export function writeNewFile(file: string, content: Uint8Array | string, mode: number): void {
  let handle: number;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    handle = openSync(file, 'wx', mode);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') throw exists(file);
    throw unreadable(file, cause);
  }
  try {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    for (let at = 0; at < bytes.length; ) at += writeSync(handle, bytes, at);
    fsyncSync(handle);
    syncFolder(dirname(resolve(file)));
  } catch (cause) {
    rmSync(file, { force: true });
    throw unreadable(file, cause);
  } finally {
    closeSync(handle);
  }
}

function showRoot(file: string, publicKey: Uint8Array): RootKeyFile {
  const network = networkIdFromRootKey(publicKey);
  return { file, network, rootKey: deviceIdFromPublicKey(publicKey) };
}

function exists(file: string): BrokerError {
  return new BrokerError('ERR_FILE_EXISTS', `${file}: exists`);
}

function unreadable(file: string, cause: unknown): BrokerError {
  const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
  return new BrokerError('ERR_FILE_UNREADABLE', `${file}: ${why}`, { cause });
}
