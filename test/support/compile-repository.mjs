/**
 * `node test/support/compile-repository.mjs OUT [FINAL]`: the repository as JavaScript below OUT, laid out as it is, for the
 * processes that tests start. A loader that compiles in each of them costs more than most of them do. OUT is moved to FINAL later.
 *
 * Packages are compiled as `tools/pack.ts` publishes them: `.ts` in imports becomes `.js`, the dashboard is bundled.
 */

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const ROOT = resolve(import.meta.dirname, '../..');
const OUT = resolve(process.argv[2]);
/** What links name. */
const FINAL = resolve(process.argv[3] ?? OUT);
const { workspaces } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
/** Bundled, and then copied. */
const WEB = 'analytics/web';
/** Of the tests, only code. */
const COPIED = { test: /\.(mjs|json)$/, rest: /\.(?!md$)[a-z]+$/ };
const LOADER = /import \{ register \} from 'tsx\/esm\/api';\n\nregister\(\);\n/;
const IMPORT = /(\bfrom\s*|\bimport\s*\(?\s*)(["'])(\.{1,2}\/[^"'\n]+)\.ts\2/g;

const files = workspaces.flatMap((name) => filesBelow(name));
const sources = files.filter((path) => path.endsWith('.ts'));
await build({
  entryPoints: sources.map((path) => ({ in: join(ROOT, path), out: compiledName(path) })),
  outdir: OUT,
  format: 'esm',
  target: 'node20',
  logLevel: 'warning',
});
for (const path of sources) rewrite(join(OUT, `${compiledName(path)}.js`), path);
for (const path of files) if (!path.endsWith('.ts')) copy(path);
writeFileSync(join(OUT, 'package.json'), '{ "type": "module" }\n');
linkModules();
await bundleWeb();

/** Paths from the root. */
function filesBelow(folder) {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      const isSkipped = /^(node_modules|userdir|data|dist|vectors|\..*)$/.test(entry.name);
      return (isSkipped && path !== 'stack/demo/data') || path === WEB ? [] : filesBelow(path);
    }
    const copied = folder.startsWith('test') ? COPIED.test : COPIED.rest;
    const isWanted = entry.name.endsWith('.ts')
      ? !/\.(test|d)\.ts$/.test(entry.name)
      : copied.test(entry.name);
    return isWanted ? [path] : [];
  });
}

/** Without `.js`: what Node-RED loads has the name already. */
function compiledName(path) {
  const name = path.slice(0, -3);
  return existsSync(join(ROOT, `${name}.js`)) ? `${name}-compiled` : name;
}

function copy(path) {
  const out = join(OUT, path);
  mkdirSync(dirname(out), { recursive: true });
  if (/\.[mc]?js$/.test(path)) {
    cpSync(join(ROOT, path), out);
    rewrite(out, path);
  } else if (basename(path) === 'package.json') {
    writeFileSync(out, readFileSync(join(ROOT, path), 'utf8').replaceAll('.ts"', '.js"'));
  } else cpSync(join(ROOT, path), out);
}

function rewrite(out, path) {
  const code = readFileSync(out, 'utf8');
  const plain = code.replace(LOADER, '').replace(IMPORT, (_, before, quote, module) => {
    const name = compiledName(`${join(dirname(path), module)}.ts`);
    return `${before}${quote}${module.endsWith(basename(name)) ? module : `${module}-compiled`}.js${quote}`;
  });
  writeFileSync(out, plain);
}

/** The modules that are installed, with our own packages compiled. */
function linkModules() {
  const ours = join(OUT, 'node_modules/@fieldproof');
  mkdirSync(ours, { recursive: true });
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name !== '@fieldproof') {
      symlinkSync(join(ROOT, 'node_modules', name), join(OUT, 'node_modules', name));
    }
  }
  for (const name of readdirSync(join(ROOT, 'node_modules/@fieldproof'))) {
    const path = relative(ROOT, realpathSync(join(ROOT, 'node_modules/@fieldproof', name)));
    symlinkSync(join(FINAL, path), join(ours, name));
  }
  for (const name of workspaces) {
    const own = join(ROOT, name, 'node_modules');
    if (existsSync(own)) symlinkSync(own, join(OUT, name, 'node_modules'));
  }
}

async function bundleWeb() {
  const module = join(OUT, 'analytics/src/server/dashboard-bundle.js');
  const { bundleDashboard } = await import(pathToFileURL(module).href);
  const { files: bundled } = await bundleDashboard(join(ROOT, WEB));
  mkdirSync(join(OUT, WEB));
  for (const { name, contents } of bundled) writeFileSync(join(OUT, WEB, name), contents);
  for (const name of ['index.html', 'icon.svg'])
    cpSync(join(ROOT, WEB, name), join(OUT, WEB, name));
}
