/**
 * What the `registry` entries of the evidence log make of a device: a pure state machine that the broker runs, that a
 * start repeats over what a crash left out, and that an outsider repeats over the whole log. docs/spec/registry.md.
 */

import { toHex } from './bytes.ts';
import { type KeyProblem, keyFor, keyRingOf, type RetiredKey } from './key-ring.ts';
import {
  type ActionOf,
  type RegistryAction,
  seedNumberOf,
  type UnknownAction,
} from './registry-actions.ts';

/** Keys of a device that are not its current one; quarantined and released boots each, former owners kept. Sections 3.3, 6.3. */
export const MAX_RETIRED_KEYS = 8;
export const MAX_QUARANTINED = 64;
export const MAX_FORMER_OWNERS = 16;

/** A wanted series. */
export interface Stream {
  readonly metric: string;
  readonly cadenceMs: number;
  readonly resolution: number;
}

/** A boot by its counter and its seed as a big-endian uint32. */
export interface BootName {
  readonly bootCounter: number;
  readonly bootSeed: number;
}

/** Section 4. */
export interface Suspension {
  /** Index of the `suspend` entry, and its time. */
  readonly index: number;
  readonly at: number;
  /** What it is for: `operator`, or the code of what was seen. */
  readonly kind: string;
  readonly reason: string;
  /** Indices of the entries that show it. */
  readonly evidence: readonly number[];
  /** When it ends by itself, Unix ms; null: by `resume` only. */
  readonly until: number | null;
  /** Appeals are heard until then; 0: not at all. */
  readonly appealUntil: number;
  readonly appeal: { readonly index: number; readonly at: number } | null;
  readonly decision: {
    readonly index: number;
    readonly at: number;
    readonly outcome: string;
    readonly reason: string;
  } | null;
}

/** Who may relay for a device: its last delegation. Section 8. */
export interface Delegation {
  /** The id of a device; null: nobody, it was taken back. */
  readonly gateway: string | null;
  /** Grows with every delegation of the device. */
  readonly issued: number;
  /** When it ends by itself, Unix ms; null: never. */
  readonly expires: number | null;
  /** Index of the `delegate` entry. */
  readonly index: number;
}

/** A device as the registry has it. Times are Unix ms. */
export interface RegisteredDevice {
  /** The id of its first key, for ever. */
  readonly deviceId: string;
  /** Its current key, 32 bytes, which signs boots from `firstBoot` on. */
  readonly publicKey: Uint8Array;
  readonly firstBoot: number;
  /** Newest first. */
  readonly retired: readonly RetiredKey[];
  /** did:key. */
  readonly owner: string;
  /** Newest first. */
  readonly formerOwners: readonly string[];
  readonly name: string;
  readonly group: string;
  /** H3 index, or empty. */
  readonly cell: string;
  readonly streams: readonly Stream[];
  /** Commitments to what people wrote of it, hex. Section 5.2. */
  readonly texts: { readonly site: string | null; readonly notes: string | null };
  readonly status: 'active' | 'suspended' | 'unenrolled';
  /** The last one; in force while `status` is `suspended` and its `until` is not past. */
  readonly suspension: Suspension | null;
  /** Boots whose envelopes are refused, oldest first. */
  readonly quarantined: readonly BootName[];
  /** Boots that an operator has released: refused no more for the counter that they share with another. */
  readonly released: readonly BootName[];
  /** The last delegation; null before the first. */
  readonly delegation: Delegation | null;
  readonly agent: string;
  readonly enrolledAt: number;
  readonly credentialIssued: number;
  readonly credentialExpires: number;
  /** Index of the last `registry` entry about it. */
  readonly logIndex: number;
}

/** Where an entry stands, and the broker's time in it. */
export interface EntryPlace {
  readonly at: number;
  readonly index: number;
}

/**
 * What a device is after an entry about it.
 *
 * @returns null when there is no such device, and the action does not make one; `before` itself when the action is
 * of a later version, or about no device.
 */
