/**
 * A folder of this agent alone below a memory-backed one (`memoryFolder`, systemd's RuntimeDirectory): the front of the
 * outbox and the status lie there and not on the card. It has a name by chance, which the state folder remembers, so
 * that the same agent finds it after its process has died; another agent on a copy of that state folder finds it locked
 * and makes its own.
 */

import { lstat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type Disk, systemDisk } from './disk.ts';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { codeOf, reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import { type StateLock, takeStateLock } from './state-lock.ts';

const POINTER = 'memory-folder';

export interface MemoryFolder {
  readonly path: string;
  /** Gives it free. @param isNeeded - whether what is in it is still to be read by the next start. */
  close(isNeeded: boolean): Promise<void>;
}

/**
 * Takes the folder of the agent with this state.
 *
 * @param parent - the memory-backed folder, undefined for none.
 * @returns undefined where there is none, or it cannot be used, which is logged.
 */
export async function openMemoryFolder(options: {
  readonly parent: string | undefined;
  /** The state folder. */
  readonly state: string;
  readonly random: (length: number) => Uint8Array;
  readonly log: Log;
  readonly disk?: Disk;
}): Promise<MemoryFolder | undefined> {
  const { state, random, log, disk = systemDisk } = options;
  if (options.parent === undefined) return undefined;
  const parent = resolve(options.parent);
  try {
    const known = await memoryFolderOf(state);
    const isKnown = known !== undefined && dirname(known) === parent && (await isOurs(known));
    const lock = isKnown ? await lockUnlessTaken(known, disk) : undefined;
    if (lock !== undefined && known !== undefined) return opened(known, lock, disk);
    const path = join(parent, `agent-${Buffer.from(random(8)).toString('hex')}`);
    await disk.makeFolder(path);
    const own = await takeStateLock(path);
    await replaceFile(join(state, POINTER), `${path}\n`, { disk });
    return opened(path, own, disk);
  } catch (error) {
    log.warn('no memory folder, all goes to the disk', { parent, reason: reasonOf(error) });
    return undefined;
  }
}

/** The folder that the agent with this state uses, or has used; undefined when it never did. */
export async function memoryFolderOf(state: string): Promise<string | undefined> {
  const bytes = await readIfPresent(join(state, POINTER)).catch(() => undefined);
  const path = bytes === undefined ? '' : Buffer.from(bytes).toString('utf8').trim();
  return /^\/[^\0\n]{1,4000}$/.test(path) ? path : undefined;
}

function opened(path: string, lock: StateLock, disk: Disk): MemoryFolder {
  return {
    path,
    close: async (isNeeded) => {
      await lock.release();
      if (!isNeeded) await disk.remove(path).catch(() => {});
    },
  };
}

async function lockUnlessTaken(path: string, disk: Disk): Promise<StateLock | undefined> {
  await disk.makeFolder(path);
  try {
    return await takeStateLock(path);
  } catch (error) {
    if (codeOf(error) === 'ERR_AGENT_LOCKED') return undefined;
    throw error;
  }
}

/** Whether nobody else could have put something there. */
async function isOurs(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined || !found.isDirectory()) return false;
  return (
    (process.getuid === undefined || found.uid === process.getuid()) && (found.mode & 0o077) === 0
  );
}
