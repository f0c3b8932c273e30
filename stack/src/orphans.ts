/**
 * The processes of a network whose supervisor was killed. They notice and end, each in its own time; until then they
 * hold ports and locks. The next start waits for them, and ends those that cannot end by themselves.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from './data-folder.ts';
import { livingProcess, processIdentity } from './process-identity.ts';

const FILE = 'CHILDREN';
/** A process that stops in order takes 10 s at most (docs/spec/processes.md section 5). */
const PATIENCE_MS = 12_000;
const LOOK_EVERY_MS = 50;

/** Notes which processes run below this data folder, for the start after a crash. */
export function noteChildren(root: string, pids: readonly number[]): void {
  replaceFile(join(root, FILE), pids.map((pid) => `${processIdentity(pid)}\n`).join(''));
}

/**
 * Resolves when none of the noted processes lives.
 *
 * @returns how many there were.
 */
export async function awaitOrphans(
  root: string,
  { patienceMs = PATIENCE_MS }: { readonly patienceMs?: number } = {},
): Promise<number> {
  const noted = readNoted(join(root, FILE));
  const living = () => noted.flatMap((identity) => livingProcess(identity) ?? []);
  const found = living().length;
  const signals = found === 0 ? [] : (['SIGTERM', 'SIGKILL'] as const);
  for (const signal of signals) {
    const end = performance.now() + patienceMs;
    for (const pid of living()) tell(pid, signal);
    while (living().length > 0 && performance.now() < end) {
      await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
    }
  }
  return found;
}

function readNoted(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

function tell(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // gone meanwhile
  }
}
