/** Writes edge.json, results.json and the examples in their specifications: `node --import tsx compute/vectors/generate.ts`. */

import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { withExamples } from '../../protocol/vectors/cases/generated-files.ts';
import type { VectorFile } from '../../protocol/vectors/cases/vector-file.ts';
import { edgeVectors } from './cases.ts';
import { resultVectors } from './result-cases.ts';

const root = resolve(import.meta.dirname, '../..');

/** Path below the repository → content; `read` gives the present text of a file. */
export function edgeFiles(read: (path: string) => string): ReadonlyMap<string, string> {
  const edge = edgeVectors();
  const results = resultVectors();
  return new Map([
    ['compute/vectors/edge.json', `${JSON.stringify(edge, null, 2)}\n`],
    [edge.spec, withExamples(read(edge.spec), { name: 'edge', file: firstOf(edge, 1) })],
    ['compute/vectors/results.json', `${JSON.stringify(results, null, 2)}\n`],
    [
      results.spec,
      withExamples(read(results.spec), { name: 'results', file: firstOf(results, 2) }),
    ],
  ]);
}

/** A document shows so many cases of the file. */
function firstOf(file: VectorFile, count: number): VectorFile {
  return { ...file, cases: file.cases.slice(0, count) };
}

if (process.argv[1] === import.meta.filename) {
  for (const [path, content] of edgeFiles((each) => readFileSync(resolve(root, each), 'utf8'))) {
    writeFileSync(resolve(root, path), content);
    process.stdout.write(`${path}\n`);
  }
}
