/**
 * What somebody who helps needs to know, in one file, without secrets: what the running broker says of itself, and
 * what can be seen of its data folder from outside, also while it is down. Of files only names, sizes and dates; in
 * every text secrets are taken out once more.
 */

import { lstatSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import { arch, cpus, freemem, loadavg, platform, release, totalmem, uptime } from 'node:os';
import { join, relative } from 'node:path';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { passwordIn, Scrubber, secretsIn } from './scrubber.ts';
import { VERSION } from './version.ts';

/** Of the folder listing. */
const MAX_FILES = 2000;
const MAX_DEPTH = 6;
/** Small files that are public anyhow. */
const PUBLIC_FILES = [
  'version',
  'http.url',
  'keys/root.pub',
  'keys/control.pub',
  'keys/ledger.pub',
];

export interface ListedFile {
  readonly path: string;
  readonly bytes: number;
  /** Permissions, octal. */
  readonly mode: string;
  readonly changed: string;
}

export interface BundleOptions {
  readonly dataDir: string;
  /** What the broker answered to `GET /admin/support`; null when it did not. */
  readonly broker: unknown;
  /** Why it did not. */
  readonly unreachable: string | null;
  /** Environment of the process, for the version of the settings that it holds. */
  readonly environment: NodeJS.ProcessEnv;
  readonly now: number;
}

/** Collects it all. What cannot be read is left out and named in `missing`. */
export function collectBundle(options: BundleOptions): Readonly<Record<string, unknown>> {
  const { dataDir, broker, unreachable, environment, now } = options;
  const missing: string[] = unreachable === null ? [] : [`the running broker: ${unreachable}`];
  const attempt = <T>(what: string, read: () => T): T | null => {
    try {
      return read();
    } catch (error) {
      missing.push(`${what}: ${(error as { code?: string }).code ?? 'cannot be read'}`);
      return null;
    }
  };
  const scrubber = new Scrubber();
  for (const secret of secretsIn(dataDir)) scrubber.add(secret);
  for (const value of Object.values(environment)) scrubber.add(passwordIn(value ?? '') ?? '');
  const bundle = {
    format: 'fieldproof-support-bundle/1',
    made: new Date(now).toISOString(),
    missing,
    versions: { broker: VERSION, ...process.versions },
    machine: attempt('machine', machine),
    /** Names only: what they hold may be secret. */
    environment: Object.keys(environment).filter((name) =>
      /^(FIELDPROOF_|DATABASE_URL$)/.test(name),
    ),
    disk: attempt('disk', () => diskOf(dataDir)),
    files: attempt('data folder', () => listFiles(dataDir)),
    publicFiles: publicFiles(dataDir),
    descriptor: attempt('descriptor.cose', () =>
      toBase64url(readFileSync(join(dataDir, 'descriptor.cose'))),
    ),
    broker,
  };
  return scrubAll(bundle, scrubber) as Readonly<Record<string, unknown>>;
}

/** What is in a bundle, a line for each part. */
export function describeBundle(bundle: Readonly<Record<string, unknown>>): readonly string[] {
  const broker = (bundle.broker ?? {}) as Readonly<Record<string, unknown>>;
  const parts = { ...bundle, ...broker };
  const count = (key: string) => (Array.isArray(parts[key]) ? `${parts[key].length}` : 'no');
  const isThere = (key: string) => parts[key] !== null && parts[key] !== undefined;
  const lines: readonly (readonly [boolean, string])[] = [
    [true, 'versions, machine, disk, names of environment variables'],
    [isThere('files'), `${count('files')} names and sizes of files in the data folder`],
    [isThere('descriptor'), 'network descriptor (public)'],
    [isThere('config'), 'settings without passwords'],
    [isThere('status'), 'status and open problems'],
    [isThere('metrics'), 'metrics'],
    [isThere('log'), `the last ${count('log')} lines of the log`],
    [isThere('certificates'), 'dates of certificates'],
    [isThere('devices'), 'numbers of devices'],
    [isThere('deviceList'), `${count('deviceList')} devices with their names`],
  ];
  const there = lines.filter(([is]) => is).map(([, line]) => `  ${line}`);
  const missing = (bundle.missing as readonly string[]).map((line) => `  not in it: ${line}`);
  return [...there, ...missing];
}

function machine() {
  return {
    ...{ platform: platform(), release: release(), arch: arch() },
    ...{ cpus: cpus().length, model: cpus()[0]?.model ?? '', load: loadavg() },
    ...{ memoryBytes: totalmem(), freeMemoryBytes: freemem(), uptimeS: uptime() },
  };
}

function diskOf(dataDir: string) {
  const { bavail, blocks, bsize, files, ffree } = statfsSync(dataDir);
  return { freeBytes: bavail * bsize, bytes: blocks * bsize, inodes: files, freeInodes: ffree };
}

/** Every file below a folder, those near its top first, up to a limit; links are not followed. */
function listFiles(folder: string): readonly ListedFile[] {
  const found: ListedFile[] = [];
  let level = [folder];
  for (let depth = 0; level.length > 0 && depth <= MAX_DEPTH; depth++) {
    const next: string[] = [];
    for (const path of level) {
      // The folder itself must be readable; of one below it that is not, its name is enough.
      for (const entry of depth === 0 ? readEntries(path) : entriesIfAny(path)) {
        if (found.length >= MAX_FILES) return found;
        const full = join(path, entry.name);
        if (entry.isDirectory()) next.push(full);
        const stat = lstatSync(full, { throwIfNoEntry: false });
        if (stat === undefined) continue;
        found.push({
          path: relative(folder, full),
          bytes: stat.size,
          mode: (stat.mode & 0o7777).toString(8),
          changed: stat.mtime.toISOString(),
        });
      }
    }
    level = next;
  }
  return found;
}

function readEntries(folder: string) {
  return readdirSync(folder, { withFileTypes: true });
}

function entriesIfAny(folder: string) {
  try {
    return readEntries(folder);
  } catch {
    return [];
  }
}

function publicFiles(dataDir: string): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of PUBLIC_FILES) {
    try {
      found[name] = readFileSync(join(dataDir, name), 'utf8').trim().slice(0, 200);
    } catch {
      // Not every data folder has them all.
    }
  }
  return found;
}

/** Each text by itself, so that what comes out is still the same structure. */
function scrubAll(value: unknown, scrubber: Scrubber): unknown {
  if (typeof value === 'string') return scrubber.scrub(value);
  if (Array.isArray(value)) return value.map((item) => scrubAll(item, scrubber));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [scrubber.scrub(key), scrubAll(item, scrubber)]),
  );
}
