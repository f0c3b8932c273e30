/**
 * Frames of outbox segments: `length u32 ‖ crc32c u32 ‖ body`, little-endian, the sum over length and body.
 *
 * A body is an envelope, or a mark that says which seqs of a boot this outbox no longer waits for. Marks
 * are whole sets, so that any later one replaces those before it and their order does not matter. A third kind says
 * what time it was, so that age is known after years without a clock.
 */

import { crc32c, extendCrc32c } from '@fieldproof/protocol/crc32c';
import type { Interval } from '@fieldproof/protocol/interval-set';
import { UP_KINDS, type UpKind, upKindFromNumber } from '@fieldproof/protocol/topics';
import type { Boot } from './boot.ts';

export const FRAME_HEADER_BYTES = 8;
/** An envelope is at most 60,000 bytes (docs/spec/envelope.md 1.1); marks are cut to fit. */
export const MAX_BODY_BYTES = 65_536;

const ENVELOPE = 1;
const SETTLED = 2;
const DROPPED = 3;
const CLOCK = 4;
/** Type, boot counter and seed. */
const BOOT_BYTES = 9;
const ENVELOPE_HEADER_BYTES = BOOT_BYTES + 1 + 8;
const MAX_MARK_RANGES = Math.floor((MAX_BODY_BYTES - BOOT_BYTES) / 16);

export interface EnvelopeRecord {
  readonly boot: Boot;
  readonly seq: number;
  readonly kind: UpKind;
  /** The signed bytes, as they go on the wire. */
  readonly bytes: Uint8Array;
}

export type OutboxBody =
  | ({ readonly type: 'envelope' } & EnvelopeRecord)
  | {
      /** `settled`: recorded or refused. `dropped`: given up here, to be declared until it is settled. */
      readonly type: 'settled' | 'dropped';
      readonly boot: Boot;
      readonly ranges: readonly Interval[];
    }
  /** All that lies before this was sealed before this Unix ms, by a clock that was believed. */
  | { readonly type: 'clock'; readonly atMs: number };

/** A frame that holds an envelope. */
export function encodeEnvelopeFrame(record: EnvelopeRecord): Uint8Array {
  const body = new Uint8Array(ENVELOPE_HEADER_BYTES + record.bytes.length);
  const view = new DataView(body.buffer);
  writeBoot(body, ENVELOPE, record.boot);
  body[BOOT_BYTES] = UP_KINDS[record.kind];
  view.setBigUint64(BOOT_BYTES + 1, BigInt(record.seq), true);
  body.set(record.bytes, ENVELOPE_HEADER_BYTES);
  return frameOf(body);
}

/** Frames that hold a mark; several when it has very many ranges. */
export function encodeMarkFrames(
  type: 'settled' | 'dropped',
  boot: Boot,
  ranges: readonly Interval[],
): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < ranges.length; at += MAX_MARK_RANGES) {
    const part = ranges.slice(at, at + MAX_MARK_RANGES);
    const body = new Uint8Array(BOOT_BYTES + part.length * 16);
    const view = new DataView(body.buffer);
    writeBoot(body, type === 'settled' ? SETTLED : DROPPED, boot);
    part.forEach(([from, to], index) => {
      view.setBigUint64(BOOT_BYTES + index * 16, BigInt(from), true);
      view.setBigUint64(BOOT_BYTES + index * 16 + 8, BigInt(to), true);
    });
    frames.push(frameOf(body));
  }
  return frames;
}

/** A frame that says what time it is. */
export function encodeClockFrame(atMs: number): Uint8Array {
  const body = new Uint8Array(BOOT_BYTES);
  body[0] = CLOCK;
  viewOf(body).setBigUint64(1, BigInt(Math.max(0, Math.floor(atMs))), true);
  return frameOf(body);
}

/**
 * The length of the body whose header this is, or undefined when no frame has such a header.
 *
 * @param header - at least 8 bytes.
 */
export function bodyLength(header: Uint8Array): number | undefined {
  const length = viewOf(header).getUint32(0, true);
  return length >= BOOT_BYTES && length <= MAX_BODY_BYTES ? length : undefined;
}

/**
 * The body of a whole frame, or undefined when its sum or its shape is wrong. The envelope's bytes are a
 * view on `frame`.
 */
export function decodeFrame(frame: Uint8Array): OutboxBody | undefined {
  const view = viewOf(frame);
  const length = view.getUint32(0, true);
  if (length !== frame.length - FRAME_HEADER_BYTES || length < BOOT_BYTES) return undefined;
  const body = frame.subarray(FRAME_HEADER_BYTES);
  if (extendCrc32c(crc32c(frame, 0, 4), body) !== view.getUint32(4, true)) return undefined;
  const at = FRAME_HEADER_BYTES;
  const type = view.getUint8(at);
  if (type === CLOCK && length === BOOT_BYTES) {
    const atMs = Number(view.getBigUint64(at + 1, true));
    return Number.isSafeInteger(atMs) ? { type: 'clock', atMs } : undefined;
  }
  const boot = { counter: view.getUint32(at + 1, true), seed: body.slice(5, BOOT_BYTES) };
  if (type === ENVELOPE && length > ENVELOPE_HEADER_BYTES) {
    const kind = upKindFromNumber(view.getUint8(at + BOOT_BYTES));
    if (kind === undefined) return undefined;
    const seq = Number(view.getBigUint64(at + BOOT_BYTES + 1, true));
    if (!Number.isSafeInteger(seq)) return undefined;
    return { type: 'envelope', boot, seq, kind, bytes: body.subarray(ENVELOPE_HEADER_BYTES) };
  }
  if ((type !== SETTLED && type !== DROPPED) || (length - BOOT_BYTES) % 16 !== 0) return undefined;
  const ranges: Interval[] = [];
  for (let offset = at + BOOT_BYTES; offset < frame.length; offset += 16) {
    const from = Number(view.getBigUint64(offset, true));
    const to = Number(view.getBigUint64(offset + 8, true));
    if (from > to || !Number.isSafeInteger(to)) return undefined;
    ranges.push([from, to]);
  }
  return { type: type === SETTLED ? 'settled' : 'dropped', boot, ranges };
}

function writeBoot(body: Uint8Array, type: number, boot: Boot): void {
  body[0] = type;
  viewOf(body).setUint32(1, boot.counter, true);
  body.set(boot.seed, 5);
}

function frameOf(body: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + body.length);
  const view = viewOf(frame);
  view.setUint32(0, body.length, true);
  view.setUint32(4, extendCrc32c(crc32c(frame, 0, 4), body), true);
  frame.set(body, FRAME_HEADER_BYTES);
  return frame;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
