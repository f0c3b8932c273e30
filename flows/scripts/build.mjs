/** Bundles the nodes into `dist/`, a package that a plain Node-RED (without tsx) can install. */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const dist = join(root, 'dist');
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);

const nodes = {};
for (const [type, source] of Object.entries(manifest['node-red'].nodes)) {
  const file = `${basename(source, '.js')}.cjs`;
  await build({
    entryPoints: [join(root, source)],
    outfile: join(dist, file),
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['cbor-extract'],
    logLevel: 'warning',
  });
  copyFileSync(join(root, source.replace(/\.js$/, '.html')), join(dist, `${type}.html`));
  nodes[type] = file;
}
const { name, version, description, license, keywords } = manifest;
const packed = {
  name,
  version,
  description,
  license,
  keywords,
  'node-red': { version: manifest['node-red'].version, nodes },
};
writeFileSync(join(dist, 'package.json'), `${JSON.stringify(packed, null, 2)}\n`);
