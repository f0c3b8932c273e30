/** The data folder: its layout, its format version, and one network at a time in it. */

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { StackError } from './errors.ts';
import { livingProcess, processIdentity } from './process-identity.ts';

/** Version of everything below the folder; another one is refused, never guessed at. */
export const DATA_VERSION = 1;

export interface DataFolder {
  readonly root: string;
  readonly broker: string;
  readonly control: string;
  readonly flows: string;
  readonly agents: string;
  readonly logs: string;
}

/**
 * Opens or creates the folder and takes its lock.
 *
 * @throws {StackError} ERR_DATA_FOLDER, ERR_DATA_VERSION, ERR_ALREADY_RUNNING.
 */
export function openDataFolder(path: string): DataFolder {
  const root = resolve(path);
  const folder: DataFolder = {
    root,
    broker: join(root, 'broker'),
    control: join(root, 'control'),
    flows: join(root, 'flows'),
    agents: join(root, 'agents'),
    logs: join(root, 'logs'),
  };
  try {
    for (const directory of Object.values(folder))
      mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new StackError('ERR_DATA_FOLDER', `data folder ${root}: ${(cause as Error).message}`, {
      cause,
    });
  }
  checkVersion(root);
  takeLock(root);
  return folder;
}

export function releaseDataFolder(folder: DataFolder): void {
  rmSync(lockPath(folder.root), { force: true });
}

/** Replaces a file whole: temp, fsync, rename. */
export function replaceFile(path: string, content: string): void {
  const temporary = `${path}.tmp`;
  const file = openSync(temporary, 'w', 0o600);
  writeFileSync(file, content);
  fsyncSync(file);
  closeSync(file);
  renameSync(temporary, path);
}

function checkVersion(root: string): void {
  const path = join(root, 'VERSION');
  let found: string;
  try {
    found = readFileSync(path, 'utf8').trim();
  } catch {
    replaceFile(path, `${DATA_VERSION}\n`);
    return;
  }
  if (found !== String(DATA_VERSION)) {
    throw new StackError(
      'ERR_DATA_VERSION',
      `data folder ${root}: expected format version ${DATA_VERSION}, got ${found.slice(0, 20)}`,
    );
  }
}

function lockPath(root: string): string {
  return join(root, 'RUNNING');
}

function takeLock(root: string): void {
  const path = lockPath(root);
  const holder = livingProcess(readOrNull(path) ?? '');
  if (holder !== null && holder !== process.pid) {
    throw new StackError('ERR_ALREADY_RUNNING', `data folder ${root}: in use by process ${holder}`);
  }
  writeFileSync(path, `${processIdentity(process.pid)}\n`, { mode: 0o600 });
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}
