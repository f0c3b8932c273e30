/**
 * Which seqs are settled by a permanent reject (evidence-log.md section 2.7): small records in segments of their
 * own, in the folder `rejects`, durable before the reject is sent. The evidence log does not hold them, because what
 * was refused is no evidence.
 */

import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import type { Frame } from '@fieldproof/protocol/frame';
import type { EnvelopeKey } from './batch-index.ts';
import { corrupt } from './segment-file.ts';

/** A reject of an envelope whose signature verified. */
export interface RejectRecord extends EnvelopeKey {
  readonly code: string;
  /** Size of the evidence log at the time: entries from there on came later. */
  readonly logSize: number;
}

/** The record as the entry of a frame. */
export function encodeReject(record: RejectRecord): Uint8Array {
  const { device, bootCounter, bootSeed, seq, code, logSize } = record;
  return encode([device, bootCounter, bootSeed, seq, code, logSize]);
}

/**
 * Reads a record from its frame.
 *
 * @throws {BrokerError} ERR_LOG_CORRUPT when the frame, whose checksum holds, is of something else.
 */
export function decodeReject({ index, entry }: Frame): RejectRecord {
  const [device, bootCounter, bootSeed, seq, code, logSize] = decodeItems(index, entry);
  if (
    device instanceof Uint8Array &&
    bootSeed instanceof Uint8Array &&
    typeof bootCounter === 'number' &&
    typeof seq === 'number' &&
    typeof code === 'string' &&
    typeof logSize === 'number'
  ) {
    return { device: device.slice(), bootCounter, bootSeed: bootSeed.slice(), seq, code, logSize };
  }
  throw corrupt(`reject record ${index}`, 'expected six items');
}

function decodeItems(index: number, entry: Uint8Array): readonly CborValue[] {
  try {
    const value = decode(entry);
    return Array.isArray(value) ? value : [];
  } catch (cause) {
    throw corrupt(`reject record ${index}`, 'expected deterministic CBOR', cause);
  }
}
