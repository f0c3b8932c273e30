/**
 * A lock file that a dead process does not hold. It names its holder by process id, start time and boot of the
 * machine, because process ids are used again. Where /proc is missing, by process id alone.
 */

import { link, open, readFile, rename, rm } from 'node:fs/promises';
import { BrokerError } from '../errors.ts';

export type ReleaseLock = () => Promise<void>;

const ATTEMPTS = 5;
const heldHere = new Set<string>();

/**
 * Takes the lock at a path.
 *
 * @returns what gives it back.
 * @throws {BrokerError} ERR_DATA_LOCKED when a live process, this one included, holds it.
 */
export async function acquireLock(path: string): Promise<ReleaseLock> {
  if (heldHere.has(path)) throw locked(path, String(process.pid));
  heldHere.add(path);
  try {
    await create(path);
  } catch (error) {
    heldHere.delete(path);
    throw error;
  }
  return async () => {
    if (heldHere.delete(path)) await rm(path, { force: true });
  };
}

async function create(path: string): Promise<void> {
  const self = (await holder(process.pid)) ?? `${process.pid}`;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    if (await createExclusively(path, self)) return;
    const found = await readFile(path, 'utf8').catch(() => undefined);
    if (found === undefined) continue;
    if (await isAlive(found)) throw locked(path, found.split(' ')[0] ?? found);
    await removeStale(path, found);
  }
  throw locked(path, 'another process that starts');
}

/** The content is there from the first moment on, because link is atomic and open with write is not. */
async function createExclusively(path: string, content: string): Promise<boolean> {
  const own = `${path}.${process.pid}`;
  await rm(own, { force: true });
  const handle = await open(own, 'wx', 0o600);
  try {
    await handle.writeFile(content);
  } finally {
    await handle.close();
  }
  try {
    await link(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(own, { force: true });
  }
}

/** Moves the stale lock away; when another process has just taken it over, puts that one's back. */
async function removeStale(path: string, stale: string): Promise<void> {
  const aside = `${path}.stale.${process.pid}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await readFile(aside, 'utf8')) !== stale) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}

async function isAlive(content: string): Promise<boolean> {
  const pid = Number(content.split(' ')[0]);
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  const now = await holder(pid);
  if (now !== undefined && content.includes(' ')) return now === content;
  // Our own id without a lock held here is left over from an earlier process.
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Process id, start time in clock ticks and boot id, or undefined where /proc does not say. */
async function holder(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    // Field 22, counted behind the name in parentheses, which may hold spaces. proc(5).
    const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `${pid} ${started} ${boot.trim()}`;
  } catch {
    return undefined;
  }
}

function locked(path: string, by: string): BrokerError {
  return new BrokerError('ERR_DATA_LOCKED', `${path}: held by process ${by}`);
}
