/**
 * A disk that can be filled and freed: a tmpfs of some MiB where this process may mount one, else a folder and a module
 * that is preloaded into the processes under test and answers ENOSPC to their writes while a file says so.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface SmallDisk {
  readonly form: 'tmpfs' | 'preload';
  readonly path: string;
  /** For the processes that write to it. */
  readonly env: Readonly<Record<string, string>>;
  fill(): void;
  free(): void;
  /** Only when nobody uses it any more. */
  remove(): void;
}

const PRELOAD = pathToFileURL(join(import.meta.dirname, 'full-disk.mjs')).href;

export function makeSmallDisk(mebibytes: number): SmallDisk {
  const root = mkdtempSync(join(tmpdir(), 'fieldproof-small-disk-'));
  const path = join(root, 'disk');
  const flag = join(root, 'full');
  mkdirSync(path);
  const isMounted = process.env.FULL_DISK !== 'preload' && mount(path, mebibytes);
  const filler = join(path, 'filler');
  return {
    form: isMounted ? 'tmpfs' : 'preload',
    path,
    env: isMounted
      ? { NODE_OPTIONS: '' }
      : { NODE_OPTIONS: `--import=${PRELOAD}`, FULL_DISK_FLAG: flag },
    fill: () => (isMounted ? fillUp(filler) : writeFileSync(flag, '')),
    free: () => rmSync(isMounted ? filler : flag, { force: true }),
    remove: () => {
      if (isMounted) execFileSync('umount', ['--lazy', path]);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

function mount(path: string, mebibytes: number): boolean {
  try {
    const options = ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'fieldproof-test', path];
    execFileSync('mount', options, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function fillUp(path: string): void {
  const file = openSync(path, 'a');
  try {
    for (let bytes = 1 << 20; bytes >= 1; ) {
      try {
        writeSync(file, Buffer.alloc(bytes));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        bytes = bytes >>> 1;
      }
    }
  } finally {
    closeSync(file);
  }
}
