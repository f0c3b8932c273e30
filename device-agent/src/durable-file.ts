/** Small files that are whole after a power cut: temp → fsync → rename → fsync of the folder. */

import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { type Disk, systemDisk, writeAll } from './disk.ts';
import { codeOf, reasonOf } from './errors.ts';
import type { Log } from './log.ts';

/** As `replaceFile` names its temporary files. */
const LEFTOVER = /\.[0-9a-f]{8}\.tmp$/;

/**
 * Replaces a file: afterwards a reader, and a machine that lost power, sees the old bytes or the new ones.
 *
 * @param mode - permission bits of the new file, default 0600.
 * @param durable - false leaves out fsync, for files that may be lost (the status file).
 */
export async function replaceFile(
  path: string,
  content: Uint8Array | string,
  options: { readonly mode?: number; readonly durable?: boolean; readonly disk?: Disk } = {},
): Promise<void> {
  const { mode = 0o600, durable = true, disk = systemDisk } = options;
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    const file = await disk.open(temporary, 'wx', mode);
    try {
      await writeAll(file, typeof content === 'string' ? Buffer.from(content) : content, 0);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await disk.rename(temporary, path);
  } catch (error) {
    // What made this fail may keep it from being removed; the next start does.
    await disk.remove(temporary).catch(() => {});
    throw error;
  }
  if (durable) await disk.syncFolder(dirname(path));
}

/** Removes what replacements that were interrupted have left in a folder. Nobody else may be replacing files in it. */
export async function removeLeftovers(folder: string, disk: Disk = systemDisk): Promise<void> {
  for (const name of await disk.readdir(folder)) {
    if (LEFTOVER.test(name)) await disk.remove(join(folder, name));
  }
}

/** The bytes of a file, or undefined when there is none. */
export async function readIfPresent(
  path: string,
  disk: Disk = systemDisk,
): Promise<Uint8Array | undefined> {
  try {
    return await disk.readFile(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** What a worn card, a damaged file system or somebody's mistake make of a file that was there. */
const UNREADABLE = new Set(['EIO', 'EBADMSG', 'EUCLEAN', 'EISDIR']);

/** Whether an error says that the bytes of a file are lost, and not that they are somewhere else or somebody else's. */
export function isUnreadable(error: unknown): boolean {
  return UNREADABLE.has(codeOf(error) ?? '');
}

/**
 * The bytes of a file that can be done without: undefined when there is none, and when the card does not give them
 * any more, which is told.
 */
export async function readIfReadable(
  path: string,
  { disk = systemDisk, log }: { readonly disk?: Disk | undefined; readonly log: Log },
): Promise<Uint8Array | undefined> {
  try {
    return await readIfPresent(path, disk);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    log.warn('a file cannot be read any more, and is done without', {
      file: path,
      reason: reasonOf(error),
    });
    return undefined;
  }
}

/** Makes names that were created in, or removed from, a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  await systemDisk.syncFolder(path);
}

/** Makes a folder that only this user can read, with its parents. */
export async function makeFolder(path: string): Promise<void> {
  await systemDisk.makeFolder(path);
}
