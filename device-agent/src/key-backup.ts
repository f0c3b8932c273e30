/**
 * A device's key outside of its data folder: public, for whoever checks what the device signs, and whole, in a file that
 * a passphrase locks (scrypt, RFC 7914; AES-256-GCM), so that a device whose card dies can go on under its id.
 */

import { createCipheriv, createDecipheriv, createPublicKey, scryptSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fromBase64url, toBase64url } from '@fieldproof/protocol/bytes';
import { didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import { lastBootCounter, saveBootCounter } from './boot.ts';
import { loadDeviceKey, loadPlace, type Place, replaceDeviceKey, savePlace } from './device-key.ts';
import { makeFolder, readIfPresent } from './durable-file.ts';
import { AgentError } from './errors.ts';

const FORMAT = 'fieldproof-device-key-1';
const MIN_PASSPHRASE = 8;
const CIPHER = 'aes-256-gcm';
/** 32 MiB, a quarter of a second on a Raspberry Pi 4. RFC 7914 section 2. */
const SCRYPT = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 };
const [KEY_BYTES, SALT_BYTES, NONCE_BYTES, TAG_BYTES, SEED_BYTES] = [32, 16, 12, 16, 32];
/** Starts that the device may have made since the backup: a boot counter that is used again looks like a copied card. */
const BOOTS_SINCE = 1_000_000;
const MAX_COUNTER = 2 ** 32 - 1;

/** What may be shown to anybody. */
export interface PublicKeyInfo {
  readonly device: string;
  /** did:key of the present key; that of another key than the device's id after a rotation. */
  readonly did: string;
  /** SubjectPublicKeyInfo, RFC 8410. */
  readonly pem: string;
  /** The first boot that this key signs. */
  readonly firstBoot: number;
}

/** @throws {AgentError} ERR_AGENT_KEY, ERR_AGENT_NOT_INITIALISED. */
export async function publicKeyInfo(dataDir: string): Promise<PublicKeyInfo> {
  const { deviceId, signer, firstBoot } = await loadDeviceKey(dataDir);
  const x = Buffer.from(signer.publicKey).toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  return {
    device: deviceId,
    did: didKeyFromPublicKey(signer.publicKey),
    pem: key.export({ type: 'spki', format: 'pem' }).toString(),
    firstBoot,
  };
}

/**
 * The key and all that has to be known beside it, as text of a file.
 *
 * @param passphrase - of at least eight characters.
 * @param random - gives that many random bytes.
 * @throws {AgentError} ERR_AGENT_KEY, ERR_AGENT_NOT_INITIALISED, ERR_AGENT_USAGE.
 */
export async function backupKey(
  dataDir: string,
  { passphrase, random }: { passphrase: string; random: (length: number) => Uint8Array },
): Promise<string> {
  if ([...passphrase].length < MIN_PASSPHRASE) {
    const message = `passphrase: expected at least ${MIN_PASSPHRASE} characters`;
    throw new AgentError('ERR_AGENT_USAGE', message);
  }
  const { deviceId, keyId } = await loadDeviceKey(dataDir);
  const seed = (await readIfPresent(join(dataDir, 'device.key')))!;
  const [salt, nonce] = [random(SALT_BYTES), random(NONCE_BYTES)];
  const open: Open = {
    format: FORMAT,
    device: deviceId,
    key: keyId,
    place: (await loadPlace(dataDir)) ?? null,
    bootCounter: await lastBootCounter(join(dataDir, 'state')),
    salt: toBase64url(salt),
    nonce: toBase64url(nonce),
  };
  const cipher = createCipheriv(CIPHER, keyFrom(passphrase, salt), nonce);
  cipher.setAAD(Buffer.from(JSON.stringify(open)));
  const sealed = Buffer.concat([
    cipher.update(Buffer.from(Buffer.from(seed).toString('utf8').trim(), 'hex')),
    ...[cipher.final(), cipher.getAuthTag()],
  ]);
  return `${JSON.stringify({ ...open, sealed: toBase64url(sealed) }, null, 2)}\n`;
}

/**
 * Makes a data folder that of the device in a backup. Its boots go on far above those that the backup knows.
 *
 * @returns the device's id.
 * @throws {AgentError} ERR_AGENT_KEY when the folder has a device, or the file is damaged, or the passphrase is another.
 */
export async function restoreKey(
  dataDir: string,
  backup: { readonly text: string; readonly passphrase: string },
): Promise<string> {
  if (existsSync(join(dataDir, 'device.key'))) {
    throw new AgentError('ERR_AGENT_KEY', `${dataDir}: expected a folder without a device`);
  }
  const { open, seed } = readBackup(backup.text, backup.passphrase);
  const state = join(dataDir, 'state');
  await makeFolder(state);
  await saveBootCounter(state, Math.min(open.bootCounter + BOOTS_SINCE, MAX_COUNTER - BOOTS_SINCE));
  if (open.place !== null) await savePlace(dataDir, open.place);
  // The last: with it the folder is the device's.
  await replaceDeviceKey(dataDir, seed);
  return open.device;
}

/** What a backup shows to anybody; nobody can change it without the passphrase. */
interface Open {
  readonly format: string;
  readonly device: string;
  readonly key: string;
  readonly place: Place | null;
  readonly bootCounter: number;
  readonly salt: string;
  readonly nonce: string;
}

function readBackup(
  text: string,
  passphrase: string,
): { readonly open: Open; readonly seed: Uint8Array } {
  const { open, sealed } = parseBackup(text);
  try {
    const key = keyFrom(passphrase, fromBase64url(open.salt));
    const decipher = createDecipheriv(CIPHER, key, fromBase64url(open.nonce));
    decipher.setAAD(Buffer.from(JSON.stringify(open)));
    decipher.setAuthTag(sealed.subarray(SEED_BYTES));
    const seed = Buffer.concat([decipher.update(sealed.subarray(0, SEED_BYTES)), decipher.final()]);
    return { open, seed: new Uint8Array(seed) };
  } catch (cause) {
    const message = 'backup: the passphrase does not open it, or the file was changed';
    throw new AgentError('ERR_AGENT_KEY', message, { cause });
  }
}

function parseBackup(text: string): { readonly open: Open; readonly sealed: Uint8Array } {
  try {
    const { sealed, ...open } = JSON.parse(text) as Open & { readonly sealed: string };
    const bytes = fromBase64url(sealed);
    const isWhole =
      open.format === FORMAT &&
      fromBase64url(open.salt).length === SALT_BYTES &&
      fromBase64url(open.nonce).length === NONCE_BYTES &&
      bytes.length === SEED_BYTES + TAG_BYTES;
    if (isWhole) return { open, sealed: bytes };
  } catch {
    // Told below.
  }
  throw new AgentError('ERR_AGENT_KEY', `backup: expected a file of format ${FORMAT}`);
}

function keyFrom(passphrase: string, salt: Uint8Array): Buffer {
  return scryptSync(passphrase.normalize('NFKC'), salt, KEY_BYTES, SCRYPT);
}
