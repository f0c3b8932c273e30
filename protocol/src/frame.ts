/**
 * Frames, the unit of segments and of the tail (evidence-log.md section 2.2):
 *
 *     length u32 | crc32c u32 | index u64 | entryLength u32 | entry | body      big-endian
 *
 * `length` counts the bytes after the crc, the crc covers them. Reading tells bytes that end too early (torn,
 * or still on their way) from bytes that can never become a frame (corrupt). What an entry means is in
 * `log-entries.ts`.
 */

import { crc32c } from './crc32c.ts';
import { ProtocolError } from './errors.ts';

/** Bytes before the ones that `length` counts. */
const PREFIX_BYTES = 8;
/** Bytes of a frame with an empty entry and body. */
export const FRAME_OVERHEAD_BYTES = 20;
/** The largest `length`. Protects a reader from waiting for 4 GiB because of one flipped bit. */
export const MAX_FRAME_LENGTH = 131_072;

/** One log entry with its body, which is empty for all but `batch` entries. */
export interface Frame {
  readonly index: number;
  readonly entry: Uint8Array;
  readonly body: Uint8Array;
}

/** What {@link readFrame} found at an offset. `needed` is how many bytes from there it takes to go on. */
export type FrameResult =
  | { readonly kind: 'frame'; readonly frame: Frame; readonly end: number }
  | { readonly kind: 'torn'; readonly needed: number }
  | { readonly kind: 'corrupt'; readonly reason: string };

/** Bytes that a frame with such an entry and body takes. */
export function frameSize(entryLength: number, bodyLength: number): number {
  return FRAME_OVERHEAD_BYTES + entryLength + bodyLength;
}

/**
 * One frame in a new array.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when the index is no safe integer or the frame would be too long.
 */
export function encodeFrame(frame: Frame): Uint8Array {
  const bytes = new Uint8Array(frameSize(frame.entry.length, frame.body.length));
  writeFrame(bytes, 0, frame);
  return bytes;
}

/**
 * Writes a frame at an offset of a larger buffer.
 *
 * @returns the offset after it.
 * @throws {ProtocolError} ERR_ARGUMENT when the index is no safe integer, the frame would be too long, or the
 *   target ends before it.
 */
export function writeFrame(target: Uint8Array, offset: number, frame: Frame): number {
  const { index, entry, body } = frame;
  const end = offset + frameSize(entry.length, body.length);
  const length = end - offset - PREFIX_BYTES;
  if (!Number.isSafeInteger(index) || index < 0) {
    throw new ProtocolError('ERR_ARGUMENT', `frame index: expected a safe integer, got ${index}`);
  }
  if (length > MAX_FRAME_LENGTH || end > target.length) {
    const room = Math.min(MAX_FRAME_LENGTH, target.length - offset - PREFIX_BYTES);
    throw new ProtocolError('ERR_ARGUMENT', `frame: expected at most ${room} bytes, got ${length}`);
  }
  putUint32(target, offset, length);
  putUint32(target, offset + 8, Math.floor(index / 2 ** 32));
  putUint32(target, offset + 12, index % 2 ** 32);
  putUint32(target, offset + 16, entry.length);
  target.set(entry, offset + FRAME_OVERHEAD_BYTES);
  target.set(body, offset + FRAME_OVERHEAD_BYTES + entry.length);
  putUint32(target, offset + 4, crc32c(target, offset + PREFIX_BYTES, end));
  return end;
}

/**
 * Reads the frame at an offset, as views of the bytes.
 *
 * @returns `torn` when the bytes end before the frame does, so that more of them could complete it; `corrupt`
 *   when no continuation could: length out of range, crc wrong, entry longer than the frame.
 */
export function readFrame(bytes: Uint8Array, offset: number): FrameResult {
  const left = bytes.length - offset;
  if (left < 4) return { kind: 'torn', needed: FRAME_OVERHEAD_BYTES };
  const length = getUint32(bytes, offset);
  if (length < FRAME_OVERHEAD_BYTES - PREFIX_BYTES || length > MAX_FRAME_LENGTH) {
    return corrupt(`length: expected 12 to ${MAX_FRAME_LENGTH}, got ${length}`);
  }
  const end = offset + PREFIX_BYTES + length;
  if (end > bytes.length) return { kind: 'torn', needed: PREFIX_BYTES + length };

  const stated = getUint32(bytes, offset + 4);
  const actual = crc32c(bytes, offset + PREFIX_BYTES, end);
  if (stated !== actual) return corrupt(`crc32c: expected ${hex(stated)}, got ${hex(actual)}`);
  const entryLength = getUint32(bytes, offset + 16);
  if (entryLength > length - 12) {
    return corrupt(`entryLength: expected at most ${length - 12}, got ${entryLength}`);
  }
  const index = getUint32(bytes, offset + 8) * 2 ** 32 + getUint32(bytes, offset + 12);
  if (!Number.isSafeInteger(index)) return corrupt('index: expected a safe integer');
  const bodyAt = offset + FRAME_OVERHEAD_BYTES + entryLength;
  const entry = bytes.subarray(offset + FRAME_OVERHEAD_BYTES, bodyAt);
  return { kind: 'frame', frame: { index, entry, body: bytes.subarray(bodyAt, end) }, end };
}

