/** Where a thread's code is, in the repository and in a package. */

/**
 * The file to start a thread with.
 *
 * Node 20 loads no TypeScript into a thread, whatever loader the process has: from sources, a `.mjs` beside the module registers the
 * loader and imports it. Compiled, it is the module itself, and the `.mjs` is not in the package.
 *
 * @param module - relative path of the thread's module, without extension.
 * @param from - `import.meta.url` of the caller.
 */
export function workerFile(module: string, from: string): URL {
  return new URL(`${module}${from.endsWith('.ts') ? '.mjs' : '.js'}`, from);
}
