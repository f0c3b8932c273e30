/** `fieldproof-broker root …` and `init`: a network whose root key never is on the server, or no longer. */

import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { CONFIG_DEFAULTS } from '../config.ts';
import { openDataFolder } from '../data-folder.ts';
import { initKeys } from '../keys.ts';
import { exportRootKey, newRootKey, parseRootKey, type RootKeyFile } from '../root-key.ts';
import { print } from './common.ts';
import { hint } from './hint.ts';

interface OutFlags {
  readonly out: string;
  readonly json?: boolean;
}

interface FolderFlags {
  readonly data: string;
  readonly json?: boolean;
}

export function addRootCommands(program: Command): void {
  const root = program.command('root').description('the root key, kept away from the server');
  root
    .command('new')
    .description('make a root key, on a machine that never talks to the server')
    .requiredOption('--out <file>', 'file for the key, mode 0600; <file>.pub gets its public half')
    .option('--json', 'machine-readable output')
    .action((flags: OutFlags) => print(flags, newRootKey(flags.out, random), formatNew));
  folderFlags(root.command('export'))
    .description('move the root key out of the data folder; the broker may run meanwhile')
    .requiredOption('--out <file>', 'where it is moved to, mode 0600')
    .action((flags: OutFlags & FolderFlags) =>
      print(flags, exportRootKey(flags.data, flags.out), formatExported),
    );
  folderFlags(program.command('init'))
    .description('prepare a data folder for a network whose root key is kept offline')
    .requiredOption('--root <key>', 'public root key: z6Mk… or the .pub file')
    .action(init);
}

async function init(flags: FolderFlags & { readonly root: string }): Promise<void> {
  const { data, root } = flags;
  const rootKey = parseRootKey(root);
  const folder = await openDataFolder(data);
  try {
    const network = initKeys(folder.path, rootKey, { random });
    print(flags, { network, dataDir: folder.path }, () => formatInit(network, data));
  } finally {
    await folder.close();
  }
}

function folderFlags(command: Command): Command {
  return command
    .option(
      '--data <folder>',
      'data folder of the broker',
      process.env.FIELDPROOF_BROKER_DATA_DIR ?? CONFIG_DEFAULTS.dataDir,
    )
    .option('--json', 'machine-readable output');
}

function formatNew(value: unknown): string {
  const { file, network, rootKey } = value as RootKeyFile;
  return [
    `network    ${network}`,
    `root key   ${rootKey}`,
    `secret     ${file} (keep it offline, with a copy; whoever has it owns the network)`,
    `public     ${file}.pub`,
    '',
    `next, on the server: fieldproof-broker init --root ${rootKey}`,
  ].join('\n');
}

function formatExported(value: unknown): string {
  const { file, network, rootKey } = value as RootKeyFile;
  return [
    `network    ${network}`,
    `root key   ${rootKey}`,
    `moved to   ${file}`,
    '',
    'take that file away from this machine, and keep a copy: descriptors can only be signed with it',
  ].join('\n');
}

function formatInit(network: string, data: string): string {
  return [
    `network    ${network}`,
    `keys       ${data}/keys (registry, log, control, ledger; no root key)`,
    '',
    `next: ${hint('descriptor draft --out draft.cbor', { data })}, with the settings of start`,
  ].join('\n');
}

function random(bytes: number): Uint8Array {
  return Uint8Array.from(randomBytes(bytes));
}
