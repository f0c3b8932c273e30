/** Where the repository lies; apart from services.ts, so that programs without jest can use it. */

import { resolve } from 'node:path';

export const REPOSITORY = resolve(import.meta.dirname, '../..');
