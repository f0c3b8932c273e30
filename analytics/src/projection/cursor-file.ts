/**
 * The durable cursor of a consumer of the tail: the index of the first entry that it has not yet put away
 * (docs/spec/processes.md 3), with the projector's state as of that index.
 *
 * The file is `fieldproof-cur-1` | crc32c u32 | CBOR, replaced as a whole; the one before it is kept beside it. A file
 * that is torn or damaged gives way to the one before, then to index 0: an older cursor repeats writes, which are
 * idempotent. It belongs to one process.
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32c } from '@fieldproof/protocol/crc32c';
import { Decoder, Encoder } from 'cbor-x';
import { AnalyticsError } from '../errors.ts';
import { dumpState, emptyState, type ProjectorState, restoreState } from './projector-state.ts';

const MAGIC = Buffer.from('fieldproof-cur-1');
const HEAD_BYTES = MAGIC.length + 4;
const encoder = new Encoder({ useRecords: false, mapsAsObjects: true });
const decoder = new Decoder({ useRecords: false, mapsAsObjects: true });

export interface Cursor {
  /** The first entry that is not put away. */
  readonly index: number;
  /** Of all entries before `index`. */
  readonly state: ProjectorState;
  /** SHA-256 of the entry before `index` in hex, which the log must still hold; absent at 0. */
  readonly before?: string | undefined;
  /** Drawn whenever the log is read anew from entry 0 because it had gone back; '' until then. */
  readonly generation?: string | undefined;
}

export interface LoadedCursor extends Cursor {
  /** What was wrong with the files, if anything: ERR_CURSOR_CORRUPT. */
  readonly problems: readonly AnalyticsError[];
}

/** Reads the cursor, or the one before it, or begins at 0. Never throws for what the files hold. */
export async function loadCursor(path: string): Promise<LoadedCursor> {
  const problems: AnalyticsError[] = [];
  for (const candidate of [path, previousOf(path)]) {
    try {
      return { ...decodeCursor(await readFile(candidate)), problems };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') continue;
      const message = `${candidate}: ${(cause as Error).message}`;
      problems.push(new AnalyticsError('ERR_CURSOR_CORRUPT', message, { cause }));
    }
  }
  return { index: 0, state: emptyState(), problems };
}

/** Replaces the cursor durably: temp, fsync, rename. Calls must not overlap. */
export async function saveCursor(path: string, cursor: Cursor): Promise<void> {
  const temporary = `${path}.tmp`;
  // At once: the state goes on changing.
  const bytes = encodeCursor(cursor);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  // A crash between the two renames leaves the one before, which is read then.
  await rename(path, previousOf(path)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(temporary, path);
  const folder = await open(dirname(path), 'r');
  await folder.sync().finally(() => folder.close());
}

/** Forgets the cursor: the next start begins at 0. */
export async function deleteCursor(path: string): Promise<void> {
  for (const file of [path, previousOf(path), `${path}.tmp`]) await rm(file, { force: true });
}

/** The bytes of a cursor file. */
export function encodeCursor({ index, state, before, generation = '' }: Cursor): Uint8Array {
  const body = encoder.encode({
    index,
    state: dumpState(state),
    before: before ?? null,
    generation,
  });
  const bytes = Buffer.concat([MAGIC, Buffer.alloc(4), body]);
  bytes.writeUInt32BE(crc32c(body), MAGIC.length);
  return bytes;
}

/**
 * The inverse of `encodeCursor`.
 *
 * @throws {Error} for anything else; the caller falls back.
 */
export function decodeCursor(bytes: Uint8Array): Cursor {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (!file.subarray(0, MAGIC.length).equals(MAGIC)) throw new Error('not a cursor file');
  const body = file.subarray(HEAD_BYTES);
  if (file.length < HEAD_BYTES || file.readUInt32BE(MAGIC.length) !== crc32c(body)) {
    throw new Error('checksum does not match');
  }
  const { index, state, before, generation } = decoder.decode(body) as Record<string, unknown>;
  if (!Number.isSafeInteger(index) || (index as number) < 0) throw new Error('index: not one');
  return {
    index: index as number,
    state: restoreState(state),
    before: typeof before === 'string' ? before : undefined,
    generation: typeof generation === 'string' ? generation : '',
  };
}

function previousOf(path: string): string {
  return `${path}.previous`;
}
