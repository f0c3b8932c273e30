/** Compiles every package's TypeScript to JavaScript and declarations, each below `<out>/<package>/src`. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import ts from 'typescript';

const ROOT = resolve(import.meta.dirname, '..');

/** @throws {Error} with the compiler's messages when the types do not fit. */
export function compile(packages: readonly string[], out: string): void {
  const file = join(ROOT, 'tsconfig.json');
  const { config } = ts.readConfigFile(file, ts.sys.readFile) as { config: object };
  const { options, fileNames } = ts.parseJsonConfigFileContent(
    { ...config, include: packages.map((name) => `${name}/src/**/*.ts`) },
    ts.sys,
    ROOT,
  );
  const program = ts.createProgram(fileNames, {
    ...options,
    noEmit: false,
    declaration: true,
    rewriteRelativeImportExtensions: true,
    noEmitOnError: true,
    rootDir: ROOT,
    outDir: out,
  });
  const { diagnostics, emitSkipped } = program.emit();
  const problems = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
  if (emitSkipped || problems.length > 0) {
    throw new Error(
      ts.formatDiagnostics(problems, {
        getCanonicalFileName: (name) => relative(ROOT, name),
        getCurrentDirectory: () => ROOT,
        getNewLine: () => '\n',
      }),
    );
  }
  for (const name of readdirSync(out, { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.d.ts')) rewriteDeclaration(join(out, name));
  }
}

/** The compiler leaves `.ts` in the imports of declarations; not every reader follows these to a `.d.ts`. */
function rewriteDeclaration(path: string): void {
  const text = readFileSync(path, 'utf8');
  const rewritten = text.replaceAll(
    /((?:from |import\()['"]\.{1,2}\/[^'"]*)\.ts(['"])/g,
    '$1.js$2',
  );
  if (rewritten !== text) writeFileSync(path, rewritten);
}
