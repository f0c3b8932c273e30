/**
 * The dashboard's files: one page, one script, one style. In the repository they are bundled in memory when the server
 * starts; a package has them bundled.
 *
 * Script and style are named by their hash and may be kept for ever; the page is asked for each time.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

const WEB = resolve(import.meta.dirname, '../../web');
const BUNDLED = ['main.js', 'main.css'];

export interface DashboardAsset {
  readonly type: string;
  readonly body: Buffer;
}

export interface DashboardAssets {
  readonly page: DashboardAsset;
  readonly icon: DashboardAsset;
  /** By file name below /assets/. */
  readonly files: ReadonlyMap<string, DashboardAsset>;
}

/** `main.js` or `main.css`. */
export interface BundledFile {
  readonly name: string;
  readonly contents: Uint8Array;
}

/** Takes some 100 ms with sources. @throws esbuild's error when the sources do not build. */
export async function buildDashboard(directory = WEB): Promise<DashboardAssets> {
  const [bundle, template, icon] = await Promise.all([
    existsSync(resolve(directory, 'main.ts')) ? bundleSources(directory) : readBundle(directory),
    readFile(resolve(directory, 'index.html'), 'utf8'),
    readFile(resolve(directory, 'icon.svg')),
  ]);
  const files = new Map<string, DashboardAsset>();
  let page = template;
  for (const { name: bundled, contents } of bundle) {
    const extension = bundled.endsWith('.css') ? 'css' : 'js';
    const digest = createHash('sha256').update(contents).digest('hex').slice(0, 16);
    const name = `main-${digest}.${extension}`;
    const type = extension === 'css' ? 'text/css; charset=utf-8' : 'text/javascript; charset=utf-8';
    files.set(name, { type, body: Buffer.from(contents) });
    page = page.replace(`/assets/main.${extension}`, `/assets/${name}`);
  }
  return {
    page: { type: 'text/html; charset=utf-8', body: Buffer.from(page) },
    icon: { type: 'image/svg+xml', body: icon },
    files,
  };
}

async function bundleSources(directory: string): Promise<readonly BundledFile[]> {
  const { bundleDashboard } = await import('./dashboard-bundle.ts');
  return (await bundleDashboard(directory)).files;
}

function readBundle(directory: string): Promise<readonly BundledFile[]> {
  return Promise.all(
    BUNDLED.map(async (name) => ({ name, contents: await readFile(resolve(directory, name)) })),
  );
}
