/** Writes the vector files and the examples in docs/spec: `node --import tsx protocol/vectors/generate.ts`. */

import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { generatedFiles } from './cases/generated-files.ts';

const root = resolve(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(resolve(root, path), 'utf8');

for (const [path, content] of await generatedFiles(read)) {
  writeFileSync(resolve(root, path), content);
  process.stdout.write(`${path}\n`);
}
