/** Reading of one segment file: a magic line, then frames. Damage is skipped and told, never repaired. */

import type { FileHandle } from 'node:fs/promises';
import { bodyLength, decodeFrame, FRAME_HEADER_BYTES, type OutboxBody } from './outbox-frame.ts';

/** First bytes of a segment: name and version of the format. */
export const SEGMENT_MAGIC = new TextEncoder().encode('fieldproof outbox 1\n');

export interface SegmentFrame {
  readonly offset: number;
  readonly end: number;
  readonly body: OutboxBody;
}

export type ScanItem =
  /** The magic line is whole. */
  | { readonly type: 'start'; readonly end: number }
  | ({ readonly type: 'frame' } & SegmentFrame)
  /** Bytes that are no frame. Where `end` is the end of the file, this may be a torn last write. */
  | { readonly type: 'damage'; readonly offset: number; readonly end: number };

/** Goes through a segment from its first frame to its end. */
export async function* scanSegment(file: FileHandle): AsyncGenerator<ScanItem> {
  const { size } = await file.stat();
  const magic = await readBytes(file, 0, SEGMENT_MAGIC.length);
  if (Buffer.compare(magic, SEGMENT_MAGIC) !== 0) {
    if (size > 0) yield { type: 'damage', offset: 0, end: size };
    return;
  }
  let offset = SEGMENT_MAGIC.length;
  yield { type: 'start', end: offset };
  while (offset < size) {
    const read = await readFrame(file, offset);
    if (read === undefined) {
      yield { type: 'damage', offset, end: size };
      return;
    }
    if (read.body === undefined) {
      // The sum is wrong. If a good frame follows where this one should end, only this one is lost.
      const next = read.end < size ? await readFrame(file, read.end) : undefined;
      if (next?.body === undefined) {
        yield { type: 'damage', offset, end: size };
        return;
      }
      yield { type: 'damage', offset, end: read.end };
    } else {
      yield { type: 'frame', offset, end: read.end, body: read.body };
    }
    offset = read.end;
  }
}

/**
 * The frame at an offset: `body` undefined when its sum is wrong; undefined when no whole frame is there.
 */
export async function readFrame(
  file: FileHandle,
  offset: number,
): Promise<{ readonly end: number; readonly body: OutboxBody | undefined } | undefined> {
  const header = await readBytes(file, offset, FRAME_HEADER_BYTES);
  if (header.length < FRAME_HEADER_BYTES) return undefined;
  const length = bodyLength(header);
  if (length === undefined) return undefined;
  const frame = await readBytes(file, offset, FRAME_HEADER_BYTES + length);
  if (frame.length < FRAME_HEADER_BYTES + length) return undefined;
  return { end: offset + frame.length, body: decodeFrame(frame) };
}

async function readBytes(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
