/**
 * The broker's evidence as files (docs/spec/evidence-log.md 2 and 3): frames in order, what is wrong with the
 * segments, reject records, the published head. Reads only; a running broker may go on writing, but then the last
 * frames of a moment may look torn.
 *
 * It does not share code with the broker beyond the frame format, so that one mistake is not made twice.
 */
import { type FileHandle, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decode } from '@fieldproof/protocol/cbor';
import { type Checkpoint, parseCheckpoint } from '@fieldproof/protocol/checkpoint';
import { ProtocolError } from '@fieldproof/protocol/errors';
import { type Frame, FrameReader, frameSize } from '@fieldproof/protocol/frame';
import { parseNote } from '@fieldproof/protocol/signed-note';
import { AnalyticsError } from '../errors.ts';

const MAGIC = Buffer.from('fieldproof-seg-1');
const NAME = /^(\d{16})\.seg$/;
const BLOCK_BYTES = 1 << 20;

/** Something that is not as section 2 says. */
export interface SegmentProblem {
  readonly kind: 'damage' | 'missing' | 'torn';
  /** The index that was expected there. */
  readonly index: number;
  readonly detail: string;
}

/** A seq that is settled by a permanent reject; section 2.7. */
export interface RejectRecord {
  /** 32 bytes. */
  readonly device: Uint8Array;
  readonly bootCounter: number;
  readonly bootSeed: Uint8Array;
  readonly seq: number;
  readonly code: string;
}

/** Where a broker's evidence lies, below its data folder. */
export interface EvidenceFolder {
  readonly segments: string;
  readonly rejects: string;
  readonly checkpoint: string;
}

/** The folder of a broker with this data folder. */
export function evidenceFolder(brokerDataDir: string): EvidenceFolder {
  const folder = join(brokerDataDir, 'evidence');
  return {
    segments: join(folder, 'segments'),
    rejects: join(folder, 'rejects'),
    checkpoint: join(folder, 'published', 'checkpoint'),
  };
}

/**
 * The frames of a folder of segments, in order. After damage it goes on with the next segment.
 *
 * @param onProblem - told of damage, missing segments, and the torn end of the last one.
 * @throws {AnalyticsError} ERR_AUDIT_INPUT when there is no such folder.
 */
export async function* readSegments(
  folder: string,
  onProblem: (problem: SegmentProblem) => void,
): AsyncGenerator<Frame> {
  const firsts = await listSegments(folder);
  let next = 0;
  for (const [i, first] of firsts.entries()) {
    if (first !== next) {
      const detail = `expected the segment of entry ${next}, got that of ${first}`;
      onProblem({ kind: 'missing', index: next, detail });
    }
    const path = join(folder, `${String(first).padStart(16, '0')}.seg`);
    const file = await open(path, 'r');
    try {
      const isLast = i === firsts.length - 1;
      next = yield* readSegment(file, { first, path, isLast, onProblem });
    } finally {
      await file.close();
    }
  }
}

/** The records of the reject log. */
export async function readRejects(
  folder: string,
  onProblem: (problem: SegmentProblem) => void,
): Promise<RejectRecord[]> {
  const records: RejectRecord[] = [];
  for await (const { index, entry } of readSegments(folder, onProblem)) {
    const record = rejectOf(entry);
    if (record === undefined) {
      onProblem({ kind: 'damage', index, detail: `reject ${index}: expected a reject record` });
    } else {
      records.push(record);
    }
  }
  return records;
}

/**
 * The published head, undefined before the first. Its signature is not checked here: who signed is known only to who
 * pins the root key.
 *
 * @throws {AnalyticsError} ERR_AUDIT_INPUT when the file is something else.
 */
export async function readCheckpoint(path: string): Promise<Checkpoint | undefined> {
  try {
    return parseCheckpoint(parseNote(await readFile(path, 'utf8')).text);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    const message = `${path}: ${(cause as Error).message}`;
    throw new AnalyticsError('ERR_AUDIT_INPUT', message, { cause });
  }
}

interface SegmentAt {
  readonly first: number;
  readonly path: string;
  readonly isLast: boolean;
  readonly onProblem: (problem: SegmentProblem) => void;
}

/** Yields the frames and returns the index that must follow. */
async function* readSegment(
  file: FileHandle,
  { first, path, isLast, onProblem }: SegmentAt,
): AsyncGenerator<Frame, number> {
  const { size } = await file.stat();
  const reader = new FrameReader(first);
  let next = first;
  let end = MAGIC.length;
  const stop = (reason: string) => {
    const detail = `${path}: byte ${end}, ${size - end} bytes left: ${reason}`;
    onProblem({ kind: isLast ? 'torn' : 'damage', index: next, detail });
  };
  if (!(await readBlock(file, 0, MAGIC.length)).equals(MAGIC)) {
    if (size > 0) stop('expected a segment, got other bytes');
    return next;
  }
  for (let at = MAGIC.length; at < size; ) {
    const block = await readBlock(file, at, Math.min(BLOCK_BYTES, size - at));
    if (block.length === 0) break;
    at += block.length;
    reader.push(block);
    for (;;) {
      let frame: Frame | undefined;
      try {
        frame = reader.next();
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        stop(error.message);
        return next;
      }
      if (frame === undefined) break;
      end += frameSize(frame.entry.length, frame.body.length);
      next = frame.index + 1;
      yield frame;
    }
  }
  if (end < size) stop('expected a whole frame');
  return next;
}

async function readBlock(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const block = Buffer.alloc(length);
  const { bytesRead } = await file.read(block, 0, length, offset);
  return block.subarray(0, bytesRead);
}

async function listSegments(folder: string): Promise<number[]> {
  try {
    const names = await readdir(folder);
    return names
      .flatMap((name) => NAME.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
  } catch (cause) {
    const message = `${folder}: expected a folder of segments, got ${(cause as Error).message}`;
    throw new AnalyticsError('ERR_AUDIT_INPUT', message, { cause });
  }
}

function rejectOf(entry: Uint8Array): RejectRecord | undefined {
  let items: unknown;
  try {
    items = decode(entry);
  } catch {
    return undefined;
  }
  if (!Array.isArray(items)) return undefined;
  const [device, bootCounter, bootSeed, seq, code] = items as unknown[];
  if (!(device instanceof Uint8Array) || !(bootSeed instanceof Uint8Array)) return undefined;
  if (typeof bootCounter !== 'number' || typeof seq !== 'number' || typeof code !== 'string') {
    return undefined;
  }
  return { device: device.slice(), bootCounter, bootSeed: bootSeed.slice(), seq, code };
}
