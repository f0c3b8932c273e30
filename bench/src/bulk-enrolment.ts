/**
 * Enrols many devices at once, by writing the registry of a broker that is not running. The evidence log has no
 * entries about them, which a broker needs only when its registry is lost.
 */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { openRegistryDatabase } from '@fieldproof/broker/registry/database';
import { type Device, Registry } from '@fieldproof/broker/registry/registry';
import { deviceIdFromPublicKey, didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { applyRegistryAction } from '@fieldproof/protocol/registry-device';

const YEAR_MS = 31_536_000_000;
/** Rows of one transaction. */
const AT_ONCE = 1000;

/** @returns the seeds of the devices' keys, base64. */
export async function enrolInBulk(dataDir: string, devices: number): Promise<string[]> {
  const file = join(dataDir, 'registry.sqlite');
  const registry = new Registry(await openRegistryDatabase({ url: '', file }));
  const owner = didKeyFromPublicKey(signerFromSeed(randomBytes(32)).publicKey);
  const seeds: string[] = [];
  try {
    while (seeds.length < devices) {
      const rows: Device[] = [];
      while (rows.length < AT_ONCE && seeds.length < devices) {
        const seed = randomBytes(32);
        rows.push(enrolled(signerFromSeed(seed).publicKey, owner));
        seeds.push(seed.toString('base64'));
      }
      await registry.apply(rows);
    }
  } finally {
    await registry.close();
  }
  return seeds;
}

function enrolled(key: Uint8Array, owner: string): Device {
  const at = Date.now();
  const action = {
    action: 'enrol',
    subject: deviceIdFromPublicKey(key),
    key,
    owner,
    name: 'bench',
    group: '',
    cell: '',
    streams: [],
    issued: at,
    expires: at + YEAR_MS,
  } as const;
  return applyRegistryAction(null, action, { at, index: 0 })!;
}
