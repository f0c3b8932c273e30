/** Where a server program is, if this machine has it. */

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Path of a program in PATH or /usr/sbin; null when there is none. */
export function findProgram(name: string): string | null {
  for (const folder of [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return null;
}