export function applyRegistryAction(
  before: RegisteredDevice | null,
  action: RegistryAction | UnknownAction,
  entry: EntryPlace,
): RegisteredDevice | null {
  if (action.action === 'enrol') return enrolled(before, action, entry);
  if (before === null) {
    return action.action === 'credential' ? enrolled(null, action, entry) : null;
  }
  const change = changeOf(before, action, entry);
  return change === null ? before : { ...before, ...change, logIndex: entry.index };
}

/** Whether envelopes of a device are taken at a time, Unix ms. Sections 3 and 4. */
export type DeviceStanding = 'good' | 'suspended' | 'expired' | 'unenrolled';

export function standingOf(device: RegisteredDevice, at: number): DeviceStanding {
  if (device.status === 'unenrolled') return 'unenrolled';
  if (isSuspended(device, at)) return 'suspended';
  return device.credentialExpires <= at ? 'expired' : 'good';
}

export function isSuspended({ status, suspension }: RegisteredDevice, at: number): boolean {
  if (status !== 'suspended') return false;
  const until = suspension?.until ?? null;
  return until === null || at < until;
}

/** Whether two names are of the same boot. */
export function isSameBoot(a: BootName, b: BootName): boolean {
  return a.bootCounter === b.bootCounter && a.bootSeed === b.bootSeed;
}

/** Why a device may not relay for another one. */
export type RelayProblem = 'not-named' | 'expired';

/**
 * Whether a gateway may relay for a device at a time, Unix ms. Section 8.
 *
 * @returns null when it may.
 */
export function relayProblem(
  { delegation }: Pick<RegisteredDevice, 'delegation'>,
  gateway: string,
  at: number,
): RelayProblem | null {
  if (delegation === null || delegation.gateway !== gateway) return 'not-named';
  return delegation.expires !== null && delegation.expires <= at ? 'expired' : null;
}

/** As `keyFor` of key-ring.ts, for a device as the log leaves it. */
export function signingKey(
  device: Pick<RegisteredDevice, 'publicKey' | 'firstBoot' | 'retired'>,
  envelope: { readonly kid: Uint8Array; readonly bootCounter: number },
  at: number,
): Uint8Array | KeyProblem {
  return keyFor(keyRingOf(device), envelope, at);
}

function enrolled(
  before: RegisteredDevice | null,
  action: ActionOf<'enrol' | 'credential'>,
  { at, index }: EntryPlace,
): RegisteredDevice {
  const isAgain = before !== null && before.status !== 'unenrolled';
  return {
    deviceId: action.subject,
    publicKey: Uint8Array.from(action.key),
    firstBoot: before?.firstBoot ?? 0,
    retired: before?.retired ?? [],
    owner: action.owner,
    formerOwners: before?.formerOwners ?? [],
    name: action.name,
    group: action.group,
    cell: action.cell,
    streams: action.streams,
    texts: before?.texts ?? { site: null, notes: null },
    status: isAgain ? before.status : 'active',
    suspension: before?.suspension ?? null,
    quarantined: before?.quarantined ?? [],
    released: before?.released ?? [],
    delegation: before?.delegation ?? null,
    agent: action.agent ?? '',
    enrolledAt: isAgain ? before.enrolledAt : at,
    credentialIssued: action.issued,
    credentialExpires: action.expires,
    logIndex: index,
  };
}

