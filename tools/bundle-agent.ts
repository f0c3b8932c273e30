/**
 * `npm run bundle [-- FOLDER]`: makes what a device needs beside Node, in FOLDER (default `dist/agent`): `fieldproof-agent.mjs`,
 * `gateway.mjs`, `edge.mjs` and a file of `sensors/` for each driver, loaded when they are configured, and `LICENSES.txt`. Nothing in it is native or of
 * this machine, and the same sources give the same bytes.
 */

import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { licencesOf } from './licences.ts';

const ROOT = resolve(import.meta.dirname, '..');
const SOURCE = join(ROOT, 'device-agent/src');

/** CommonJS packages call `require` for modules of Node, which ES modules do not have. */
const REQUIRE =
  "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);";
/**
 * What the agent does without: of mqtt.js it uses the client, on a socket of its own. Left out are WebSockets, SOCKS, traces
 * of what it does and the timers of browsers; Node's own streams do what readable-stream does.
 */
const SUBSTITUTES: Readonly<Record<string, string>> = {
  mqtt: "exports.MqttClient = require('mqtt/lib/client').default;",
  debug: 'module.exports = () => () => {};',
  'readable-stream': "module.exports = require('node:stream');",
  'worker-timers':
    'exports.setInterval = setInterval; exports.clearInterval = clearInterval; exports.setTimeout = setTimeout; exports.clearTimeout = clearTimeout;',
};
/** A driver may want all of mqtt.js. */
const DRIVER_SUBSTITUTES = ['readable-stream', 'worker-timers'];

/** What was made. */
export interface AgentBundle {
  readonly core: string;
  readonly coreBytes: number;
  readonly gatewayBytes: number;
  readonly edgeBytes: number;
  /** Names of the drivers, sorted. */
  readonly drivers: readonly string[];
  readonly driverBytes: number;
}

/** Fills a folder with the bundle; an older one in it is replaced. @throws {Error} when something does not build. */
export async function bundleAgent(folder: string): Promise<AgentBundle> {
  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, 'sensors'), { recursive: true, force: true });
  const core = join(folder, 'fieldproof-agent.mjs');
  const found = new Set<string>();
  const coreBuild = await build({
    ...SHARED,
    entryPoints: [join(SOURCE, 'main.ts')],
    outfile: core,
    plugins: [
      substitutes(Object.keys(SUBSTITUTES)),
      driversApart(found),
      apart({ module: 'gateway/gateway.ts', file: 'gateway.mjs' }),
      apart({ module: 'edge/edge-parts.ts', file: 'edge.mjs' }),
    ],
  });
  const gateway = join(folder, 'gateway.mjs');
  const gatewayBuild = await build({
    ...SHARED,
    entryPoints: [join(SOURCE, 'gateway/gateway.ts')],
    outfile: gateway,
  });
  const edge = join(folder, 'edge.mjs');
  const edgeBuild = await build({
    ...SHARED,
    entryPoints: [join(SOURCE, 'edge/edge-parts.ts')],
    outfile: edge,
  });
  const drivers = [...found].sort();
  const driverBuild = await build({
    ...SHARED,
    entryPoints: drivers.map((name) => join(SOURCE, 'sensors', `${name}.ts`)),
    outdir: join(folder, 'sensors'),
    outExtension: { '.js': '.mjs' },
    // mqtt.js once for the three that speak MQTT.
    splitting: true,
    chunkNames: 'shared-[hash]',
    plugins: [substitutes(DRIVER_SUBSTITUTES)],
  });
  const builds = [coreBuild, gatewayBuild, edgeBuild, driverBuild];
  const metafiles = builds.map(({ metafile }) => metafile);
  writeFileSync(join(folder, 'LICENSES.txt'), licencesOf(metafiles));
  copyFileSync(join(SOURCE, '../agent.example.yaml'), join(folder, 'agent.example.yaml'));
  chmodSync(core, 0o755);
  const files = readdirSync(join(folder, 'sensors'));
  const sizes = files.map((name) => statSync(join(folder, 'sensors', name)).size);
  return {
    core,
    coreBytes: statSync(core).size,
    gatewayBytes: statSync(gateway).size,
    edgeBytes: statSync(edge).size,
    drivers,
    driverBytes: sizes.reduce((sum, size) => sum + size, 0),
  };
}

const SHARED = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  minify: true,
  metafile: true as const,
  legalComments: 'none',
  logLevel: 'warning',
  banner: { js: REQUIRE },
  define: { FIELDPROOF_BUNDLED: 'true' },
} satisfies BuildOptions & { metafile: true };

/** Drivers, as `sensors/drivers.ts` imports them, stay files of their own. */
function driversApart(found: Set<string>): Plugin {
  return {
    name: 'drivers-apart',
    setup({ onResolve }) {
      onResolve({ filter: /^\.\/[a-z0-9-]+\.ts$/ }, ({ kind, path, importer }) => {
        if (kind !== 'dynamic-import' || importer !== join(SOURCE, 'sensors/drivers.ts')) return;
        const name = path.slice('./'.length, -'.ts'.length);
        found.add(name);
        return { path: `./sensors/${name}.mjs`, external: true };
      });
    },
  };
}

/** A part that is loaded where it is used: a file of its own, for the devices that need it. */
function apart(part: { readonly module: string; readonly file: string }): Plugin {
  const path = join(SOURCE, part.module);
  return {
    name: `apart: ${part.file}`,
    setup({ onResolve, onEnd }) {
      let isFound = false;
      onResolve({ filter: /^\.{1,2}\// }, ({ kind, path: asked, resolveDir }) => {
        if (kind !== 'dynamic-import' || join(resolveDir, asked) !== path) return undefined;
        isFound = true;
        return { path: `./${part.file}`, external: true };
      });
      onEnd(({ metafile }) => {
        const inCore = Object.keys(metafile?.inputs ?? {}).map((input) => join(ROOT, input));
        if (isFound && !inCore.includes(path)) return;
        throw new Error(`${part.module}: expected the core to load it from ${part.file} only`);
      });
    },
  };
}

function substitutes(names: readonly string[]): Plugin {
  return {
    name: 'substitutes',
    setup({ onResolve, onLoad }) {
      const filter = new RegExp(`^(${names.join('|')})$`);
      onResolve({ filter }, ({ path }) => ({ path, namespace: 'substitute' }));
      onLoad({ filter: /./, namespace: 'substitute' }, ({ path }) => ({
        contents: SUBSTITUTES[path]!,
        resolveDir: SOURCE,
      }));
    },
  };
}

if (process.argv[1] === import.meta.filename) {
  const { core, coreBytes, gatewayBytes, edgeBytes, drivers, driverBytes } = await bundleAgent(
    resolve(process.argv[2] ?? join(ROOT, 'dist/agent')),
  );
  const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(0)} kB`;
  process.stdout.write(`${core}  ${kilobytes(coreBytes)}\n`);
  process.stdout.write(`gateway.mjs  ${kilobytes(gatewayBytes)}\n`);
  process.stdout.write(`edge.mjs  ${kilobytes(edgeBytes)}\n`);
  process.stdout.write(
    `sensors/  ${drivers.length} drivers, ${kilobytes(driverBytes)}: ${drivers.join(', ')}\n`,
  );
}
