/** The keys of a device and the boots that each of them signs. docs/spec/registry.md section 3.2. Pure. */

import { equalBytes } from './bytes.ts';
import { kidOf } from './ed25519.ts';

/** A key that was replaced. */
export interface RetiredKey {
  readonly publicKey: Uint8Array;
  /** Boots from `firstBoot` to below `endBoot` are signed with it. */
  readonly firstBoot: number;
  readonly endBoot: number;
  /** Envelopes under it are taken that are received before this, Unix ms. */
  readonly until: number;
}

/** What a device with replaced keys has beside its current one. */
export interface KeyHistory {
  /** The current key signs boots from this one on. */
  readonly firstBoot: number;
  /** Each with its kid. Newest first. */
  readonly retired: readonly (RetiredKey & { readonly kid: Uint8Array })[];
}

/** The keys of a device, with their kids; `history` is null while it has had one key only. */
export interface KeyRing {
  readonly publicKey: Uint8Array;
  readonly kid: Uint8Array;
  readonly history: KeyHistory | null;
}

/** Why a key may not sign a boot: it is not the device's, or it is and the boot belongs to another one. */
export type KeyProblem = 'unknown' | 'retired';

export function keyRingOf(device: {
  readonly publicKey: Uint8Array;
  readonly firstBoot: number;
  readonly retired: readonly RetiredKey[];
}): KeyRing {
  const { publicKey, firstBoot } = device;
  const retired = device.retired.map((key) => ({ ...key, kid: kidOf(key.publicKey) }));
  const history = retired.length === 0 ? null : { firstBoot, retired };
  return { publicKey, kid: kidOf(publicKey), history };
}

/**
 * The key under which an envelope must verify.
 *
 * @param envelope - what it says of itself: `kid`, 8 bytes, and its boot counter.
 * @param at - when it was received, Unix ms.
 */
export function keyFor(
  { publicKey, kid, history }: KeyRing,
  envelope: { readonly kid: Uint8Array; readonly bootCounter: number },
  at: number,
): Uint8Array | KeyProblem {
  const isCurrent = equalBytes(envelope.kid, kid);
  if (history === null) return isCurrent ? publicKey : 'unknown';
  const { bootCounter } = envelope;
  if (isCurrent) return bootCounter >= history.firstBoot ? publicKey : 'retired';
  const named = history.retired.filter((key) => equalBytes(envelope.kid, key.kid));
  if (named.length === 0) return 'unknown';
  const fitting = named.find(
    ({ firstBoot, endBoot, until }) =>
      bootCounter >= firstBoot && bootCounter < endBoot && at < until,
  );
  return fitting?.publicKey ?? 'retired';
}