function changeOf(
  before: RegisteredDevice,
  action: Exclude<RegistryAction | UnknownAction, { readonly action: 'enrol' }>,
  entry: EntryPlace,
): Partial<RegisteredDevice> | null {
  switch (action.action) {
    case 'credential':
      return enrolled(before, action, entry);
    case 'rotate':
      return rotated(before, action);
    case 'transfer': {
      const { owner } = before;
      const formerOwners = [owner, ...before.formerOwners.filter((known) => known !== owner)];
      return { owner: action.owner, formerOwners: formerOwners.slice(0, MAX_FORMER_OWNERS) };
    }
    case 'unenrol':
      return { status: 'unenrolled' };
    case 'suspend':
      return before.status === 'unenrolled'
        ? {}
        : { status: 'suspended', suspension: suspensionOf(action, entry) };
    case 'resume':
      return before.status === 'unenrolled' ? {} : { status: 'active' };
    case 'appeal':
      return appealed(before, action, entry);
    case 'decision':
      return decided(before, action, entry);
    case 'quarantine': {
      const boot = bootOf(action.boot);
      return {
        quarantined: [...without(before.quarantined, boot), boot].slice(-MAX_QUARANTINED),
        released: without(before.released, boot),
      };
    }
    case 'release': {
      const boot = bootOf(action.boot);
      return {
        quarantined: without(before.quarantined, boot),
        released: [...without(before.released, boot), boot].slice(-MAX_QUARANTINED),
      };
    }
    case 'delegate': {
      const { gateway, issued, expires } = action;
      return { delegation: { gateway, issued, expires, index: entry.index } };
    }
    case 'rename':
      return { name: action.name };
    case 'site': {
      const { group, cell } = action;
      return { group, cell, texts: { ...before.texts, site: hexOf(action.text) } };
    }
    case 'notes':
      return { texts: { ...before.texts, notes: hexOf(action.text) } };
    case 'streams':
      return { streams: action.streams };
    default:
      return null;
  }
}

function rotated(before: RegisteredDevice, action: ActionOf<'rotate'>): Partial<RegisteredDevice> {
  const { firstBoot, until } = action;
  const replaced: RetiredKey = {
    publicKey: before.publicKey,
    firstBoot: before.firstBoot,
    endBoot: firstBoot,
    until,
  };
  // What is said of a key holds for those before it: none may be used longer than one that followed it.
  const older = before.retired.map((key) => ({ ...key, until: Math.min(key.until, until) }));
  return {
    publicKey: Uint8Array.from(action.key),
    firstBoot,
    retired: [replaced, ...older].slice(0, MAX_RETIRED_KEYS),
    credentialIssued: action.issued,
    credentialExpires: action.expires,
    // Whoever had the key may have named a gateway of their own.
    ...(action.cause === 'compromise' && { delegation: withdrawn(before.delegation) }),
  };
}

function withdrawn(delegation: Delegation | null): Delegation | null {
  return delegation && { ...delegation, gateway: null, expires: null };
}

function suspensionOf(action: ActionOf<'suspend'>, { at, index }: EntryPlace): Suspension {
  return {
    index,
    at,
    kind: action.kind ?? 'operator',
    reason: action.reason,
    evidence: action.evidence ?? [],
    until: action.until ?? null,
    appealUntil: action.appealUntil ?? 0,
    appeal: null,
    decision: null,
  };
}

function appealed(
  { suspension }: RegisteredDevice,
  action: ActionOf<'appeal'>,
  { at, index }: EntryPlace,
): Partial<RegisteredDevice> {
  if (suspension === null || suspension.index !== action.suspension) return {};
  return { suspension: { ...suspension, appeal: { index, at }, decision: null } };
}

function decided(
  { status, suspension }: RegisteredDevice,
  action: ActionOf<'decision'>,
  { at, index }: EntryPlace,
): Partial<RegisteredDevice> {
  if (suspension === null || suspension.appeal?.index !== action.appeal) return {};
  const { outcome, reason } = action;
  const decision = { index, at, outcome, reason };
  const isOver = outcome === 'lifted' && status === 'suspended';
  return { suspension: { ...suspension, decision }, ...(isOver && { status: 'active' }) };
}

function bootOf([bootCounter, seed]: readonly [number, Uint8Array]): BootName {
  return { bootCounter, bootSeed: seedNumberOf(seed) };
}

function without(boots: readonly BootName[], boot: BootName): readonly BootName[] {
  return boots.filter((known) => !isSameBoot(known, boot));
}

function hexOf(hash: Uint8Array | null): string | null {
  return hash === null ? null : toHex(hash);
}
