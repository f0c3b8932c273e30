/** How far the flows of a network have stored what is recorded: what is behind that cannot be missed yet. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** For `fieldproof audit conservation`; none when nothing was read yet. */
export function cursorArguments(dataDir: string): string[] {
  const names = readdirSync(join(dataDir, 'flows'), { recursive: true, encoding: 'utf8' });
  const cursor = names.find((name) => name.endsWith('.cursor'));
  return cursor === undefined ? [] : ['--cursor', join(dataDir, 'flows', cursor)];
}
