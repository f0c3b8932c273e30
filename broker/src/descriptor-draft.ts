/** Drafts of network descriptors: made where the keys are, signed where the root key is. docs/spec/identity.md 2.4. Pure. */

import { equalBytes } from '@fieldproof/protocol/bytes';
import type { Signer } from '@fieldproof/protocol/envelope';
import { networkIdFromRootKey } from '@fieldproof/protocol/network-id';
import {
  type Descriptor,
  decodeDescriptor,
  MAX_COMPROMISED,
  type RoleName,
  sealDescriptor,
} from '@fieldproof/protocol/statements';
import { type DescriptorContent, wantedDescriptor } from './descriptor.ts';
import { BrokerError } from './errors.ts';
import { mapRoles, type NetworkKeys, ROLES } from './keys.ts';

const DAY_MS = 86_400_000;
export const DEFAULT_DAYS = 365;
/** A descriptor that never ends would keep a lost root key from ever mattering. */
export const MAX_DAYS = 3650;

/**
 * The next descriptor: what is so now, with the role keys that wait to come into force.
 *
 * @param options.compromised - roles whose key in force is to be called compromised.
 */
export function draftDescriptor(
  keys: NetworkKeys,
  options: {
    readonly content: DescriptorContent;
    readonly before: Descriptor | null;
    readonly compromised: readonly RoleName[];
    readonly now: number;
  },
): Descriptor {
  const { content, before, compromised, now } = options;
  const wanted = wantedDescriptor(keys, content, before);
  const next = mapRoles((role) => keys.next[role]?.publicKey ?? wanted.keys[role]);
  const replaced = ROLES.filter(
    (role) => compromised.includes(role) && !equalBytes(next[role], wanted.keys[role]),
  ).map((role) => wanted.keys[role]);
  const lost = [...(before?.compromised ?? []), ...replaced].slice(-MAX_COMPROMISED);
  return {
    ...wanted,
    version: (before?.version ?? 0) + 1,
    issued: now,
    expires: now + DEFAULT_DAYS * DAY_MS,
    keys: next,
    ...(lost.length > 0 && { compromised: lost }),
  };
}

/** Reads a draft. @throws {BrokerError} ERR_DESCRIPTOR_REFUSED when it is none. */
export function readDraft(payload: Uint8Array): Descriptor {
  try {
    return decodeDescriptor(payload);
  } catch (cause) {
    throw refused(`draft: ${(cause as Error).message}`, cause);
  }
}

/**
 * Signs a draft with the root key, valid from now on.
 *
 * @throws {BrokerError} ERR_DESCRIPTOR_REFUSED when it is of another network, not newer than `current`, or the root key is
 * one of its role keys.
 */
export function signDraft(
  draft: Descriptor,
  options: {
    readonly root: Signer;
    readonly days: number;
    readonly now: number;
    /** The one in force, where it is known. */
    readonly current: Descriptor | null;
  },
): { readonly descriptor: Descriptor; readonly envelope: Uint8Array } {
  const { root, days, now, current } = options;
  const network = networkIdFromRootKey(root.publicKey);
  for (const { what, id } of [
    { what: 'draft', id: draft.network },
    { what: 'current descriptor', id: current?.network ?? network },
  ]) {
    if (id !== network) throw refused(`${what}: expected network ${network}, got ${id}`);
  }
  checkNewer(draft, current);
  if (ROLES.some((role) => equalBytes(draft.keys[role], root.publicKey))) {
    throw refused('draft: names the root key as a role key');
  }
  const descriptor = { ...draft, issued: now, expires: now + days * DAY_MS };
  return { descriptor, envelope: sealDescriptor(descriptor, { signer: root }) };
}

/** @throws {BrokerError} ERR_DESCRIPTOR_REFUSED unless it is newer than the one in force. */
export function checkNewer(next: Descriptor, current: Descriptor | null): void {
  const known = current?.version ?? 0;
  if (next.version > known) return;
  throw refused(`version: expected one above ${known}, got ${next.version}`);
}

export function refused(message: string, cause?: unknown): BrokerError {
  return new BrokerError('ERR_DESCRIPTOR_REFUSED', message, cause === undefined ? {} : { cause });
}
