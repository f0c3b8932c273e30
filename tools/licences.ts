/** The licences that a bundle has to bring along. */

import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Metafile } from 'esbuild';

const ROOT = resolve(import.meta.dirname, '..');
const LICENCE_FILE = /^(licen[cs]e|copying)(\.|$)/i;

/**
 * The licences of everything foreign inside bundles, by name of the package.
 *
 * @param metafiles - of builds whose working folder was the root of the repository.
 * @throws {Error} for a package without one.
 */
export function licencesOf(metafiles: readonly Metafile[]): string {
  const folders = new Set<string>();
  for (const { inputs } of metafiles) {
    for (const path of Object.keys(inputs)) {
      const folder = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1];
      if (folder !== undefined) folders.add(folder);
    }
  }
  const texts = [...folders].sort().map((folder) => {
    const { name, version } = JSON.parse(
      readFileSync(join(ROOT, folder, 'package.json'), 'utf8'),
    ) as { name: string; version: string };
    const licence = readdirSync(join(ROOT, folder)).find((file) => LICENCE_FILE.test(file));
    if (licence === undefined) throw new Error(`${name}: expected a licence to ship, got none`);
    return `${name} ${version}\n\n${readFileSync(join(ROOT, folder, licence), 'utf8').trim()}\n`;
  });
  return texts.join(`\n${'-'.repeat(80)}\n\n`);
}
