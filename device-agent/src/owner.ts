/**
 * The owner: a key that lives in a recovery phrase, not on the device. What stays here is the owner's name and
 * the signed statement that this device is theirs. docs/spec/identity.md 1, 5.2.
 */

import { join } from 'node:path';
import { fromBase64url, toBase64url } from '@fieldproof/protocol/bytes';
import { didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import type { Signer } from '@fieldproof/protocol/envelope';
import { sealOwnership } from '@fieldproof/protocol/statements';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError, reasonOf } from './errors.ts';
import type { Ownership } from './membership.ts';

const FILE = 'owner.json';
/** 128 bits: twelve words. */
const ENTROPY_BYTES = 16;

/** Twelve new words. They are shown once and kept nowhere. */
export async function newPhrase(random: (length: number) => Uint8Array): Promise<string> {
  const { entropyToMnemonic } = await import('@scure/bip39');
  const { wordlist } = await import('@scure/bip39/wordlists/english.js');
  return entropyToMnemonic(random(ENTROPY_BYTES), wordlist);
}

/**
 * The owner key of a phrase.
 *
 * @param phrase - twelve words of the English BIP-39 list.
 * @throws {AgentError} ERR_AGENT_OWNER when it is no such phrase.
 */
export async function ownerFromPhrase(phrase: string): Promise<Signer> {
  const { mnemonicToSeed, validateMnemonic } = await import('@scure/bip39');
  const { wordlist } = await import('@scure/bip39/wordlists/english.js');
  const words = phrase.trim().toLowerCase().split(/\s+/);
  if (words.length !== 12 || !validateMnemonic(words.join(' '), wordlist)) {
    throw new AgentError('ERR_AGENT_OWNER', `phrase: expected twelve BIP-39 words that add up`);
  }
  const seed = await mnemonicToSeed(words.join(' '));
  const signer = signerFromSeed(seed.slice(0, 32));
  seed.fill(0);
  return signer;
}

/**
 * Signs, with the key of a phrase, that a device belongs to its owner.
 *
 * @throws {AgentError} as {@link ownerFromPhrase}.
 */
export async function ownershipFromPhrase(
  phrase: string,
  device: { readonly deviceId: string; readonly network: string },
): Promise<Ownership> {
  const signer = await ownerFromPhrase(phrase);
  return {
    owner: didKeyFromPublicKey(signer.publicKey),
    statement: sealOwnership(device.deviceId, { network: device.network, signer }),
  };
}

/** Keeps an ownership for the enrolment. */
export async function saveOwnership(dataDir: string, ownership: Ownership): Promise<void> {
  const { owner, statement } = ownership;
  const content = { owner, statement: toBase64url(statement) };
  await replaceFile(join(dataDir, FILE), `${JSON.stringify(content)}\n`);
}

/** @throws {AgentError} ERR_AGENT_STATE when the file is damaged. */
export async function loadOwnership(dataDir: string): Promise<Ownership | undefined> {
  const path = join(dataDir, FILE);
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return undefined;
  try {
    const { owner, statement } = JSON.parse(Buffer.from(bytes).toString('utf8')) as {
      owner: string;
      statement: string;
    };
    return { owner: String(owner), statement: fromBase64url(statement) };
  } catch (cause) {
    throw new AgentError('ERR_AGENT_STATE', `${path}: ${reasonOf(cause)}`, { cause });
  }
}
