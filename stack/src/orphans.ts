/**
 * The processes of a network whose supervisor was killed. They notice and end, each in its own time; until then they
 * hold ports and locks. The next start waits for them, and ends those that cannot end by themselves. What is not
 * proved to be such a process gets no signal: its id may be anybody's by now.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from './data-folder.ts';
import { isProof, livingProcess } from './process-identity.ts';

const FILE = 'CHILDREN';
/** A process that stops in order takes 10 s at most (docs/spec/processes.md section 5). */
const PATIENCE_MS = 12_000;
const LOOK_EVERY_MS = 50;

/**
 * Notes which processes run below this data folder, for the start after a crash.
 *
 * @param identities - of living processes, taken when they were made: `processIdentity`.
 */
export function noteChildren(root: string, identities: readonly string[]): void {
  replaceFile(join(root, FILE), identities.map((identity) => `${identity}\n`).join(''));
}

/** Forgets them all, after an orderly stop. */
export function forgetChildren(root: string): void {
  rmSync(join(root, FILE), { force: true });
}

/**
 * Resolves when none of the noted processes lives. Those of which only the id is known are waited for and left alone.
 *
 * @returns how many have ended.
 */
export async function awaitOrphans(
  root: string,
  { patienceMs = PATIENCE_MS }: { readonly patienceMs?: number } = {},
): Promise<number> {
  const found = readNoted(join(root, FILE)).filter((noted) => livingProcess(noted) !== null);
  const living = () => found.filter((noted) => livingProcess(noted) !== null);
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const end = performance.now() + patienceMs;
    const awaited = signal === 'SIGTERM' ? living : () => living().filter(isProof);
    for (const noted of living().filter(isProof)) tell(noted, signal);
    while (awaited().length > 0 && performance.now() < end) {
      await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
    }
  }
  return found.length - living().length;
}

function readNoted(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

function tell(identity: string, signal: NodeJS.Signals): void {
  try {
    const pid = livingProcess(identity);
    if (pid !== null) process.kill(pid, signal);
  } catch {
    // gone meanwhile
  }
}
