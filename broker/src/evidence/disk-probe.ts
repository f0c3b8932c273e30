/**
 * Whether a folder takes writes: tried with a file of its own, so that a log which nobody writes to notices that its
 * disk has room again. Of the entries themselves nothing is written before there are some.
 */

import { join } from 'node:path';
import type { FileLayer } from './file-layer.ts';

const NAME = 'probe';
/** Room for the longest envelope and its entry; less would be found on disks that refuse the next one. */
const PROBE_BYTES = 131_072;

/** Writes, syncs and removes a file. Rejects with the error of the system when the disk refuses. */
export async function probeDisk(files: FileLayer, folder: string): Promise<void> {
  // One that is there has its blocks already: writing over it would say nothing about new ones.
  await removeProbe(files, folder);
  try {
    const file = await files.open(join(folder, NAME), 'write');
    try {
      await file.write(0, new Uint8Array(PROBE_BYTES));
      await file.sync();
    } finally {
      await file.close();
    }
  } finally {
    await removeProbe(files, folder);
  }
}

/** Removes what a probe left that was killed. */
export async function removeProbe(files: FileLayer, folder: string): Promise<void> {
  await files.remove(join(folder, NAME));
}
