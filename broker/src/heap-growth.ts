/**
 * How far the heap may grow between two collections of all of it. V8 by itself lets it grow by a fifth or less when it has
 * ten thousand devices in it and little is thrown away, and so goes through all of them every few seconds: docs/reports/connections.md.
 */

import { setFlagsFromString } from 'node:v8';

/** Of what was alive after the last collection. */
const GROWTH_PERCENT = 60;

/** For a process that is a broker and nothing else: it concerns every heap in it. */
export function letHeapGrow(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
