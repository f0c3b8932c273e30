/** The tarballs of `npm run pack`, installed by npm outside the repository, and parts of that installation. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../../support/services.ts';

/** What npm says where no registry can be reached and its cache lacks something. */
const NO_REGISTRY = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTCACHED|ENETUNREACH/;

/** Makes all tarballs. @returns their paths by the last part of the package's name. */
export function packAll(out: string): ReadonlyMap<string, string> {
  run('npm', ['run', '--silent', 'pack', '--', out], REPOSITORY);
  return new Map(
    readdirSync(out).flatMap((file): [string, string][] => {
      const name = /^fieldproof-(.+)-\d+\.\d+\.\d+.*\.tgz$/.exec(file)?.[1];
      return name === undefined ? [] : [[name, join(out, file)]];
    }),
  );
}

/** Unpacks a tarball into a folder of its own. */
export function unpack(tarball: string, folder: string): string {
  mkdirSync(folder, { recursive: true });
  run('tar', ['-xzf', tarball, '--strip-components=1', '-C', folder], folder);
  return folder;
}

/**
 * `npm install` into a new folder.
 *
 * @returns null, or why this machine cannot: it reaches no registry.
 * @throws {Error} when npm fails for another reason.
 */
export function npmInstall(folder: string, what: readonly string[]): string | null {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const flags = ['--no-audit', '--no-fund', '--prefer-offline', '--fetch-retries=1'];
  const { status, stderr } = npm(['install', ...flags, '--loglevel=error', ...what], folder);
  if (status === 0) return null;
  if (NO_REGISTRY.test(stderr)) return `npm reaches no registry: ${firstLine(stderr)}`;
  throw new Error(`npm install: ${stderr}`);
}

/**
 * Puts into a new folder what npm would install there for these packages and nothing else: what their manifests ask for, as
 * the lockfile of a larger installation has it, by hard links. What is missing there was only hoisted.
 */
export function installPart(from: string, folder: string, roots: readonly string[]): void {
  const { packages } = JSON.parse(readFileSync(join(from, 'package-lock.json'), 'utf8')) as Lock;
  const wanted = new Set<string>();
  const queue = roots.map((name) => `node_modules/${name}`);
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (wanted.has(path)) continue;
    wanted.add(path);
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } =
      packages[path]!;
    const peers = Object.keys(peerDependencies ?? {}).filter(
      (name) => peerDependenciesMeta?.[name]?.optional !== true,
    );
    for (const name of [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers]) {
      const found = nearest(packages, path, name);
      // Optional ones for other machines are in the lockfile as well, and not on the disk.
      if (found !== undefined) queue.push(found);
    }
  }
  const modules = new Set([...wanted].map((path) => TOP.exec(path)![0]));
  for (const path of modules) {
    const target = join(folder, path);
    mkdirSync(join(target, '..'), { recursive: true });
    if (packages[path]?.optional === true && !exists(join(from, path))) continue;
    run('cp', ['-al', join(from, path), target], folder);
  }
  run('cp', ['-a', join(from, 'node_modules/.bin'), join(folder, 'node_modules/.bin')], folder);
}

interface Lock {
  readonly packages: Readonly<
    Record<
      string,
      {
        readonly dependencies?: Readonly<Record<string, string>>;
        readonly optionalDependencies?: Readonly<Record<string, string>>;
        readonly peerDependencies?: Readonly<Record<string, string>>;
        readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
        readonly optional?: boolean;
      }
    >
  >;
}

const TOP = /^node_modules\/(?:@[^/]+\/)?[^/]+/;

/** Where Node finds a package from another one's place. */
function nearest(packages: Lock['packages'], path: string, name: string): string | undefined {
  for (let place = path; ; ) {
    const candidate = `${place}${place === '' ? '' : '/'}node_modules/${name}`;
    if (candidate in packages) return candidate;
    if (place === '') return undefined;
    place = place.slice(0, Math.max(0, place.lastIndexOf('node_modules/') - 1));
  }
}

function exists(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch {
    return false;
  }
}

function npm(args: readonly string[], cwd: string) {
  // What npm hands to its scripts must not steer another npm.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([key]) => !/^npm_(config_local_prefix|package_|lifecycle)/.test(key),
    ),
  );
  return spawnSync('npm', args, { cwd, encoding: 'utf8', env: { ...env, NODE_OPTIONS: '' } });
}

/** @throws {Error} with what the program wrote. */
export function run(program: string, args: readonly string[], cwd: string): string {
  const env = { ...process.env, NODE_OPTIONS: '' };
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    encoding: 'utf8',
    env,
  });
  if (status !== 0) throw new Error(`${program}: ${error?.message ?? ''}${stderr}${stdout}`);
  return stdout;
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? '';
}
