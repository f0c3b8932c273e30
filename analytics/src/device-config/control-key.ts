/**
 * The key with which the control process signs: the seed of `control` that the descriptor in force names
 * (docs/spec/identity.md 2.7).
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { equalBytes, fromBase64url } from '@fieldproof/protocol/bytes';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import type { Signer } from '@fieldproof/protocol/envelope';
import { AnalyticsError } from '../errors.ts';

const FILES = ['control.key', 'control.next.key'];

/**
 * The signer whose public key is `named`.
 *
 * @param folder - the broker's `keys`, or another folder with `control.key`.
 * @throws {AnalyticsError} ERR_CONFIG_UNAVAILABLE when none of the files has it.
 */
export async function loadControlKey(folder: string, named: Uint8Array): Promise<Signer> {
  for (const name of FILES) {
    const text = await readFile(join(folder, name), 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    const signer = signerOf(text);
    if (signer !== undefined && equalBytes(signer.publicKey, named)) return signer;
  }
  throw new AnalyticsError(
    'ERR_CONFIG_UNAVAILABLE',
    `${join(folder, FILES[0]!)}: expected the control key that the network descriptor names`,
  );
}

function signerOf(text: string): Signer | undefined {
  try {
    const seed = fromBase64url(text.trim());
    return seed.length === 32 ? signerFromSeed(seed) : undefined;
  } catch {
    return undefined;
  }
}
