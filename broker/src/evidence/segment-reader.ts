/**
 * Reads a segment from an offset on and tells how it ends: at a frame, torn, or corrupt. evidence-log.md
 * section 2.3.
 */

import { ProtocolError } from '@fieldproof/protocol/errors';
import { type Frame, FrameReader, frameSize, readFrame } from '@fieldproof/protocol/frame';
import { decodeBatchEntry, isBatchEntry } from '@fieldproof/protocol/log-entries';
import type { LogFile } from './file-layer.ts';

const BLOCK_BYTES = 1 << 20;

export interface ScanOptions {
  /** Where the first frame begins. */
  readonly offset: number;
  /** The index that it must have. */
  readonly firstIndex: number;
  /** Called for every frame, with the offset at which it begins. */
  readonly onFrame: (frame: Frame, offset: number) => void;
  /** Called between blocks; may take its time. */
  readonly afterBlock?: () => Promise<void>;
}

/** `end` is the offset behind the last good frame. */
export interface ScanResult {
  readonly end: number;
  readonly nextIndex: number;
  /** Bytes of the file behind `end`. */
  readonly left: number;
  /** Why reading stopped at `end`, when bytes are left. */
  readonly reason: string;
}

/** Reads frames until the file ends or something is no frame. */
export async function scanSegment(file: LogFile, options: ScanOptions): Promise<ScanResult> {
  const reader = new FrameReader(options.firstIndex);
  const size = await file.size();
  let read = options.offset;
  let end = options.offset;
  let reason = 'the last frame is incomplete';
  scan: while (read < size) {
    const block = await file.read(read, Math.min(BLOCK_BYTES, size - read));
    if (block.length === 0) break;
    read += block.length;
    reader.push(block);
    for (;;) {
      const frame = nextFrame(reader);
      if (frame === undefined) break;
      if (typeof frame === 'string') {
        reason = frame;
        break scan;
      }
      options.onFrame(frame, end);
      end += frameSize(frame.entry.length, frame.body.length);
    }
    await options.afterBlock?.();
  }
  return { end, nextIndex: reader.nextIndex ?? options.firstIndex, left: size - end, reason };
}

/**
 * Whether any frame of the log that belongs behind `offset` is still to be found there. If so, what is at `offset`
 * is damage and not the end of an interrupted write.
 */
export async function hasFrameBehind(
  file: LogFile,
  at: { readonly offset: number; readonly nextIndex: number },
): Promise<boolean> {
  const bytes = await file.read(at.offset, (await file.size()) - at.offset);
  // A frame takes at least 20 bytes, so an index further on cannot belong to what follows here.
  const lastIndex = at.nextIndex + bytes.length / frameSize(0, 0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  // What lies inside the frame that broke off is its sender's choice, and may look like frames.
  const begin = sealedEnd(bytes, at.nextIndex) ?? 1;
  for (let offset = begin; offset + frameSize(0, 0) <= bytes.length; offset += 1) {
    // Cheap comparisons first: nearly every offset fails here.
    const high = view.getUint32(offset + 8);
    if (high !== Math.floor(at.nextIndex / 2 ** 32)) continue;
    const index = high * 2 ** 32 + view.getUint32(offset + 12);
    if (index < at.nextIndex || index > lastIndex) continue;
    if (readFrame(bytes, offset).kind === 'frame') return true;
  }
  return false;
}

/**
 * Where the frame at the beginning of `bytes` ends, or would end, when its fixed fields and its entry, which only the
 * recorder writes, agree about that; undefined when they do not, or are not all there.
 */
function sealedEnd(bytes: Uint8Array, index: number): number | undefined {
  const head = frameSize(0, 0);
  if (bytes.length < head) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = 8 + view.getUint32(0);
  const entryLength = view.getUint32(16);
  const stated = view.getUint32(8) * 2 ** 32 + view.getUint32(12);
  const bodyLength = end - head - entryLength;
  if (stated !== index || bodyLength < 0) return undefined;
  if (bodyLength === 0) return end;
  const entry = bytes.subarray(head, head + entryLength);
  try {
    return isBatchEntry(entry) && decodeBatchEntry(entry).size === bodyLength ? end : undefined;
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

/** The next frame, undefined when more bytes are needed, or why there is none. */
function nextFrame(reader: FrameReader): Frame | string | undefined {
  try {
    return reader.next();
  } catch (error) {
    if (error instanceof ProtocolError) return error.message;
    throw error;
  }
}
