/**
 * The device's key: an Ed25519 seed in a file that only this user can read. docs/spec/identity.md 1.
 *
 * The id of a device is that of its first key, for ever. Where the key is another by now, `place.json` names the device.
 */

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import type { Signer } from '@fieldproof/protocol/envelope';
import { isDeviceIdText } from '@fieldproof/protocol/topics';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError, reasonOf } from './errors.ts';

const FILE = 'device.key';
const PLACE_FILE = 'place.json';
const SEED_BYTES = 32;

export interface DeviceIdentity {
  /** `z6Mk…`, 48 characters. */
  readonly deviceId: string;
  /** Id of the key: that of the device, unless its first key was another. */
  readonly keyId: string;
  readonly signer: Signer;
  /** The first boot counter that this key signs; 0 for a device's first key. */
  readonly firstBoot: number;
  /** Whether this key has sealed boots below that before it became the device's, which count for nothing. */
  readonly tookPlace: boolean;
}

/** Which device a key belongs to that is not its first. */
export interface Place {
  readonly device: string;
  readonly firstBoot: number;
  /**
   * Ids of the key that is meant and of the one before it: both are the device's, and only the first begins at `firstBoot`.
   * They are the same where the key was no other's before.
   */
  readonly key: string;
  readonly before: string;
}

/**
 * Makes a device key, unless there is one.
 *
 * @returns whether it is new.
 */
export async function createDeviceKey(
  dataDir: string,
  random: (length: number) => Uint8Array,
): Promise<boolean> {
  const path = join(dataDir, FILE);
  if ((await readIfPresent(path)) !== undefined) return false;
  await replaceDeviceKey(dataDir, random(SEED_BYTES));
  return true;
}

/** @param seed - of 32 bytes. The key that was there is gone. */
export async function replaceDeviceKey(dataDir: string, seed: Uint8Array): Promise<void> {
  const text = `${Buffer.from(seed).toString('hex')}\n`;
  await replaceFile(join(dataDir, FILE), text, { mode: 0o600 });
}

/** @throws {AgentError} ERR_AGENT_KEY, ERR_AGENT_NOT_INITIALISED. */
export async function loadDeviceKey(dataDir: string): Promise<DeviceIdentity> {
  const path = join(dataDir, FILE);
  const bytes = await readIfPresent(path).catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_KEY', `${path}: ${reasonOf(cause)}`, { cause });
  });
  if (bytes === undefined) {
    throw new AgentError('ERR_AGENT_NOT_INITIALISED', `${path}: expected a device key, got none`);
  }
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0 && process.platform !== 'win32') {
    const shown = (mode & 0o777).toString(8);
    throw new AgentError('ERR_AGENT_KEY', `${path}: expected mode 600, got ${shown}`);
  }
  const text = (await readFile(path, 'utf8')).trim();
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new AgentError('ERR_AGENT_KEY', `${path}: expected 64 hex digits`);
  }
  const signer = signerFromSeed(new Uint8Array(Buffer.from(text, 'hex')));
  const keyId = deviceIdFromPublicKey(signer.publicKey);
  const place = await loadPlace(dataDir);
  if (place === undefined)
    return { deviceId: keyId, keyId, signer, firstBoot: 0, tookPlace: false };
  if (keyId !== place.key && keyId !== place.before) {
    const message = `${path}: expected a key of device ${place.device}, got that of ${keyId}`;
    throw new AgentError('ERR_AGENT_KEY', message);
  }
  const firstBoot = keyId === place.key ? place.firstBoot : 0;
  const tookPlace = place.key === place.before;
  return { deviceId: place.device, keyId, signer, firstBoot, tookPlace };
}

/** Makes durable which device a key belongs to. */
export async function savePlace(dataDir: string, place: Place): Promise<void> {
  await replaceFile(join(dataDir, PLACE_FILE), `${JSON.stringify(place)}\n`);
}

/** @throws {AgentError} ERR_AGENT_STATE when the file is damaged. */
export async function loadPlace(dataDir: string): Promise<Place | undefined> {
  const path = join(dataDir, PLACE_FILE);
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return undefined;
  try {
    const place = JSON.parse(Buffer.from(bytes).toString('utf8')) as Place;
    const ids = [place.device, place.key, place.before];
    const { firstBoot } = place;
    if (ids.every(isDeviceIdText) && Number.isSafeInteger(firstBoot) && firstBoot >= 0) {
      return place;
    }
  } catch {
    // Reported below, with the name of the file.
  }
  throw new AgentError('ERR_AGENT_STATE', `${path}: expected { device, firstBoot, key, before }`);
}
