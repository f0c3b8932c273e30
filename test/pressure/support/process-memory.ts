/** Resident memory of a process from /proc; tests that judge it run where there is one. */

import { readFileSync } from 'node:fs';

/** MiB: now, and the most since the start of the process. */
export interface ProcessMemory {
  readonly rss: number;
  readonly peak: number;
}

/** Undefined where the system does not tell. */
export function memoryOf(pid: number): ProcessMemory | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    const of = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1]) / 1024;
    return { rss: of('VmRSS'), peak: of('VmHWM') };
  } catch {
    return undefined;
  }
}
