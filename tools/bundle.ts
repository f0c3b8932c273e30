/** Bundles of what users cannot compile: the dashboard for browsers, the nodes and the process of flows for Node-RED. */

import { copyFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { bundleDashboard } from '@fieldproof/analytics/server/dashboard-bundle';
import { type BuildOptions, build } from 'esbuild';
import { licencesOf } from './licences.ts';

const ROOT = resolve(import.meta.dirname, '..');

/** Fills `web/` of the analytics package: the page, its icon, its script and its style. */
export async function bundleWeb(folder: string): Promise<void> {
  const web = join(ROOT, 'analytics/web');
  const { files, metafile } = await bundleDashboard(web);
  for (const { name, contents } of files) writeFileSync(join(folder, name), contents);
  for (const name of ['index.html', 'icon.svg']) copyFileSync(join(web, name), join(folder, name));
  writeFileSync(join(folder, 'LICENSES.txt'), licencesOf([metafile]));
}

/**
 * Fills `dist/` of the flows package: `nodes.cjs` with all nodes, a `.cjs` and an `.html` for each as Node-RED wants
 * them, and `flows-main.js`. Plain CommonJS, because older Node-REDs load nothing else; bundled, so that a Node-RED gets the
 * nodes and not the stores' servers. `external` is what the package depends on.
 */
export async function bundleFlows(folder: string, external: readonly string[]): Promise<void> {
  const source = join(ROOT, 'flows/src');
  const nodes = readdirSync(join(source, 'nodes'))
    .filter((name) => name.endsWith('.html'))
    .map((name) => basename(name, '.html'));
  const shared = {
    bundle: true,
    platform: 'node',
    target: 'node20',
    metafile: true as const,
    logLevel: 'warning',
    legalComments: 'none',
    external: [...external, 'cbor-extract'],
  } satisfies BuildOptions & { metafile: true };
  const results = await Promise.all([
    build({
      ...shared,
      stdin: {
        contents: nodes
          .map((name) => `export { default as '${name}' } from './nodes/${name}.ts';`)
          .join('\n'),
        resolveDir: source,
        loader: 'ts',
      },
      outfile: join(folder, 'nodes.cjs'),
      format: 'cjs',
    }),
    build({
      ...shared,
      entryPoints: [join(source, 'flows-main.ts')],
      outfile: join(folder, 'flows-main.js'),
      format: 'esm',
    }),
  ]);
  for (const name of nodes) {
    writeFileSync(
      join(folder, `${name}.cjs`),
      `module.exports = require('./nodes.cjs')['${name}'];\n`,
    );
    copyFileSync(join(source, 'nodes', `${name}.html`), join(folder, `${name}.html`));
  }
  copyFileSync(join(source, 'default-flow.json'), join(folder, 'default-flow.json'));
  const metafiles = results.map(({ metafile }) => metafile);
  writeFileSync(join(folder, 'LICENSES.txt'), licencesOf(metafiles));
}
