/**
 * Where goes what could not be delivered: never away in silence.
 *
 * Batches go to `<name>.frames`, byte for byte as the tail gave them, so that they can be projected again; lines that
 * a store refuses for good go to `<name>.lp`, line protocol with comments that say why and when. Every append is
 * followed by fsync. A file that grows past its limit is renamed to `….old`, in place of the one before.
 */
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { encodeFrame } from '@fieldproof/protocol/frame';
import type { AnalyticsError } from '../errors.ts';
import type { SetAside } from './batcher.ts';

/** Largest dead letter file; protects the disk from a store that refuses everything. */
const MAX_FILE_BYTES = 256 << 20;

/** Appends the frames of a batch; resolves when they are durable. */
export function appendBatch(path: string, { frames }: SetAside): Promise<void> {
  return append(path, Buffer.concat(frames.map(encodeFrame)));
}

/** Appends refused lines; `lines` ends with a newline. */
export function appendLines(
  path: string,
  lines: Uint8Array,
  { error, nowMs }: { readonly error: AnalyticsError; readonly nowMs: number },
): Promise<void> {
  const message = error.message.replace(/[\r\n]+/g, ' ');
  const comment = `# ${new Date(nowMs).toISOString()} ${error.code}: ${message}\n`;
  return append(path, Buffer.concat([Buffer.from(comment), lines]));
}

async function append(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, 'a', 0o600);
  let size: number;
  try {
    await file.writeFile(bytes);
    await file.sync();
    size = (await file.stat()).size;
  } finally {
    await file.close();
  }
  if (size > MAX_FILE_BYTES) await rename(path, `${path}.old`);
}
