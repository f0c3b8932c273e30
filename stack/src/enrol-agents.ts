/** Gives the agents of this machine their data folders: keys, owner, configuration and a join line. */

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { initAgent } from '@fieldproof/device-agent/init';
import { newPhrase } from '@fieldproof/device-agent/owner';
import { replaceFile } from './data-folder.ts';
import type { DemoDevice } from './demo-fleet.ts';

const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));

/** The one owner of all agents of this machine; the words stay in a file of mode 0600. */
export async function ownerPhrase(path: string): Promise<string> {
  if (existsSync(path)) return readFileSync(path, 'utf8').trim();
  const phrase = await newPhrase(random);
  replaceFile(path, `${phrase}\n`);
  return phrase;
}

/**
 * Makes the folders that are missing and renews the join line of the others.
 *
 * @returns the folders, in the order of the devices.
 */
export async function prepareAgents(
  devices: readonly DemoDevice[],
  context: { readonly folder: string; readonly joinLine: string; readonly phrase: string },
): Promise<readonly string[]> {
  const folders: string[] = [];
  for (const { name, configYaml, recording } of devices) {
    const dataDir = join(context.folder, name);
    if (recording !== null) placeRecording(recording, dataDir);
    await initAgent({
      dataDir,
      joinLine: context.joinLine,
      name,
      owner: { type: 'phrase', phrase: context.phrase },
      configYaml,
      random,
    });
    folders.push(dataDir);
  }
  return folders;
}

function placeRecording(recording: string, dataDir: string): void {
  const path = join(dataDir, basename(recording));
  if (existsSync(path)) return;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  replaceFile(path, readFileSync(recording, 'utf8'));
}
