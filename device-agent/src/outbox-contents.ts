/**
 * Which envelopes lie in which segment, and what follows from it: what waits in one, whether it may be deleted, which is to
 * be given up first, and whether it is too old. Pure rules on the books of the outbox.
 */

import { join } from 'node:path';
import { IntervalSet } from '@fieldproof/protocol/interval-set';
import { type BootRanges, countOf, type OutboxLedger, pendingOf } from './outbox-ledger.ts';

const SEGMENT_NAME = /^(\d{10})\.seg$/;

export interface Segment {
  readonly index: number;
  readonly path: string;
  /** Good bytes: what lies behind them is not read. */
  length: number;
  /** Seqs of its envelopes by boot key. */
  readonly members: Map<string, IntervalSet>;
  /** Damage that was found in it: where it begins → where the next whole frame does. */
  readonly damage: Map<number, number>;
  /** Monotonic and believed Unix ms at which it had all of its envelopes, as far as known. */
  closedAtMs?: number;
  closedAtUnixMs?: number;
}

/** A segment that may be given up, and the envelopes that still wait in it. */
export interface OutboxVictim {
  readonly segment: Segment;
  readonly lost: readonly BootRanges[];
  readonly envelopes: number;
}

/** The number of a segment's file, or undefined for another file. */
export function segmentIndexOf(name: string): number | undefined {
  const digits = SEGMENT_NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** One without envelopes, whose file may not be there yet. */
export function newSegment(folder: string, index: number): Segment {
  const path = join(folder, `${String(index).padStart(10, '0')}.seg`);
  return { index, path, length: 0, members: new Map(), damage: new Map() };
}

/** Notes that an envelope lies in a segment. */
export function addMember(segment: Segment, key: string, seq: number): void {
  let members = segment.members.get(key);
  if (members === undefined) {
    members = new IntervalSet();
    segment.members.set(key, members);
  }
  members.add(seq);
}

/** What waits in a segment. */
export function pendingIn(segment: Segment, ledger: OutboxLedger): BootRanges[] {
  const found: BootRanges[] = [];
  for (const entry of ledger.boots()) {
    const members = segment.members.get(entry.key);
    const ranges = members === undefined ? [] : pendingOf(entry, members);
    if (ranges.length > 0) found.push({ boot: entry.boot, ranges });
  }
  return found;
}

/** Whether the network has proved everything in a segment, so that nothing in it was given up. */
export function isProved(segment: Segment, ledger: OutboxLedger): boolean {
  return ledger.boots().every(({ key, settled }) => {
    const ranges = segment.members.get(key)?.ranges() ?? [];
    return ranges.every(([from, to]) => settled.hasRange(from, to));
  });
}

/** The oldest segment in which envelopes wait, other than the last one, which is written to. */
export function oldestWaiting(
  segments: readonly Segment[],
  ledger: OutboxLedger,
): OutboxVictim | undefined {
  for (const segment of segments.slice(0, -1)) {
    const lost = pendingIn(segment, ledger);
    if (lost.length === 0) continue;
    const envelopes = lost.reduce((sum, { ranges }) => sum + countOf(ranges), 0);
    return { segment, lost, envelopes };
  }
  return undefined;
}

/**
 * How long ago a segment surely had all of its envelopes, in ms.
 *
 * @param now - the monotonic time, and the Unix time by a clock that is believed, or null.
 */
export function ageOf(
  { closedAtMs, closedAtUnixMs }: Segment,
  now: { readonly monotonicMs: number; readonly unixMs: number | null },
): number {
  const ran = now.monotonicMs - (closedAtMs ?? Number.POSITIVE_INFINITY);
  const old = now.unixMs === null ? 0 : now.unixMs - (closedAtUnixMs ?? Number.POSITIVE_INFINITY);
  return Math.max(ran, old);
}
