/**
 * What recorded births and gap messages say about settlement (messages.md sections 1 and 3), read from the bodies in
 * the log, so that a start reads the same as the live broker did.
 *
 * The signature was verified before the envelope was recorded and is not looked at again.
 */

import { type CborValue, decode, Tagged } from '@fieldproof/protocol/cbor';
import { ProtocolError } from '@fieldproof/protocol/errors';
import { type BootId, seedNumber } from './settlement.ts';

const COSE_SIGN1 = 18;
const MAX_DEPTH = 16;
const MAX_ITEMS = 40_000;

/** A seq of some boot that a birth names in `rejectsSeen`. */
export interface SeenReject extends BootId {
  readonly seq: number;
}

/** Seqs, both ends included, that a gap message gives up. */
export interface DeclaredGap extends BootId {
  readonly from: number;
  readonly to: number;
}

/** `rejectsSeen` of a birth's envelope; items that have another shape are left out. */
export function readRejectsSeen(envelope: Uint8Array): SeenReject[] {
  const seen: SeenReject[] = [];
  for (const item of listIn(envelope, 'rejectsSeen')) {
    const boot = bootIn(item);
    const seq = boot && (item as CborValue[])[2];
    if (boot && isSeq(seq)) seen.push({ ...boot, seq });
  }
  return seen;
}

/** `gaps` of a gap message's envelope; items that have another shape are left out. */
export function readGaps(envelope: Uint8Array): DeclaredGap[] {
  const gaps: DeclaredGap[] = [];
  for (const item of listIn(envelope, 'gaps')) {
    const boot = bootIn(item);
    const [, , from, to] = boot ? (item as CborValue[]) : [];
    if (boot && isSeq(from) && isSeq(to) && from <= to) gaps.push({ ...boot, from, to });
  }
  return gaps;
}

/** The array under a key of the payload map; empty when the body was erased or is of another shape. */
function listIn(envelope: Uint8Array, key: string): readonly CborValue[] {
  const message = decodeOrUndefined(envelope);
  if (!(message instanceof Tagged) || message.tag !== COSE_SIGN1) return [];
  const payload = Array.isArray(message.value) ? (message.value as CborValue[])[2] : undefined;
  if (!(payload instanceof Uint8Array)) return [];
  const map = decodeOrUndefined(payload);
  const list = map instanceof Map ? map.get(key) : undefined;
  return Array.isArray(list) ? list : [];
}

function decodeOrUndefined(bytes: Uint8Array): CborValue {
  try {
    return decode(bytes, { maxDepth: MAX_DEPTH, maxItems: MAX_ITEMS });
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

function bootIn(item: CborValue): BootId | undefined {
  if (!Array.isArray(item)) return undefined;
  const [counter, seed] = item as CborValue[];
  if (!isSeq(counter) || counter > 0xffff_ffff) return undefined;
  return seed instanceof Uint8Array && seed.length === 4
    ? { counter, seed: seedNumber(seed) }
    : undefined;
}

function isSeq(value: CborValue): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
