/**
 * What the registry says of a device over time: where it was, whose, what was wanted of it, and when it was barred.
 * docs/spec/rewards.md 2.3 to 2.5, 7.1. A fold over the `registry` entries of the evidence log, in their order.
 */

import type { RegistryAction, UnknownAction } from '@fieldproof/protocol/registry-actions';
import {
  applyRegistryAction,
  type EntryPlace,
  type RegisteredDevice,
  type Stream,
} from '@fieldproof/protocol/registry-device';
import type { EpochTime } from './epoch-input.ts';

/** What matters of a device from an entry on. */
interface Standing {
  /** Unix ms, of the entry. */
  readonly at: number;
  readonly isEnrolled: boolean;
  /** did:key. */
  readonly owner: string;
  readonly cell: string;
  readonly streams: readonly Stream[];
}

/** A time in which it earns nothing. */
interface Bar {
  readonly suspension: number;
  readonly fromMs: number;
  toMs: number;
  /** A decision has found that it was wrong: it never was. */
  isLifted: boolean;
}

/** A device in one epoch. */
export interface DeviceFacts {
  readonly owner: string;
  /** H3 index, or empty. */
  readonly cell: string;
  /** Empty: the policy's metrics are wanted. */
  readonly streams: readonly Stream[];
  /** Index of the first `enrol` entry. */
  readonly enrolled: number;
  readonly movedEpochsAgo: number | undefined;
  /** By slot: 1 where it counts. */
  readonly counts: Uint8Array;
}

export class DeviceHistory {
  #device: RegisteredDevice | null = null;
  #enrolled: number | undefined;
  readonly #standings: Standing[] = [];
  readonly #bars: Bar[] = [];
  /** Unix ms of each change from one place to another. */
  readonly #moves: number[] = [];

  /** Takes the next entry about this device. */
  take(action: RegistryAction | UnknownAction, entry: EntryPlace): void {
    const before = this.#device;
    const device = applyRegistryAction(before, action, entry);
    if (device === null || device === before) return;
    this.#device = device;
    this.#enrolled ??= entry.index;
    if (before !== null && before.cell !== '' && before.cell !== device.cell) {
      this.#moves.push(entry.at);
    }
    this.#bar(before, device, entry);
    const last = this.#standings.at(-1);
    const isEnrolled = device.status !== 'unenrolled';
    const { owner, cell, streams } = device;
    const isSame =
      last !== undefined &&
      last.isEnrolled === isEnrolled &&
      last.owner === owner &&
      last.cell === cell &&
      last.streams === streams;
    if (!isSame) this.#standings.push({ at: entry.at, isEnrolled, owner, cell, streams });
  }

  /** @returns undefined when it is not enrolled at any instant of the epoch. */
  facts({ startMs, slotMs, slots }: EpochTime): DeviceFacts | undefined {
    const endMs = startMs + slotMs * slots;
    const [enrolled, standings] = [this.#enrolled, this.#standings];
    if (enrolled === undefined || !this.#isEnrolledWithin(startMs, endMs)) return undefined;
    // Of a newcomer what it came with.
    const first = standings.find(({ isEnrolled }) => isEnrolled);
    const { owner, cell, streams } = this.#standingAt(startMs - 1) ?? first!;
    const counts = new Uint8Array(slots).map((_, slot) => {
      const atMs = startMs + slot * slotMs;
      return this.#standingAt(atMs)?.isEnrolled === true && !this.#isBarred(atMs) ? 1 : 0;
    });
    const movedMs = Math.max(...this.#moves.filter((atMs) => atMs < startMs));
    const lengthMs = endMs - startMs;
    const movedEpochsAgo = Number.isFinite(movedMs)
      ? Math.ceil((startMs - movedMs) / lengthMs) - 1
      : undefined;
    return { owner, cell, streams, enrolled, movedEpochsAgo, counts };
  }

  #bar(before: RegisteredDevice | null, device: RegisteredDevice, { at }: EntryPlace): void {
    const { suspension, status } = device;
    const open = this.#bars.at(-1);
    const isNew = suspension !== null && suspension.index !== before?.suspension?.index;
    if (open !== undefined && (isNew || status !== 'suspended'))
      open.toMs = Math.min(open.toMs, at);
    if (isNew) {
      const toMs = suspension.until ?? Number.POSITIVE_INFINITY;
      this.#bars.push({ suspension: suspension.index, fromMs: at, toMs, isLifted: false });
    }
    if (suspension?.decision?.outcome !== 'lifted') return;
    for (const bar of this.#bars) if (bar.suspension === suspension.index) bar.isLifted = true;
  }

  #isBarred(atMs: number): boolean {
    return this.#bars.some(
      ({ fromMs, toMs, isLifted }) => !isLifted && fromMs <= atMs && atMs < toMs,
    );
  }

  /** By the last entry, in the order of the log, that is not later. */
  #standingAt(atMs: number): Standing | undefined {
    return this.#standings.findLast(({ at }) => at <= atMs);
  }

  #isEnrolledWithin(startMs: number, endMs: number): boolean {
    if (this.#standingAt(startMs)?.isEnrolled) return true;
    return this.#standings.some(({ at, isEnrolled }) => isEnrolled && at >= startMs && at < endMs);
  }
}
