/** The network descriptor of a data folder: signed again when what it says has changed. docs/spec/identity.md section 2. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { type Descriptor, openDescriptor, sealDescriptor } from '@fieldproof/protocol/statements';
import { descriptorChanges } from './descriptor-changes.ts';
import { BrokerError } from './errors.ts';
import { mapRoles, type NetworkKeys } from './keys.ts';
import { replaceFile } from './replace-file.ts';

const YEAR_MS = 365 * 86_400_000;
/** So long before its end the broker signs a new one, or says that it is time. */
export const RENEW_BEFORE_MS = YEAR_MS / 3;

/** What the running broker wants the descriptor to say. */
export type DescriptorContent = Pick<Descriptor, 'ca' | 'addresses' | 'mergeDelayMs'>;

export interface LoadedDescriptor {
  readonly descriptor: Descriptor;
  readonly envelope: Uint8Array;
  /** True when this call signed it: the log gets a `network` entry. */
  readonly isNew: boolean;
  /** What it should say instead, while the root key is not at hand; empty when it says all. */
  readonly stale: readonly string[];
}

/** All but what the root key decides when it signs. */
export type UnsignedDescriptor = Omit<Descriptor, 'version' | 'issued' | 'expires'>;

/**
 * Gives the descriptor in force, after signing a new version when addresses, CA, role keys or the merge delay
 * have changed or a third of its life is left.
 *
 * When the stored one is missing, damaged or older than the one in force, the log's copy takes its place. What it says
 * of witnesses and stewards stands nowhere else, so without that copy none is signed: it would say less in silence.
 *
 * @throws {BrokerError} ERR_DESCRIPTOR_FILE when there is no copy of the one that was in force; ERR_DESCRIPTOR_NEEDED
 * when a first one takes the root key and it is not at hand.
 */
export async function loadDescriptor(
  dataDir: string,
  keys: NetworkKeys,
  options: {
    readonly content: DescriptorContent;
    readonly now: number;
    /** The newest version that is known to have been in force; 0 when there was none. */
    readonly inForce: number;
    /** The newest one in the evidence log, as envelope; null when it has none. */
    readonly logged: () => Promise<Uint8Array | null>;
    /** Told why the stored one is of no use, and what is used in its place. */
    readonly onDamaged?: (error: BrokerError, version: number) => void;
  },
): Promise<LoadedDescriptor> {
  const path = join(dataDir, 'descriptor.cose');
  const { content, now } = options;
  const stored = await readStored(path, keys, options);
  const wanted = wantedDescriptor(keys, content, stored?.descriptor ?? null);
  const changes = stored === null ? [] : descriptorChanges(stored.descriptor, wanted);
  const lasting = stored !== null && stored.descriptor.expires - now > RENEW_BEFORE_MS;
  if (stored !== null && ((changes.length === 0 && lasting) || keys.root === null)) {
    return { ...stored, isNew: false, stale: changes };
  }
  const descriptor = {
    ...wanted,
    version: (stored?.descriptor.version ?? 0) + 1,
    issued: now,
    expires: now + YEAR_MS,
  };
  const signed = sealDescriptor(descriptor, { signer: requireRoot(keys) });
  replaceFile(path, signed, 0o644);
  return { descriptor, envelope: signed, isNew: true, stale: [] };
}

/**
 * What a descriptor of these keys and this content says; what is only in the one before stays.
 *
 * Of a role's keys that is the one which was in force, if there is a file of it: also while another one waits to
 * replace it, or a crash has left the one before it there.
 */
export function wantedDescriptor(
  keys: NetworkKeys,
  content: DescriptorContent,
  stored: Descriptor | null,
): UnsignedDescriptor {
  const { network, roles, known } = keys;
  return {
    network,
    keys: mapRoles((role) => {
      const inForce = known[role].find((key) => stored && equalBytes(stored.keys[role], key));
      return inForce ?? roles[role];
    }),
    origins: { evidence: `fieldproof/${network}/evidence`, ledger: `fieldproof/${network}/ledger` },
    ...content,
    witnesses: stored?.witnesses ?? [],
    stewards: stored?.stewards ?? [],
    ...(stored?.compromised && { compromised: stored.compromised }),
  };
}

/** Opens one that the root key of a data folder has signed. @throws {BrokerError} ERR_DESCRIPTOR_REFUSED. */
export function openSigned(
  envelope: Uint8Array,
  { network, rootKey: publicKey }: Pick<NetworkKeys, 'network' | 'rootKey'>,
): Descriptor {
  try {
    return openDescriptor(envelope, { network, publicKey, verify });
  } catch (cause) {
    throw new BrokerError('ERR_DESCRIPTOR_REFUSED', `descriptor: ${(cause as Error).message}`, {
      cause,
    });
  }
}

type Stored = Pick<LoadedDescriptor, 'descriptor' | 'envelope'>;

/** The one in the file, or else in the log; null when the network never had one. */
async function readStored(
  path: string,
  keys: NetworkKeys,
  options: Pick<Parameters<typeof loadDescriptor>[2], 'inForce' | 'logged' | 'onDamaged'>,
): Promise<Stored | null> {
  const { inForce, logged, onDamaged = () => {} } = options;
  const file = existsSync(path) ? Uint8Array.from(readFileSync(path)) : null;
  const found = file === null ? 'missing' : openInForce(file, keys, inForce);
  if (typeof found !== 'string') return found;
  const copy = await logged();
  if (copy === null && file === null && inForce === 0) return null;
  if (copy === null) throw unusable(found);
  const restored = openInForce(copy, keys, inForce);
  if (typeof restored === 'string') throw unusable(`${found}; in the evidence log: ${restored}`);
  replaceFile(path, restored.envelope, 0o644);
  onDamaged(unusable(found), restored.descriptor.version);
  return restored;
}

/** The descriptor in an envelope, or why it is of no use. */
function openInForce(envelope: Uint8Array, keys: NetworkKeys, inForce: number): Stored | string {
  const { network, rootKey: publicKey } = keys;
  try {
    const descriptor = openDescriptor(envelope, { network, publicKey, verify });
    if (descriptor.version >= inForce) return { descriptor, envelope };
    return `expected version ${inForce} or newer, got ${descriptor.version}`;
  } catch (error) {
    return (error as Error).message;
  }
}

function unusable(why: string): BrokerError {
  return new BrokerError('ERR_DESCRIPTOR_FILE', `descriptor.cose: ${why}`);
}

function requireRoot(keys: NetworkKeys) {
  if (keys.root !== null) return keys.root;
  throw new BrokerError(
    'ERR_DESCRIPTOR_NEEDED',
    'descriptor.cose: missing, and there is no root key to sign a first one',
  );
}
