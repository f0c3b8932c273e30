/**
 * Where goes what could not be delivered: never away in silence.
 *
 * Batches go to `<name>.frames`, byte for byte as the tail gave them, so that they can be projected again; lines that
 * a store refuses for good go to `<name>.lp`, line protocol with comments that say why and when. Appends to a path
 * follow one another, each with an fsync; one that fails leaves the file as it was. What a crash left half written at
 * the end is cut off by the first append of a process. A file that is damaged anywhere else is kept as it is under
 * another name, `….damaged-1`, which is said, and a new one is begun. A file that grows past its limit is renamed to
 * `….old`, in place of the one before. A path belongs to one process.
 */
import { type FileHandle, mkdir, open, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32c } from '@fieldproof/protocol/crc32c';
import { encodeFrame, readFrame } from '@fieldproof/protocol/frame';
import { AnalyticsError } from '../errors.ts';
import type { SetAside } from './batcher.ts';

/** Largest dead letter file; protects the disk from a store that refuses everything. */
const MAX_FILE_BYTES = 256 << 20;
const BLOCK_BYTES = 1 << 20;

/** Paths whose end is known to be whole. */
const whole = new Set<string>();
/** By path, the last append to it; never rejects. */
const queues = new Map<string, Promise<void>>();

/** Where a file stops being whole, and whether what follows is damage rather than an append that was not finished. */
interface End {
  readonly at: number;
  readonly isDamaged: boolean;
}

/** Looks through a file of that many bytes. */
type FindEnd = (file: FileHandle, size: number) => Promise<End>;

interface Letter {
  readonly bytes: Uint8Array;
  readonly findEnd: FindEnd;
  readonly onDamaged: OnDamaged;
}

/** Told of a damaged file that was put aside: ERR_DEAD_LETTERS_DAMAGED. */
export type OnDamaged = (error: AnalyticsError) => void;

/** Appends the frames of a batch; resolves when they are durable. */
export function appendBatch(
  path: string,
  { frames }: Pick<SetAside, 'frames'>,
  onDamaged: OnDamaged = () => {},
): Promise<void> {
  const bytes = Buffer.concat(frames.map(encodeFrame));
  return enqueue(path, { bytes, findEnd: endOfFrames, onDamaged });
}

/** Appends refused lines; `lines` ends with a newline. */
export function appendLines(
  path: string,
  lines: Uint8Array,
  { error, nowMs }: { readonly error: AnalyticsError; readonly nowMs: number },
): Promise<void> {
  const message = error.message.replace(/[\r\n]+/g, ' ');
  const comment = `# ${new Date(nowMs).toISOString()} ${error.code}: ${message}\n`;
  const bytes = Buffer.concat([Buffer.from(comment), lines]);
  return enqueue(path, { bytes, findEnd: endOfLines, onDamaged: () => {} });
}

/** Behind the appends so far, whether or not they work. */
function enqueue(path: string, letter: Letter): Promise<void> {
  const before = queues.get(path) ?? Promise.resolve();
  const done = before.then(() => append(path, letter));
  const settled: Promise<void> = done
    .catch(() => {})
    .then(() => {
      if (queues.get(path) === settled) queues.delete(path);
    });
  queues.set(path, settled);
  return done;
}

async function append(path: string, { bytes, findEnd, onDamaged }: Letter): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  if (!whole.has(path)) await makeWhole(path, findEnd, onDamaged);
  const file = await open(path, 'a', 0o600);
  const { size } = await file.stat();
  try {
    await file.writeFile(bytes);
    await file.sync();
  } catch (error) {
    whole.delete(path);
    await file.truncate(size);
    throw error;
  } finally {
    await file.close();
  }
  if (size + bytes.length > MAX_FILE_BYTES) await rename(path, `${path}.old`);
}

/** Cuts off an append that was not finished, or puts a damaged file aside. */
async function makeWhole(path: string, findEnd: FindEnd, onDamaged: OnDamaged): Promise<void> {
  const file = await open(path, 'a+', 0o600);
  let end: End;
  try {
    const { size } = await file.stat();
    end = await findEnd(file, size);
    if (!end.isDamaged && end.at < size) await file.truncate(end.at);
  } finally {
    await file.close();
  }
  if (end.isDamaged) {
    const aside = await freeName(`${path}.damaged`);
    await rename(path, aside);
    const message = `${path}: expected a frame at ${end.at}, got damage: kept as ${aside}`;
    onDamaged(new AnalyticsError('ERR_DEAD_LETTERS_DAMAGED', message));
  }
  whole.add(path);
}

async function freeName(prefix: string): Promise<string> {
  for (let n = 1; ; n++) {
    const isTaken = await stat(`${prefix}-${n}`).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    if (isTaken === undefined) return `${prefix}-${n}`;
  }
}

async function endOfFrames(file: FileHandle, size: number): Promise<End> {
  let end = 0;
  while (end < size) {
    const block = Buffer.alloc(Math.min(BLOCK_BYTES, size - end));
    await file.read(block, 0, block.length, end);
    let at = 0;
    for (let read = readFrame(block, at); read.kind === 'frame'; read = readFrame(block, at)) {
      at = read.end;
    }
    // A block holds at least one frame, unless what follows is none.
    if (at === 0) return { at: end, isDamaged: !isUnfinished(block) };
    end += at;
  }
  return { at: end, isDamaged: false };
}

/** Whether bytes at the end of a file are the beginning of a frame, and not one whose length is wrong. */
function isUnfinished(rest: Buffer): boolean {
  if (readFrame(rest, 0).kind !== 'torn') return false;
  if (rest.length > 8 && rest.readUInt32BE(4) === crc32c(rest, 8)) return false;
  for (let at = 1; at < rest.length; at++) if (readFrame(rest, at).kind === 'frame') return false;
  return true;
}

async function endOfLines(file: FileHandle, size: number): Promise<End> {
  const block = Buffer.alloc(1024);
  for (let end = size; end > 0; ) {
    const from = Math.max(0, end - block.length);
    await file.read(block, 0, end - from, from);
    const at = block.lastIndexOf('\n', end - from - 1);
    if (at >= 0) return { at: from + at + 1, isDamaged: false };
    end = from;
  }
  return { at: 0, isDamaged: false };
}
