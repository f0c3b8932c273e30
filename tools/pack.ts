/**
 * `npm run pack [-- FOLDER]`: makes what users install, a tarball for each package, in FOLDER (default `dist`).
 *
 * The repository itself runs from TypeScript and is never built; see docs/decisions/009-packages.md. A tarball has compiled JavaScript with
 * declarations (flows: bundles), what is read at run time, README, LICENSE and CHANGELOG.
 */

import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { bundleFlows, bundleWeb } from './bundle.ts';
import { bundleAgent } from './bundle-agent.ts';
import { compile } from './compile.ts';
import { type Manifest, publishedManifest, type SharedFields } from './manifest.ts';

const ROOT = resolve(import.meta.dirname, '..');

/** The folders of what is for users. */
export const PACKAGES = [
  'protocol',
  'compute',
  'device-agent',
  'broker',
  'analytics',
  'flows',
  'stack',
] as const;

/** Whose code is bundled instead of compiled. */
const BUNDLED = 'flows';
/** Found by what is in a package's `files` beside `dist`: copied as it is, unless it is made here. */
const MADE = ['dist', 'web', 'bundle'];
/** Whose package also has the bundle for devices. */
const ON_DEVICES = 'device-agent';

/** A package as it is published. */
export interface Packed {
  readonly tarball: string;
  readonly packedBytes: number;
  readonly unpackedBytes: number;
  readonly files: number;
}

/** Makes the tarballs. @throws {Error} when something does not compile or npm refuses. */
export async function pack(out: string): Promise<readonly Packed[]> {
  const work = mkdtempSync(join(tmpdir(), 'fieldproof-pack-'));
  try {
    await stage(work);
    mkdirSync(out, { recursive: true });
    return npmPack(
      PACKAGES.map((name) => join(work, name)),
      out,
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Makes the folder of every package below `staging`. */
async function stage(staging: string): Promise<void> {
  const compiled = join(staging, 'compiled');
  compile(
    PACKAGES.filter((name) => name !== BUNDLED),
    compiled,
  );
  const manifests = PACKAGES.map((name) => readJson(join(ROOT, name, 'package.json')) as Manifest);
  const root = readJson(join(ROOT, 'package.json')) as Manifest;
  const shared: SharedFields = {
    license: root.license,
    engines: root.engines,
    versions: Object.fromEntries(manifests.map(({ name, version }) => [name, version])),
  };
  for (const [index, name] of PACKAGES.entries()) {
    const manifest = publishedManifest(manifests[index]!, shared);
    const folder = join(staging, name);
    mkdirSync(join(folder, 'dist'), { recursive: true });
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    cpSync(join(ROOT, name, 'README.md'), join(folder, 'README.md'));
    for (const file of ['LICENSE', 'CHANGELOG.md']) cpSync(join(ROOT, file), join(folder, file));
    for (const file of (manifests[index]!.files as readonly string[]).filter(isCopied)) {
      cpSync(join(ROOT, name, file), join(folder, file), { recursive: true });
    }
    if (name === BUNDLED) {
      const { dependencies = {}, peerDependencies = {} } = manifest as Manifest & {
        peerDependencies?: Readonly<Record<string, string>>;
      };
      await bundleFlows(
        join(folder, 'dist'),
        Object.keys({ ...dependencies, ...peerDependencies }),
      );
    } else {
      cpSync(join(compiled, name, 'src'), join(folder, 'dist'), { recursive: true });
    }
    if (name === ON_DEVICES) await bundleAgent(join(folder, 'bundle'));
    if (existsSync(join(ROOT, name, 'web'))) {
      mkdirSync(join(folder, 'web'));
      await bundleWeb(join(folder, 'web'));
    }
  }
}

function isCopied(file: string): boolean {
  return !file.startsWith('!') && !MADE.includes(file);
}

function npmPack(folders: readonly string[], out: string): readonly Packed[] {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', out, ...folders];
  const { status, stdout, stderr } = spawnSync('npm', args, { encoding: 'utf8', cwd: out });
  if (status !== 0) throw new Error(`npm pack: ${stderr}`);
  const answers = JSON.parse(stdout) as readonly {
    readonly filename: string;
    readonly size: number;
    readonly unpackedSize: number;
    readonly files: readonly { readonly path: string }[];
  }[];
  return answers.map(({ filename, size, unpackedSize, files }) => ({
    tarball: join(out, basename(filename)),
    packedBytes: size,
    unpackedBytes: unpackedSize,
    files: files.length,
  }));
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}

if (process.argv[1] === import.meta.filename) {
  const out = resolve(process.argv[2] ?? join(ROOT, 'dist'));
  for (const { tarball, packedBytes, unpackedBytes, files } of await pack(out)) {
    const sizes = `${kilobytes(packedBytes)} packed, ${kilobytes(unpackedBytes)} unpacked`;
    process.stdout.write(`${tarball}  ${sizes}, ${files} files\n`);
  }
}

function kilobytes(bytes: number): string {
  return `${(bytes / 1000).toFixed(0)} kB`;
}
