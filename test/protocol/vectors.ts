/** Where test vectors lie: the copies in test/vectors, and the shared sets where VECTORS_DIR points to. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');
const SHARED = process.env.VECTORS_DIR ?? join(ROOT, '..', 'shared', 'vectors');

/** A JSON file of test/vectors. */
export function vectors<T>(path: string): T {
  return JSON.parse(readFileSync(join(ROOT, 'test', 'vectors', path), 'utf8')) as T;
}

/** A JSON file of the shared sets, or undefined where there are none. */
export function sharedVectors<T>(path: string): T | undefined {
  const file = join(SHARED, path);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as T) : undefined;
}
