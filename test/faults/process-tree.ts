/** The processes that live now, as Linux tells: ids change with every restart, and only the kernel is never late. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Target } from './fault-plan.ts';

/** Part of the command line of each process of `npm start`. */
const MARKS: readonly (readonly [string, Target])[] = [
  ['broker-main', 'broker'],
  ['control-main', 'control'],
  ['flows-main', 'flows'],
  ['agents/this-machine', 'agent'],
  ['agents/roadside-', 'fleet'],
];

const HAS_LISTS = existsSync(listOf(process.pid));

/** The processes that `npm start` with this id has started and that live. A zombie has no command line. */
export function childrenOf(supervisor: number): ReadonlyMap<Target, number> {
  const found = new Map<Target, number>();
  for (const name of childIds(supervisor)) {
    const commandLine = read(`/proc/${name}/cmdline`);
    const mark = MARKS.find(([part]) => commandLine.includes(part));
    if (mark !== undefined) found.set(mark[1], Number(name));
  }
  return found;
}

function listOf(pid: number): string {
  return `/proc/${pid}/task/${pid}/children`;
}

/** From the list that the kernel keeps of what the main thread started; where it gives none, from all processes. */
function childIds(parent: number): readonly string[] {
  if (HAS_LISTS) return read(listOf(parent)).split(' ').filter(Boolean);
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parentOf(name) === parent);
}

/** Memory that the process has in RAM, KiB; undefined when it is gone. */
export function residentKib(pid: number): number | undefined {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`));
  return match === null ? undefined : Number(match[1]);
}

/** Field 4, counted behind the name in parentheses. proc(5). */
function parentOf(pid: string): number | undefined {
  const stat = read(`/proc/${pid}/stat`);
  const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return parent === undefined ? undefined : Number(parent);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
