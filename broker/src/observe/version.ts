/** The version of this package, as its package.json has it. */

import { readFileSync } from 'node:fs';

// The same path from `src/observe` and from `dist/observe`.
const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { readonly version: string };

export const VERSION = version;
