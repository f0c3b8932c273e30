/** The processes that live now, as Linux tells: ids change with every restart, and only the kernel is never late. */

import { readdirSync, readFileSync } from 'node:fs';
import type { Target } from './fault-plan.ts';

/** Part of the command line of each process of `npm start`. */
const MARKS: readonly (readonly [string, Target])[] = [
  ['broker-main', 'broker'],
  ['control-main', 'control'],
  ['flows-main', 'flows'],
  ['agents/this-machine', 'agent'],
  ['agents/roadside-', 'fleet'],
];

/** The processes that `npm start` with this id has started and that live. */
export function childrenOf(supervisor: number): ReadonlyMap<Target, number> {
  const found = new Map<Target, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || parentOf(name) !== supervisor) continue;
    const commandLine = read(`/proc/${name}/cmdline`);
    const mark = MARKS.find(([part]) => commandLine.includes(part));
    if (mark !== undefined) found.set(mark[1], Number(name));
  }
  return found;
}

/** Memory that the process has in RAM, KiB; undefined when it is gone. */
export function residentKib(pid: number): number | undefined {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`));
  return match === null ? undefined : Number(match[1]);
}

/** Field 4, counted behind the name in parentheses; a zombie has no parent here. proc(5). */
function parentOf(pid: string): number | undefined {
  const stat = read(`/proc/${pid}/stat`);
  const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' ? undefined : Number(parent);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
