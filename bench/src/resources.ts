/** Everything a benchmark starts is ended again, in reverse order: when it is done, fails, or is interrupted. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Close = () => Promise<void> | void;

/** Hands over what is to be closed later. */
export type Own = (close: Close) => void;

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** What runs at present, the innermost last. */
const scopes: (() => Promise<void>)[] = [];

/** Runs `body` and closes whatever it has owned, whichever way it ends. */
export async function withResources<T>(body: (own: Own) => Promise<T>): Promise<T> {
  const open: Close[] = [];
  const closeAll = async (): Promise<void> => {
    for (let close = open.pop(); close !== undefined; close = open.pop()) await close();
  };
  if (scopes.length === 0) for (const signal of SIGNALS) process.once(signal, interrupted);
  scopes.push(closeAll);
  try {
    return await body((close) => open.push(close));
  } finally {
    await closeAll();
    scopes.splice(scopes.indexOf(closeAll), 1);
    if (scopes.length === 0) for (const signal of SIGNALS) process.off(signal, interrupted);
  }
}

function interrupted(): void {
  const closeScopes = async (): Promise<void> => {
    for (const closeAll of scopes.slice().reverse()) await closeAll();
  };
  void closeScopes().finally(() => process.exit(130));
}

/** A folder that is removed at the end. */
export function temporaryFolder(own: Own): string {
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-bench-'));
  own(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
