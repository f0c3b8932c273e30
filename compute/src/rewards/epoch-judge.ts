/**
 * Judges the readings of an epoch, over all devices: the checks of each stream, then duplicates, then buddies.
 * docs/spec/rewards.md sections 4 and 5.
 */

import { toHex } from '@fieldproof/protocol/bytes';
import { sha256 } from '@noble/hashes/sha2.js';
import { groupBy } from '../group-by.ts';
import { judgeBuddies, type SlotLevel } from './buddies.ts';
import { duplicates, isComparable, printBytes, type SpanPrint } from './duplicates.ts';
import type { EpochDevice, EpochTime } from './epoch-input.ts';
import { StreamSlots } from './stream-slots.ts';

export interface JudgedDevice {
  readonly device: EpochDevice;
  readonly streams: readonly StreamSlots[];
  /** Its streams that are compared with others were never judged against any. */
  readonly isLone: boolean;
}

/** A stream of a device, while all are judged. */
interface Candidate {
  readonly device: EpochDevice;
  readonly slots: StreamSlots;
  wasJudged: boolean;
}

export function judgeEpoch(devices: readonly EpochDevice[], time: EpochTime): JudgedDevice[] {
  const judged = devices.map((device) => ({
    device,
    candidates: device.streams.map(
      (stream): Candidate => ({
        device,
        slots: new StreamSlots(stream, device.counts, time),
        wasJudged: false,
      }),
    ),
  }));
  const all = judged.flatMap(({ candidates }) => candidates);
  for (const candidates of groupBy(all, ({ slots }) => slots.stream.metric).values()) {
    markDuplicates(candidates, time);
    markBuddies(candidates, time);
  }
  return judged.map(({ device, candidates }) => {
    const compared = candidates.filter(({ slots }) => slots.stream.rules.buddies !== undefined);
    const isLone = compared.length > 0 && compared.every(({ wasJudged }) => !wasJudged);
    return { device, streams: candidates.map(({ slots }) => slots), isLone };
  });
}

/** All candidates are of one metric, and so of one set of rules. */
function markDuplicates(candidates: readonly Candidate[], { slots: all }: EpochTime): void {
  const rules = candidates[0]!.slots.stream.rules.duplicate;
  if (rules === undefined) return;
  const prints: (SpanPrint & { readonly candidate: Candidate })[] = [];
  for (const candidate of candidates) {
    const { device, enrolled } = candidate.device;
    for (let span = 0; span * rules.slots < all; span += 1) {
      const quanta = candidate.slots.quantaOf(span * rules.slots, (span + 1) * rules.slots);
      if (!isComparable(quanta, rules)) continue;
      const print = toHex(sha256(printBytes(candidate.slots.stream.metric, quanta)));
      prints.push({ device, enrolled, span, print, candidate });
    }
  }
  for (const { span, candidate } of duplicates(prints)) {
    candidate.slots.markBad(span * rules.slots, (span + 1) * rules.slots, 'DUPLICATE');
  }
}

function markBuddies(candidates: readonly Candidate[], { slots }: EpochTime): void {
  const rules = candidates[0]!.slots.stream.rules.buddies;
  if (rules === undefined) return;
  const levels = candidates.map((candidate) => candidate.slots.levels());
  for (let slot = 0; slot < slots; slot += 1) {
    const there: (SlotLevel & { readonly candidate: Candidate })[] = [];
    for (const [at, candidate] of candidates.entries()) {
      const level = levels[at]![slot]!;
      if (Number.isNaN(level)) continue;
      const { device, owner, cell } = candidate.device;
      const { resolution } = candidate.slots.stream;
      there.push({ device, owner, cell, resolution, level, candidate });
    }
    for (const [at, agreement] of judgeBuddies(there, rules).entries()) {
      if (agreement === 'unjudged') continue;
      const { candidate } = there[at]!;
      candidate.wasJudged = true;
      if (agreement === 'differs') candidate.slots.markBad(slot, slot + 1, 'BUDDIES');
    }
  }
}
