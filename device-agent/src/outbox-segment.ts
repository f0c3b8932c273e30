/** Reading of one segment file: a magic line, then frames. Damage is passed over and told, never repaired. */

import type { DiskFile } from './disk.ts';
import { codeOf } from './errors.ts';
import { bodyLength, decodeFrame, FRAME_HEADER_BYTES, type OutboxBody } from './outbox-frame.ts';

/** First bytes of a segment: name and version of the format. */
export const SEGMENT_MAGIC = new TextEncoder().encode('fieldproof outbox 1\n');

/** Read at once when the next whole frame is looked for. */
const SEARCH_BYTES = 65_536;
const BLOCK_BYTES = 4096;

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

/**
 * Goes through a segment from its first frame to its end. Behind damage it goes on with the next whole frame,
 * so that a bad byte costs the frame it lies in, also where it lies in a length or in the magic line.
 */
export async function* scanSegment(file: DiskFile): AsyncGenerator<ScanItem> {
  const { size } = await file.stat();
  const magic = await readBytes(file, 0, SEGMENT_MAGIC.length);
  let offset = 0;
  if (Buffer.compare(magic, SEGMENT_MAGIC) === 0) {
    offset = SEGMENT_MAGIC.length;
    yield { type: 'start', end: offset };
  }
  while (offset < size) {
    const read = offset === 0 ? undefined : await readFrame(file, offset);
    if (read?.body !== undefined) {
      yield { type: 'frame', offset, end: read.end, body: read.body };
      offset = read.end;
      continue;
    }
    // Where only the content is damaged, the next frame begins where this one should end.
    const follows = read !== undefined && (await readFrame(file, read.end))?.body !== undefined;
    const end = follows ? read.end : await findFrame(file, offset + 1, size);
    yield { type: 'damage', offset, end };
    offset = end;
  }
}

/**
 * The frame at an offset: `body` undefined when its sum is wrong; undefined when no whole frame is there.
 */
export async function readFrame(
  file: DiskFile,
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

/** The first offset from `from` on at which a whole frame with the right sum begins, or `size`. */
export async function findFrame(file: DiskFile, from: number, size: number): Promise<number> {
  for (let base = from; base < size; base += SEARCH_BYTES) {
    // Headers that begin at the end of this part reach into the next.
    const part = await readBytes(file, base, SEARCH_BYTES + FRAME_HEADER_BYTES);
    const last = Math.min(part.length - FRAME_HEADER_BYTES, SEARCH_BYTES);
    for (let at = 0; at < last; at += 1) {
      // The upper half of a length is 0 or 1: most offsets are out at once.
      if (part[at + 3] !== 0 || part[at + 2]! > 1) continue;
      if ((await readFrame(file, base + at))?.body !== undefined) return base + at;
    }
  }
  return size;
}

/** What a worn card cannot read any more are zeros, which are no frame: one bad block costs what lies in it. */
async function readBytes(file: DiskFile, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const part = await readPart(file, buffer, { filled, offset });
    if (part === 0) break;
    filled += part;
  }
  return buffer.subarray(0, filled);
}

async function readPart(
  file: DiskFile,
  buffer: Buffer,
  { filled, offset }: { readonly filled: number; readonly offset: number },
): Promise<number> {
  const position = offset + filled;
  const rest = buffer.length - filled;
  try {
    return (await file.read(buffer, filled, rest, position)).bytesRead;
  } catch (error) {
    if (codeOf(error) !== 'EIO') throw error;
  }
  // Once more, and as far as the next block only.
  const block = Math.min(rest, BLOCK_BYTES - (position % BLOCK_BYTES));
  try {
    return (await file.read(buffer, filled, block, position)).bytesRead;
  } catch (error) {
    if (codeOf(error) !== 'EIO') throw error;
  }
  const { size } = await file.stat();
  buffer.fill(0, filled, filled + block);
  return Math.max(0, Math.min(block, size - position));
}
