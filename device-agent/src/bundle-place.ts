/** Where the bundle is that this program runs from or brings along. */

import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { AgentError } from './errors.ts';

/** Set when the bundle is made. */
declare const FIELDPROOF_BUNDLED: boolean | undefined;

export const BUNDLE_FILE = 'fieldproof-agent.mjs';
/** Files beside it that are no programs. */
const TEXTS = ['agent.example.yaml', 'LICENSES.txt'] as const;
/** Gateway mode, loaded where it is configured. */
const GATEWAY_FILE = 'gateway.mjs';
/** Edge functions, loaded where they are configured. */
const EDGE_FILE = 'edge.mjs';
export const BUNDLE_FILES = [BUNDLE_FILE, GATEWAY_FILE, EDGE_FILE, ...TEXTS] as const;
/** All that a bundle consists of: files, and the folder of drivers. */
export const BUNDLE_PARTS = [...BUNDLE_FILES, 'sensors'] as const;

/**
 * The folder with `fieldproof-agent.mjs` and `sensors/`.
 *
 * @param asked - a folder that was named; default: where this program is, or `bundle/` of its npm package.
 * @throws {AgentError} ERR_AGENT_BUNDLE
 */
export function bundleFolder(asked?: string): string {
  const own = dirname(import.meta.filename);
  const isBundled = typeof FIELDPROOF_BUNDLED !== 'undefined' && FIELDPROOF_BUNDLED;
  const folder = resolve(asked ?? (isBundled ? own : join(own, '../bundle')));
  for (const part of BUNDLE_PARTS) {
    if (existsSync(join(folder, part))) continue;
    const hint = asked === undefined ? '; name its folder with --bundle' : '';
    throw new AgentError('ERR_AGENT_BUNDLE', `${join(folder, part)}: is not there${hint}`);
  }
  return folder;
}
