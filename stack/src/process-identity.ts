/**
 * Names a process so that nobody else ever has the name: its id is given away again, after a crash, a reboot or in a
 * container; id, start time and boot of the machine together are not. Where /proc is missing, the id alone.
 */

import { readFileSync } from 'node:fs';

/** `<pid> <start time in clock ticks> <boot id>`, `<pid>` where the system does not say more. */
export function processIdentity(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    // Field 22, counted behind the name in parentheses, which may hold spaces. proc(5).
    const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `${pid} ${started} ${boot}`;
  } catch {
    return String(pid);
  }
}

/** Whether an identity names one process for ever: an id alone may be somebody else's by now. */
export function isProof(identity: string): boolean {
  return identity.trim().includes(' ');
}

/** The process with this identity, while it lives; null when it is gone, whoever has its id now. */
export function livingProcess(identity: string): number | null {
  const text = identity.trim();
  const pid = Number(text.split(' ')[0]);
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return null;
  }
  return isProof(text) && processIdentity(pid) !== text ? null : pid;
}
