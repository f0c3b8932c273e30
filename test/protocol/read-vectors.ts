/** Published vectors that lie in `test/vectors/`. */
import { readFileSync } from 'node:fs';

/** The parsed JSON of a vector file, such as `rfc6962/roots.json`. */
export function readVectors<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(`../vectors/${path}`, import.meta.url), 'utf8')) as T;
}
