/**
 * The file operations of all that the agent keeps: outbox, boot, receipts, parked envelopes, credentials, status. The
 * real disk is `systemDisk`; tests pass one that loses power or fails at the operation that they choose, and the
 * agent wraps it to count what it writes (`write-meter.ts`).
 *
 * Leaves out what is the owner's to write (`init`, `install`, `flash`) and what is read of others (sensors).
 */

import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';

/** An open file. A `FileHandle` of Node is one. */
export interface DiskFile {
  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
  /** May write less than it was given. */
  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesWritten: number }>;
  truncate(length: number): Promise<void>;
  stat(): Promise<{ readonly size: number }>;
  /** fsync(2). */
  sync(): Promise<void>;
  /** fdatasync(2): the bytes and what is needed to read them. */
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /** @param flags - `r`, `r+`, `w+`, `wx` as those of fs.open. */
  open(path: string, flags: string, mode: number): Promise<DiskFile>;
  readFile(path: string): Promise<Uint8Array>;
  readdir(path: string): Promise<string[]>;
  stat(path: string): Promise<{ readonly size: number; readonly mtimeMs: number }>;
  /** Makes a folder that only this user can read, with its parents; nothing where it is there. */
  makeFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a folder with all in it; nothing where there is none. */
  remove(path: string): Promise<void>;
  /** Makes durable which names are in a folder. */
  syncFolder(path: string): Promise<void>;
}

/** The machine's disk. */
export const systemDisk: Disk = {
  open,
  readFile,
  readdir: (path) => readdir(path),
  stat: (path) => stat(path),
  makeFolder: async (path) => {
    await mkdir(path, { recursive: true, mode: 0o700 });
  },
  rename,
  remove: (path) => rm(path, { recursive: true, force: true }),
  syncFolder: async (path) => {
    // Windows opens no folder; there only `flash` is used.
    if (process.platform === 'win32') return;
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
};

/** Writes all of it. */
export async function writeAll(file: DiskFile, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const at = position + written;
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, at);
    written += bytesWritten;
  }
}
