/** The device's key: an Ed25519 seed in a file that only this user can read. docs/spec/identity.md 1. */

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import type { Signer } from '@fieldproof/protocol/envelope';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError, reasonOf } from './errors.ts';

const FILE = 'device.key';
const SEED_BYTES = 32;

export interface DeviceIdentity {
  /** `z6Mk…`, 48 characters. */
  readonly deviceId: string;
  readonly signer: Signer;
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
  await replaceFile(path, `${Buffer.from(random(SEED_BYTES)).toString('hex')}\n`, { mode: 0o600 });
  return true;
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
  return { deviceId: deviceIdFromPublicKey(signer.publicKey), signer };
}
