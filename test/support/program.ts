/**
 * Programs of the repository as processes that tests start. In a test run they are compiled once, see
 * compile-repository.mjs; elsewhere (`npm run soak`) they run from sources.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { REPOSITORY } from './repository.ts';

/** Where this test run has its compiled repository, or will; see temporary-folder.mjs. */
const COMPILED = process.env.FIELDPROOF_TEST_COMPILED;

/** What to spawn for a module, named by its path in the repository: compiled, or the source itself. */
export function programPath(module: string): string {
  return COMPILED === undefined
    ? join(REPOSITORY, module)
    : join(compiled(COMPILED), module.replace(/\.ts$/, '.js'));
}

/** The arguments of Node that run it. */
export function programArguments(module: string): readonly string[] {
  return COMPILED === undefined ? sourceArguments(module) : [programPath(module)];
}

/** The same from its source, as `npm start` and the commands of the repository run it. */
export function sourceArguments(module: string): readonly string[] {
  const path = join(REPOSITORY, module);
  const tsx = createRequire(import.meta.url).resolve('tsx');
  return module.endsWith('.ts') ? ['--import', pathToFileURL(tsx).href, path] : [path];
}

/** Compiles at the first call of a test run. Two workers may both do so: the first that is done wins. */
function compiled(folder: string): string {
  if (existsSync(folder)) return folder;
  const own = `${folder}-${process.pid}`;
  const script = join(REPOSITORY, 'test/support/compile-repository.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script, own, folder], {
    env: { ...process.env, NODE_OPTIONS: '' },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`compiling the repository for tests: ${stderr}`);
  try {
    renameSync(own, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
    rmSync(own, { recursive: true, force: true });
  }
  return folder;
}
