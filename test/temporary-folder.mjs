/** One temporary folder for a run: whatever a test leaves behind goes with it. */

import { chmodSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let folder = null;

/** Before the workers start, so that they inherit it. */
export default function makeTemporaryFolder() {
  // Short: names of Unix sockets end at 107 bytes.
  folder = mkdtempSync(join(realpathSync(tmpdir()), 'fpt-'));
  // PostgreSQL does not run as root; its tests pass through here as another user.
  chmodSync(folder, 0o755);
  process.env.TMPDIR = folder;
  // Made when a test needs it; see support/program.ts.
  process.env.FIELDPROOF_TEST_COMPILED = join(folder, 'compiled');
}

export function removeTemporaryFolder() {
  if (folder !== null) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}
