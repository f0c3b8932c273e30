/**
 * Reads a folder of segments from some segment on and decides what may go on from there: a torn last frame is cut
 * off, and so is a torn last commit, of which nothing was acknowledged; anything else that is wrong stops with
 * ERR_LOG_CORRUPT. evidence-log.md section 2.3.
 *
 * Nothing is changed here; `resumeWriter` does that once the caller is content with what it has read.
 */

import { join } from 'node:path';
import type { Frame } from '@fieldproof/protocol/frame';
import { type Acknowledged, readMark } from './acknowledged-mark.ts';
import type { FileLayer, LogFile } from './file-layer.ts';
import { corrupt, SEGMENT_MAGIC, segmentFirst, segmentName } from './segment-file.ts';
import { hasFrameBehind, type ScanResult, scanSegment } from './segment-reader.ts';
import { SegmentWriter } from './segment-writer.ts';

const NEVER_BEGAN = 'the segment was being made';

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
  /** The same with the file and the reason; undefined when nothing is dropped. */
  readonly dropped: DroppedTail | undefined;
  /** The last segment and its good bytes; undefined when there is none, or only one that never began. */
  readonly last: { readonly first: number; readonly length: number } | undefined;
}

/** The end of a segment that a start cuts off. */
export interface DroppedTail {
  readonly file: string;
  /** Where it begins, and how long it is. */
  readonly offset: number;
  readonly bytes: number;
  /** The index that the next entry gets. */
  readonly index: number;
  readonly reason: string;
  /** Bytes that had been acknowledged before they went: what no interrupted write explains. */
  readonly acknowledgedBytes: number;
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
  const acknowledged = await readMark(files, folder);
  let result: ReplayResult = {
    nextIndex: options.from,
    droppedBytes: 0,
    dropped: undefined,
    last: undefined,
  };
  for (const [i, first] of firsts.entries()) {
    const path = join(folder, segmentName(first));
    if (first !== result.nextIndex) {
      throw corrupt(path, `expected the segment of index ${result.nextIndex} before it, got none`);
    }
    const isLast = i === firsts.length - 1;
    const file = await files.open(path, 'read');
    try {
      result = await replayOne(file, { ...options, path, first, isLast, acknowledged });
    } finally {
      await file.close();
    }
  }
  if (firsts.length === 0 && options.from > 0) {
    throw corrupt(folder, `expected the segment of index ${options.from}, got none`);
  }
  if (acknowledged !== undefined && acknowledged.first > (firsts.at(-1) ?? -1)) {
    throw corrupt(folder, `expected the segment of index ${acknowledged.first}, got none`);
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
  readonly acknowledged: Acknowledged | undefined;
}

async function replayOne(file: LogFile, at: SegmentAt): Promise<ReplayResult> {
  const { path, first, isLast } = at;
  if (!(await hasMagic(file))) {
    // A segment that was being made when the power went has no frame that was ever acknowledged.
    if (isLast && (await neverBegan(file))) {
      const scan = { end: 0, nextIndex: first, left: await file.size(), reason: NEVER_BEGAN };
      return { ...ended(scan, at), last: undefined };
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
  if (left > 0 && !(isLast && (await isTorn(file, scan, at)))) {
    throw corrupt(path, `at byte ${end}, index ${nextIndex}: ${reason}`);
  }
  return { ...ended(scan, at), last: { first, length: end } };
}

/** Whether what is left is an interrupted write: behind all that was acknowledged, or with no frame behind it. */
async function isTorn(file: LogFile, scan: ScanResult, at: SegmentAt): Promise<boolean> {
  const { acknowledged, first } = at;
  const { end, nextIndex } = scan;
  if (acknowledged !== undefined) {
    if (first > acknowledged.first) return true;
    if (first === acknowledged.first && end >= acknowledged.length) return true;
  }
  return !(await hasFrameBehind(file, { offset: end, nextIndex }));
}

function ended(scan: ScanResult, at: SegmentAt): Omit<ReplayResult, 'last'> {
  const { end, nextIndex, left } = scan;
  const { path, first, acknowledged } = at;
  const known = acknowledged?.first === first ? acknowledged.length : 0;
  const acknowledgedBytes = at.isLast
    ? Math.max(known - Math.max(end, SEGMENT_MAGIC.length), 0)
    : 0;
  if (left === 0 && acknowledgedBytes === 0) {
    return { nextIndex, droppedBytes: 0, dropped: undefined };
  }
  const reason = left === 0 ? 'the file is shorter than it was' : scan.reason;
  const tail = {
    file: path,
    offset: end,
    bytes: left,
    index: nextIndex,
    reason,
    acknowledgedBytes,
  };
  return { nextIndex, droppedBytes: left, dropped: tail };
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
