/**
 * One agent per data folder. Two would number different envelopes alike, which the network must take for
 * a forged device (docs/spec/settlement.md 1.3, ERR_EQUIVOCATION).
 *
 * The lock is a file that names a process by id and start time, so that a process id that was given away
 * again, after a crash or in a container, holds nothing. Leaves out locks across machines (NFS).
 */

import { randomBytes } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError, codeOf } from './errors.ts';

export interface StateLock {
  release(): Promise<void>;
}

/**
 * Takes the lock of a folder.
 *
 * @throws {AgentError} ERR_AGENT_LOCKED while another process, or another agent of this one, holds it.
 */
export async function takeStateLock(folder: string): Promise<StateLock> {
  const path = join(folder, 'lock');
  const mine = `${process.pid} ${await startTimeOf(process.pid)} ${randomBytes(8).toString('hex')}\n`;
  const draft = `${path}.${randomBytes(4).toString('hex')}`;
  await writeFile(draft, mine, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 10; attempt += 1) {
      if (await claim(draft, path)) {
        return { release: () => releaseIfMine(path, mine) };
      }
      const holder = await readLock(path);
      if (holder === undefined) continue;
      if (await isAlive(holder)) {
        const pid = holder.split(' ')[0];
        throw new AgentError(
          'ERR_AGENT_LOCKED',
          `${path}: expected a free lock, got process ${pid}`,
        );
      }
      await removeDead(draft, path, holder);
    }
  } finally {
    await rm(draft, { force: true });
  }
  throw new AgentError('ERR_AGENT_LOCKED', `${path}: expected a free lock, got one taken just now`);
}

/** A hard link fails when the name exists, and the file behind it is complete from the start. */
async function claim(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Removes a dead process's lock. Of those that try at once, one gets the right to it (a second link), looks
 * again, and removes; so nobody removes a lock that was taken meanwhile.
 */
async function removeDead(draft: string, path: string, dead: string): Promise<void> {
  const right = `${path}.breaking`;
  if (!(await claim(draft, right))) {
    const holder = await readLock(right);
    if (holder !== undefined && !(await isAlive(holder))) await rm(right, { force: true });
    return;
  }
  try {
    if ((await readLock(path)) === dead) await rm(path, { force: true });
  } finally {
    await rm(right, { force: true });
  }
}

async function releaseIfMine(path: string, mine: string): Promise<void> {
  if ((await readLock(path)) === mine) await rm(path, { force: true });
}

async function readLock(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function isAlive(lock: string): Promise<boolean> {
  const [pidText = '', startTime = ''] = lock.split(' ');
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return false;
  }
  return (await startTimeOf(pid)) === startTime;
}

/** Field 22 of proc_pid_stat(5) with the machine's boot id; `-` where the system does not say. */
async function startTimeOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return `${bootId.trim()}/${afterName[19] ?? ''}`;
  } catch {
    return '-';
  }
}

/** The id of the process that holds a folder's lock, or undefined when it is free. */
export async function lockHolder(folder: string): Promise<number | undefined> {
  const holder = await readLock(join(folder, 'lock'));
  return holder !== undefined && (await isAlive(holder)) ? Number(holder.split(' ')[0]) : undefined;
}
