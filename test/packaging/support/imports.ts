/** What a published file imports. */

import ts from 'typescript';

/** `createRequire(import.meta.url)('x')`, which is no import to the compiler. */
const REQUIRED = /createRequire\d*\(import\.meta\.url\)\(["']([^"']+)["']\)/g;

/** Specifiers of all imports, exports, dynamic imports and requires, also of types. */
export function importsOf(text: string): readonly string[] {
  const { importedFiles } = ts.preProcessFile(text, true, true);
  return [
    ...importedFiles.map(({ fileName }) => fileName),
    ...[...text.matchAll(REQUIRED)].map(([, name]) => name!),
  ];
}

/** The package of a bare specifier. */
export function packageOf(specifier: string): string {
  return /^(?:@[^/]+\/)?[^/]+/.exec(specifier)![0];
}
