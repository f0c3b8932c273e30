/**
 * Puts the identity of a data folder aside, so that `init` makes another device of it: for a copied card. The
 * configuration stays; key, owner, join line and state go to a folder beside them, from which nothing is read.
 */

import { existsSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { loadDeviceKey } from './device-key.ts';
import { syncFolder } from './durable-file.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import { takeStateLock } from './state-lock.ts';

/** The key is the last: until it is gone the folder is the old device's, and the command can be run again. */
const FILES = ['state', 'place.json', 'owner.json', 'join-line', 'device.key.next', 'device.key'];

/**
 * @returns the folder that has it now, or undefined where there is no device.
 * @throws {AgentError} ERR_AGENT_LOCKED while an agent runs, ERR_AGENT_KEY, ERR_AGENT_STATE.
 */
export async function putDeviceAside(dataDir: string): Promise<string | undefined> {
  if (!existsSync(join(dataDir, 'device.key'))) return undefined;
  const { keyId } = await loadDeviceKey(dataDir);
  const aside = join(dataDir, `former-${keyId}`);
  try {
    const state = join(dataDir, 'state');
    if (existsSync(state)) await (await takeStateLock(state)).release();
    await mkdir(aside, { recursive: true, mode: 0o700 });
    for (const name of FILES) {
      if (existsSync(join(dataDir, name))) await rename(join(dataDir, name), join(aside, name));
    }
    for (const folder of [aside, dataDir]) await syncFolder(folder);
    return aside;
  } catch (cause) {
    if (codeOf(cause)?.startsWith('ERR_AGENT')) throw cause;
    throw new AgentError('ERR_AGENT_STATE', `${aside}: ${reasonOf(cause)}`, { cause });
  }
}
