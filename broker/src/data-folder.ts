/**
 * The data folder: made on first start, used by one broker at a time, refused when a newer version wrote it.
 *
 * The lock names a process by its id and start time (Linux: field 22 of /proc/<pid>/stat), so that a lock left by
 * a killed broker is recognised even when the id has been given to another process. Where /proc is missing the id
 * alone decides.
 */

import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { BrokerError } from './errors.ts';
import { replaceFile } from './replace-file.ts';

/** Version of everything below the folder; grows when an older broker could not read it. */
const DATA_VERSION = 1;

export interface DataFolder {
  readonly path: string;
  /** Gives the folder free for the next broker. */
  close(): void;
}

/**
 * Opens and locks a data folder.
 *
 * @throws {BrokerError} ERR_DATA_LOCKED, ERR_DATA_NEWER.
 */
export function openDataFolder(folder: string): DataFolder {
  const path = resolve(folder);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const lock = join(path, 'broker.lock');
  takeLock(lock);
  try {
    checkVersion(join(path, 'version'));
  } catch (error) {
    rmSync(lock, { force: true });
    throw error;
  }
  let open = true;
  return {
    path,
    close: () => {
      if (open) rmSync(lock, { force: true });
      open = false;
    },
  };
}

function checkVersion(path: string): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    replaceFile(path, `${DATA_VERSION}\n`, 0o644);
    return;
  }
  const version = Number(text.trim());
  if (!Number.isInteger(version) || version > DATA_VERSION) {
    throw new BrokerError(
      'ERR_DATA_NEWER',
      `data folder: expected version ${DATA_VERSION}, got ${JSON.stringify(text.trim().slice(0, 20))}`,
    );
  }
}

function takeLock(path: string): void {
  for (let attempt = 0; ; attempt++) {
    try {
      const file = openSync(path, 'wx', 0o600);
      writeSync(file, `${process.pid} ${startTime(process.pid) ?? '-'}\n`);
      closeSync(file);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt > 2) throw error;
    }
    const holder = readHolder(path);
    if (holder !== null && isAlive(holder)) {
      throw new BrokerError('ERR_DATA_LOCKED', `data folder: in use by process ${holder.pid}`);
    }
    rmSync(path, { force: true });
  }
}

interface Holder {
  readonly pid: number;
  readonly started: string;
}

function readHolder(path: string): Holder | null {
  try {
    const [pid, started] = readFileSync(path, 'utf8').trim().split(' ');
    return { pid: Number(pid), started: started ?? '-' };
  } catch {
    return null;
  }
}

function isAlive({ pid, started }: Holder): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  const now = startTime(pid);
  if (now !== null && started !== '-') return now === started;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When the process started, in clock ticks since boot, or null where that cannot be told. */
function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