/**
 * Exactly one frame.
 *
 * @throws {ProtocolError} ERR_FRAME_TORN or ERR_FRAME_CORRUPT, the latter also for bytes after it.
 */
export function decodeFrame(bytes: Uint8Array): Frame {
  const result = readFrame(bytes, 0);
  if (result.kind === 'torn') throw tornError(bytes.length, result.needed);
  if (result.kind === 'corrupt') throw corruptError(result.reason);
  if (result.end !== bytes.length) {
    throw corruptError(`expected one frame of ${result.end} bytes, got ${bytes.length} bytes`);
  }
  return result.frame;
}

/**
 * Takes a stream of frames apart, whatever the chunks are cut like, and checks that indexes are contiguous.
 *
 *     reader.push(chunk);
 *     for (let frame = reader.next(); frame !== undefined; frame = reader.next()) …
 *
 * Frames are views of the chunks; a chunk that was pushed must not be written to afterwards.
 */
export class FrameReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #chunks: Uint8Array[] = [];
  #waiting = 0;
  #needed = 0;
  #expected: number | undefined;

  /** @param firstIndex - the index that the first frame must have; without it any. */
  constructor(firstIndex?: number) {
    this.#expected = firstIndex;
  }

  /** Bytes that were pushed and not yet given out as frames. */
  get pendingBytes(): number {
    return this.#bytes.length - this.#at + this.#waiting;
  }

  /** The index that the next frame must have; undefined before the first when none was asked for. */
  get nextIndex(): number | undefined {
    return this.#expected;
  }

  /** Adds bytes that follow the ones before. */
  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#waiting += chunk.length;
  }

  /**
   * The next frame, or undefined until more bytes are pushed.
   *
   * @throws {ProtocolError} ERR_FRAME_CORRUPT; it keeps throwing, because nothing after it can be trusted.
   */
  next(): Frame | undefined {
    if (this.pendingBytes < this.#needed) return undefined;
    let result = readFrame(this.#bytes, this.#at);
    if (result.kind === 'torn' && this.#waiting > 0) {
      this.#join();
      result = readFrame(this.#bytes, this.#at);
    }
    if (result.kind === 'torn') {
      // Joining once per frame, not once per chunk, keeps many small chunks from costing n².
      this.#needed = this.pendingBytes < 4 ? 4 : result.needed;
      return undefined;
    }
    if (result.kind === 'corrupt') throw corruptError(result.reason);
    const { frame, end } = result;
    if (this.#expected !== undefined && frame.index !== this.#expected) {
      throw corruptError(`index: expected ${this.#expected}, got ${frame.index}`);
    }
    this.#expected = frame.index + 1;
    this.#needed = 0;
    this.#at = end;
    return frame;
  }

  /**
   * States that no more bytes will come.
   *
   * @throws {ProtocolError} ERR_FRAME_TORN when the stream ended inside a frame.
   */
  end(): void {
    if (this.pendingBytes > 0) throw tornError(this.pendingBytes, Math.max(this.#needed, 1));
  }

  #join(): void {
    const rest = this.#bytes.subarray(this.#at);
    const [only] = this.#chunks;
    if (rest.length === 0 && this.#chunks.length === 1) {
      this.#bytes = only!;
    } else {
      const joined = new Uint8Array(rest.length + this.#waiting);
      joined.set(rest, 0);
      let at = rest.length;
      for (const chunk of this.#chunks) {
        joined.set(chunk, at);
        at += chunk.length;
      }
      this.#bytes = joined;
    }
    this.#at = 0;
    this.#chunks = [];
    this.#waiting = 0;
  }
}

function putUint32(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value >>> 24;
  target[offset + 1] = value >>> 16;
  target[offset + 2] = value >>> 8;
  target[offset + 3] = value;
}

function getUint32(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset]! << 24) |
      (bytes[offset + 1]! << 16) |
      (bytes[offset + 2]! << 8) |
      bytes[offset + 3]!) >>>
    0
  );
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}

function corrupt(reason: string): FrameResult {
  return { kind: 'corrupt', reason };
}

function corruptError(reason: string): ProtocolError {
  return new ProtocolError('ERR_FRAME_CORRUPT', `frame: ${reason}`);
}

function tornError(got: number, needed: number): ProtocolError {
  return new ProtocolError('ERR_FRAME_TORN', `frame: expected ${needed} bytes, got ${got}`);
}
