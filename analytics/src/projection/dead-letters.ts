/**
 * Where goes what could not be delivered: never away in silence.
 *
 * Batches go to `<name>.frames`, byte for byte as the tail gave them, so that they can be projected again; lines that
 * a store refuses for good go to `<name>.lp`, line protocol with comments that say why and when. Every append is
 * followed by fsync; one that fails leaves the file as it was. What a crash left half written at the end is cut off
 * by the first append of a process. A file that grows past its limit is renamed to `….old`, in place of the one before.
 */
import { type FileHandle, mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { encodeFrame, readFrame } from '@fieldproof/protocol/frame';
import type { AnalyticsError } from '../errors.ts';
import type { SetAside } from './batcher.ts';

/** Largest dead letter file; protects the disk from a store that refuses everything. */
const MAX_FILE_BYTES = 256 << 20;
const BLOCK_BYTES = 1 << 20;

/** Paths whose end is known to be whole. */
const whole = new Set<string>();

/** Where a file of that many bytes stops being whole. */
type FindEnd = (file: FileHandle, size: number) => Promise<number>;

/** Appends the frames of a batch; resolves when they are durable. */
export function appendBatch(path: string, { frames }: SetAside): Promise<void> {
  return append(path, Buffer.concat(frames.map(encodeFrame)), endOfFrames);
}

/** Appends refused lines; `lines` ends with a newline. */
export function appendLines(
  path: string,
  lines: Uint8Array,
  { error, nowMs }: { readonly error: AnalyticsError; readonly nowMs: number },
): Promise<void> {
  const message = error.message.replace(/[\r\n]+/g, ' ');
  const comment = `# ${new Date(nowMs).toISOString()} ${error.code}: ${message}\n`;
  return append(path, Buffer.concat([Buffer.from(comment), lines]), endOfLines);
}

async function append(path: string, bytes: Uint8Array, findEnd: FindEnd): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, 'a+', 0o600);
  let { size } = await file.stat();
  try {
    if (!whole.has(path)) {
      const end = await findEnd(file, size);
      if (end < size) await file.truncate(end);
      size = end;
      whole.add(path);
    }
    try {
      await file.writeFile(bytes);
      await file.sync();
    } catch (error) {
      whole.delete(path);
      await file.truncate(size);
      throw error;
    }
    size += bytes.length;
  } finally {
    await file.close();
  }
  if (size > MAX_FILE_BYTES) await rename(path, `${path}.old`);
}

async function endOfFrames(file: FileHandle, size: number): Promise<number> {
  let end = 0;
  while (end < size) {
    const block = Buffer.alloc(Math.min(BLOCK_BYTES, size - end));
    await file.read(block, 0, block.length, end);
    let at = 0;
    for (let read = readFrame(block, at); read.kind === 'frame'; read = readFrame(block, at)) {
      at = read.end;
    }
    // A block holds at least one frame, unless what follows is none.
    if (at === 0) return end;
    end += at;
  }
  return end;
}

async function endOfLines(file: FileHandle, size: number): Promise<number> {
  const block = Buffer.alloc(1024);
  for (let end = size; end > 0; ) {
    const from = Math.max(0, end - block.length);
    await file.read(block, 0, end - from, from);
    const at = block.lastIndexOf('\n', end - from - 1);
    if (at >= 0) return from + at + 1;
    end = from;
  }
  return 0;
}
