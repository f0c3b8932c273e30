/**
 * The file system as the evidence log uses it: the few operations whose order decides what survives a power cut.
 * Tests put another one in its place that tears writes, fills the disk and loses what was not synced.
 */

import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { acquireLock, type ReleaseLock } from './file-lock.ts';
import { readWhole } from './read-whole.ts';

const { O_RDWR, O_CREAT } = constants;

/** An open file. Every method rejects with the error of the system, such as ENOSPC. */
export interface LogFile {
  readonly size: () => Promise<number>;
  /** Up to `length` bytes from `position`; fewer at the end of the file. */
  readonly read: (position: number, length: number) => Promise<Uint8Array>;
  /** Writes all of the bytes; after a rejection some of them may be there. */
  readonly write: (position: number, bytes: Uint8Array) => Promise<void>;
  /** Makes what was written durable (fdatasync). */
  readonly sync: () => Promise<void>;
  readonly truncate: (length: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface FileLayer {
  /** `read` rejects with ENOENT when the file is missing, `write` creates it, and can read too. */
  readonly open: (path: string, mode: 'read' | 'write') => Promise<LogFile>;
  /** The whole file, or undefined when it is missing. */
  readonly readFile: (path: string) => Promise<Uint8Array | undefined>;
  /** Names in a folder, sorted; none when it is missing. */
  readonly list: (folder: string) => Promise<readonly string[]>;
  /** With all folders above it. */
  readonly makeFolder: (folder: string) => Promise<void>;
  readonly rename: (from: string, to: string) => Promise<void>;
  /** A file, or a folder with all that is in it; nothing when it is missing. */
  readonly remove: (path: string) => Promise<void>;
  /** Makes creations, renames and removals in a folder durable. */
  readonly syncFolder: (folder: string) => Promise<void>;
  /** @throws {BrokerError} ERR_DATA_LOCKED when a live process holds it. */
  readonly lock: (path: string) => Promise<ReleaseLock>;
}

/**
 * Writes a file so that after a crash either the old one or the new one is there, whole: temp, fsync, rename.
 * Durable once the folder is synced; that is left to the caller, who may have many files.
 */
export async function replaceFile(
  files: FileLayer,
  path: string,
  bytes: Uint8Array,
): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await files.open(temporary, 'write');
  try {
    await file.truncate(0);
    await file.write(0, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(temporary, path);
}

/** The real file system. */
export const nodeFiles: FileLayer = {
  open: async (path, mode) => nodeFile(await openNode(path, mode)),
  readFile: (path) => unlessMissing(readWhole(path), undefined),
  list: async (folder) => (await unlessMissing(readdir(folder), [])).sort(),
  makeFolder: async (folder) => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  },
  rename,
  remove: (path) => rm(path, { recursive: true, force: true }),
  syncFolder: async (folder) => {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  lock: acquireLock,
};

function openNode(path: string, mode: 'read' | 'write'): Promise<FileHandle> {
  // Node has no letters for: made when missing, and neither emptied nor only appended to.
  return mode === 'read' ? open(path, 'r') : open(path, O_RDWR | O_CREAT, 0o600);
}

function nodeFile(handle: FileHandle): LogFile {
  return {
    size: async () => (await handle.stat()).size,
    read: async (position, length) => {
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    },
    write: async (position, bytes) => {
      let written = 0;
      while (written < bytes.length) {
        const rest = bytes.length - written;
        const { bytesWritten } = await handle.write(bytes, written, rest, position + written);
        written += bytesWritten;
      }
    },
    sync: () => handle.datasync(),
    truncate: (length) => handle.truncate(length),
    close: () => handle.close(),
  };
}

async function unlessMissing<T, E>(result: Promise<T>, otherwise: E): Promise<T | E> {
  try {
    return await result;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise;
    throw error;
  }
}
