/** Writes edge.json and the example in the specification: `node --import tsx compute/vectors/generate.ts`. */

import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { withExamples } from '../../protocol/vectors/cases/generated-files.ts';
import { edgeVectors } from './cases.ts';

const root = resolve(import.meta.dirname, '../..');

/** Path below the repository → content; `read` gives the present text of a file. */
export function edgeFiles(read: (path: string) => string): ReadonlyMap<string, string> {
  const file = edgeVectors();
  const shown = { ...file, cases: file.cases.slice(0, 1) };
  return new Map([
    ['compute/vectors/edge.json', `${JSON.stringify(file, null, 2)}\n`],
    [file.spec, withExamples(read(file.spec), { name: 'edge', file: shown })],
  ]);
}

if (process.argv[1] === import.meta.filename) {
  for (const [path, content] of edgeFiles((each) => readFileSync(resolve(root, each), 'utf8'))) {
    writeFileSync(resolve(root, path), content);
    process.stdout.write(`${path}\n`);
  }
}
