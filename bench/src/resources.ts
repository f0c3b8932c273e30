/** Everything a benchmark starts is ended again, in reverse order: when it is done, fails, or is interrupted. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Close = () => Promise<void> | void;

/** Hands over what is to be closed later. */
export type Own = (close: Close) => void;

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Runs `body` and closes whatever it has owned, whichever way it ends. */
export async function withResources<T>(body: (own: Own) => Promise<T>): Promise<T> {
  const open: Close[] = [];
  const closeAll = async (): Promise<void> => {
    for (let close = open.pop(); close !== undefined; close = open.pop()) await close();
  };
  const interrupted = (): void => {
    void closeAll().finally(() => process.exit(130));
  };
  for (const signal of SIGNALS) process.once(signal, interrupted);
  try {
    return await body((close) => open.push(close));
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupted);
    await closeAll();
  }
}

/** A folder that is removed at the end. */
export function temporaryFolder(own: Own): string {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-bench-'));
  own(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
