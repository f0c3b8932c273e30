/** The network descriptor of a data folder: signed again when what it says has changed. docs/spec/identity.md section 2. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { encodeMessage } from '@fieldproof/protocol/messages';
import { type Descriptor, openDescriptor, sealDescriptor } from '@fieldproof/protocol/statements';
import { BrokerError } from './errors.ts';
import type { NetworkKeys } from './keys.ts';
import { replaceFile } from './replace-file.ts';

const YEAR_MS = 365 * 86_400_000;

/** What the running broker wants the descriptor to say. */
export type DescriptorContent = Pick<Descriptor, 'ca' | 'addresses' | 'mergeDelayMs'>;

export interface LoadedDescriptor {
  readonly descriptor: Descriptor;
  readonly envelope: Uint8Array;
  /** True when this call signed it: the log gets a `network` entry. */
  readonly isNew: boolean;
  /** True when it should say something else, but the root key is not at hand. */
  readonly isStale: boolean;
}

/**
 * Gives the descriptor in force, after signing a new version when addresses, CA, role keys or the merge delay
 * have changed or a third of its life is left.
 *
 * One that is missing or does not verify under the root key is signed anew, above every version that was in force:
 * agents refuse an older one.
 *
 * @throws {BrokerError} ERR_DESCRIPTOR_FILE when that takes the root key and it is not at hand.
 */
export function loadDescriptor(
  dataDir: string,
  keys: NetworkKeys,
  options: {
    readonly content: DescriptorContent;
    readonly now: number;
    /** The newest version that is known to have been in force; default 0. */
    readonly atLeast?: number;
    /** Told why the stored one is of no use. */
    readonly onDamaged?: (error: unknown) => void;
  },
): LoadedDescriptor {
  const path = join(dataDir, 'descriptor.cose');
  const { content, now, atLeast = 0, onDamaged = () => {} } = options;
  const envelope = existsSync(path) ? Uint8Array.from(readFileSync(path)) : null;
  const stored = envelope && openStored(envelope, keys, onDamaged);
  const wanted = wantedDescriptor(keys, content, stored);
  const current = stored !== null && saysTheSame(stored, wanted);
  const lasting = stored !== null && stored.expires - now > YEAR_MS / 3;
  if (stored !== null && envelope !== null && ((current && lasting) || keys.root === null)) {
    return { descriptor: stored, envelope, isNew: false, isStale: !current };
  }
  const descriptor = {
    ...wanted,
    version: Math.max(stored?.version ?? 0, atLeast) + 1,
    issued: now,
    expires: now + YEAR_MS,
  };
  const signed = sealDescriptor(descriptor, { signer: requireRoot(keys) });
  replaceFile(path, signed, 0o644);
  return { descriptor, envelope: signed, isNew: true, isStale: false };
}

function openStored(
  envelope: Uint8Array,
  keys: NetworkKeys,
  onDamaged: (error: unknown) => void,
): Descriptor | null {
  try {
    return openDescriptor(envelope, { network: keys.network, publicKey: keys.rootKey, verify });
  } catch (error) {
    onDamaged(error);
    return null;
  }
}

function wantedDescriptor(
  keys: NetworkKeys,
  content: DescriptorContent,
  stored: Descriptor | null,
): Omit<Descriptor, 'version' | 'issued' | 'expires'> {
  const { network } = keys;
  return {
    network,
    keys: keys.roles,
    origins: { evidence: `fieldproof/${network}/evidence`, ledger: `fieldproof/${network}/ledger` },
    ...content,
    witnesses: stored?.witnesses ?? [],
    stewards: stored?.stewards ?? [],
  };
}

function saysTheSame(
  stored: Descriptor,
  wanted: Omit<Descriptor, 'version' | 'issued' | 'expires'>,
): boolean {
  const { version: _v, issued: _i, expires: _e, ...said } = stored;
  return equalBytes(encodeMessage(said), encodeMessage(wanted));
}

function requireRoot(keys: NetworkKeys) {
  if (keys.root !== null) return keys.root;
  throw new BrokerError(
    'ERR_DESCRIPTOR_FILE',
    'descriptor.cose: expected a descriptor that the root key signed, got none',
  );
}
