/**
 * The file operations by which keys and the descriptor change: each is there whole or not at all, and durable when it
 * returns. Tests put a layer in its place that stops after any of them.
 */

import { closeSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { replaceFile } from './replace-file.ts';

export interface KeyFileLayer {
  /** @param mode - default 0600. */
  readonly replace: (path: string, content: Uint8Array | string, mode?: number) => void;
  /** Also over a file that is there. */
  readonly rename: (from: string, to: string) => void;
  /** Nothing when it is missing. */
  readonly remove: (path: string) => void;
}

export const nodeKeyFiles: KeyFileLayer = {
  replace: replaceFile,
  rename: (from, to) => {
    renameSync(from, to);
    syncFolder(dirname(to));
  },
  remove: (path) => {
    rmSync(path, { force: true });
    syncFolder(dirname(path));
  },
};

/** Makes the names in a folder durable. */
export function syncFolder(folder: string): void {
  const directory = openSync(folder, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
