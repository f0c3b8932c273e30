/**
 * Reads a folder of segments from some segment on and decides what may go on from there: a torn last frame is cut
 * off, anything else that is wrong stops with ERR_LOG_CORRUPT. evidence-log.md section 2.3.
 *
 * Nothing is changed here; `resumeWriter` does that once the caller is content with what it has read.
 */

import { join } from 'node:path';
import type { Frame } from '@fieldproof/protocol/frame';
import type { FileLayer, LogFile } from './file-layer.ts';
import { corrupt, SEGMENT_MAGIC, segmentFirst, segmentName } from './segment-file.ts';
import { hasFrameBehind, scanSegment } from './segment-reader.ts';
import { SegmentWriter } from './segment-writer.ts';

export interface ReplayOptions {
  /** First index of the segment to begin with. */
  readonly from: number;
  /** Called before the frames of each segment. */
  readonly onSegment?: (first: number) => void;
  readonly onFrame: (frame: Frame, offset: number) => void;
  /** Called now and then; `isClosed` says whether the segment being read is not the last. */
  readonly afterBlock?: (isClosed: boolean) => Promise<void>;
}

export interface ReplayResult {
  /** The index that the next frame gets. */
  readonly nextIndex: number;
  /** Bytes of a torn write at the end. */
  readonly droppedBytes: number;
  /** The last segment and its good bytes; undefined when there is none, or only one that never began. */
  readonly last: { readonly first: number; readonly length: number } | undefined;
}

/** First indexes of the segments in a folder, ascending. */
export async function listSegments(files: FileLayer, folder: string): Promise<number[]> {
  const names = await files.list(folder);
  return names.map(segmentFirst).filter((first) => first !== undefined);
}

/**
 * Reads all frames from the segment `from` on, in order.
 *
 * @throws {BrokerError} ERR_LOG_CORRUPT when a frame fails before the end of the last segment, or a segment is
 *   missing.
 */
export async function replaySegments(
  files: FileLayer,
  folder: string,
  options: ReplayOptions,
): Promise<ReplayResult> {
  const firsts = (await listSegments(files, folder)).filter((first) => first >= options.from);
  let result: ReplayResult = { nextIndex: options.from, droppedBytes: 0, last: undefined };
  for (const [i, first] of firsts.entries()) {
    const path = join(folder, segmentName(first));
    if (first !== result.nextIndex) {
      throw corrupt(path, `expected the segment of index ${result.nextIndex} before it, got none`);
    }
    const isLast = i === firsts.length - 1;
    const file = await files.open(path, 'read');
    try {
      result = await replayOne(file, { ...options, path, first, isLast });
    } finally {
      await file.close();
    }
  }
  if (firsts.length === 0 && options.from > 0) {
    throw corrupt(folder, `expected the segment of index ${options.from}, got none`);
  }
  return result;
}

/** Opens the last segment for writing, cut back to its good bytes; undefined when one must be made. */
export async function resumeWriter(
  files: FileLayer,
  folder: string,
  { last }: ReplayResult,
): Promise<SegmentWriter | undefined> {
  return last && (await SegmentWriter.resume(files, folder, last));
}

interface SegmentAt extends ReplayOptions {
  readonly path: string;
  readonly first: number;
  readonly isLast: boolean;
}

async function replayOne(file: LogFile, at: SegmentAt): Promise<ReplayResult> {
  const { path, first, isLast } = at;
  if (!(await hasMagic(file))) {
    // A segment that was being made when the power went has no frame that was ever acknowledged.
    if (isLast && (await neverBegan(file))) {
      return { nextIndex: first, droppedBytes: await file.size(), last: undefined };
    }
    throw corrupt(path, 'expected a segment, got other bytes');
  }
  at.onSegment?.(first);
  const scan = await scanSegment(file, {
    offset: SEGMENT_MAGIC.length,
    firstIndex: first,
    onFrame: at.onFrame,
    afterBlock: async () => await at.afterBlock?.(!isLast),
  });
  const { end, nextIndex, left, reason } = scan;
  if (left > 0 && (!isLast || (await hasFrameBehind(file, { offset: end, nextIndex })))) {
    throw corrupt(path, `at byte ${end}, index ${nextIndex}: ${reason}`);
  }
  return { nextIndex, droppedBytes: left, last: { first, length: end } };
}

async function hasMagic(file: LogFile): Promise<boolean> {
  const head = await file.read(0, SEGMENT_MAGIC.length);
  return head.length === SEGMENT_MAGIC.length && head.every((b, i) => b === SEGMENT_MAGIC[i]);
}

/** Whether there is nothing but a part of the first bytes, or zeros in their place. */
async function neverBegan(file: LogFile): Promise<boolean> {
  if ((await file.size()) > SEGMENT_MAGIC.length) return false;
  const head = await file.read(0, SEGMENT_MAGIC.length);
  return head.every((byte) => byte === 0) || head.every((byte, i) => byte === SEGMENT_MAGIC[i]);
}
