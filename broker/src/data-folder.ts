/** The data folder: made on first start, used by one broker at a time, refused when a newer version wrote it. */

import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { BrokerError } from './errors.ts';
import { acquireLock } from './evidence/file-lock.ts';
import { replaceFile } from './replace-file.ts';

/** Version of everything below the folder; grows when an older broker could not read it. */
const DATA_VERSION = 1;

export interface DataFolder {
  readonly path: string;
  /** Gives the folder free for the next broker. */
  readonly close: () => Promise<void>;
}

/**
 * Opens and locks a data folder.
 *
 * @throws {BrokerError} ERR_DATA_LOCKED, ERR_DATA_NEWER.
 */
export async function openDataFolder(folder: string): Promise<DataFolder> {
  const path = resolve(folder);
  makeFolder(path);
  const close = await acquireLock(join(path, 'broker.lock'));
  try {
    checkVersion(join(path, 'version'));
  } catch (error) {
    await close();
    throw error;
  }
  return { path, close };
}

/** @throws {BrokerError} ERR_CONFIG. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const message = `dataDir: expected a folder that can be made or written, got ${path} (${code})`;
    throw new BrokerError('ERR_CONFIG', message, { cause });
  }
}

function checkVersion(path: string): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    replaceFile(path, `${DATA_VERSION}\n`, 0o644);
    return;
  }
  const version = Number(text.trim());
  if (!Number.isInteger(version) || version > DATA_VERSION) {
    throw new BrokerError(
      'ERR_DATA_NEWER',
      `data folder: expected version ${DATA_VERSION}, got ${JSON.stringify(text.trim().slice(0, 20))}`,
    );
  }
}
