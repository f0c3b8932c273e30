/** Bundles the dashboard's sources. Only in the repository: packages have the result (`tools/pack.ts`). */

import { basename, resolve } from 'node:path';
import { build, type Metafile } from 'esbuild';
import type { BundledFile } from './dashboard-assets.ts';

/** Bundles `analytics/web` into `main.js` and `main.css`. Takes some 100 ms. @throws esbuild's error when the sources do not build. */
export async function bundleDashboard(
  directory: string,
): Promise<{ readonly files: readonly BundledFile[]; readonly metafile: Metafile }> {
  const { outputFiles, metafile } = await build({
    entryPoints: [resolve(directory, 'main.ts')],
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    outdir: 'assets',
    format: 'esm',
    target: 'es2022',
    logLevel: 'silent',
    legalComments: 'none',
  });
  const files = outputFiles.map(({ path, contents }) => ({ name: basename(path), contents }));
  return { files, metafile };
}
