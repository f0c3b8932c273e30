/** Small files that are whole after a power cut: temp → fsync → rename → fsync of the folder. */

import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf } from './errors.ts';

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
  options: { readonly mode?: number; readonly durable?: boolean } = {},
): Promise<void> {
  const { mode = 0o600, durable = true } = options;
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(content);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  if (durable) await syncFolder(dirname(path));
}

/** Removes what replacements that were interrupted have left in a folder. Nobody else may be replacing files in it. */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (LEFTOVER.test(name)) await rm(join(folder, name), { force: true });
  }
}

/** The bytes of a file, or undefined when there is none. */
export async function readIfPresent(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Makes names that were created in, or removed from, a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Makes a folder that only this user can read, with its parents. */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}
