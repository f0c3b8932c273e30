/** `fieldproof-agent keys …`. */

import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Ask } from './ask.ts';
import { systemClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { AgentError, reasonOf } from './errors.ts';
import { backupKey, publicKeyInfo, restoreKey } from './key-backup.ts';
import { silentLog } from './log.ts';
import { rotateKey } from './rotate-key.ts';

export interface KeysFlags {
  readonly data: string;
  readonly config?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

interface BackupFlags extends KeysFlags {
  readonly backup?: string;
  readonly passphraseFile?: string;
}

/** What these commands take from the others. */
export interface KeysContext {
  readonly common: (command: Command) => Command;
  readonly configOf: (flags: KeysFlags) => Promise<AgentConfig>;
  readonly out: (text: string) => void;
  readonly random: (length: number) => Uint8Array;
  /** Absent where nobody is at a terminal. */
  readonly ask?: Ask | undefined;
  /** Asks for a secret at the terminal, or reads standard input. */
  readonly askPhrase?: ((question?: string) => Promise<string>) | undefined;
}

export function addKeysCommands(program: Command, context: KeysContext): void {
  const keys = program.command('keys').description("the device's key");
  context
    .common(keys.command('rotate'))
    .description(
      'give the device another key; id and history stay, a running agent goes on with it',
    )
    .option('--json', 'print JSON')
    .action((flags: KeysFlags) => rotate(flags, context));
  context
    .common(keys.command('export'))
    .description('show the public key; with --backup write the whole key into a locked file')
    .option('--backup <file>', 'a file that is not there yet; asks for a passphrase that locks it')
    .option('--passphrase-file <file>', 'file with the passphrase, instead of asking')
    .option('--json', 'print JSON')
    .action((flags: BackupFlags) => exportKey(flags, context));
  context
    .common(keys.command('import'))
    .argument('<file>', 'what keys export --backup has written')
    .description('make an empty data folder that of the device in a backup')
    .option('--passphrase-file <file>', 'file with the passphrase, instead of asking')
    .option('--json', 'print JSON')
    .action((file: string, flags: BackupFlags) => importKey(file, flags, context));
}

async function exportKey(flags: BackupFlags, context: KeysContext): Promise<void> {
  const dataDir = resolve(flags.data);
  const info = await publicKeyInfo(dataDir);
  if (flags.backup !== undefined) {
    const passphrase = await passphraseOf(flags, context, { twice: true });
    const text = await backupKey(dataDir, { passphrase, random: context.random });
    await writeNew(flags.backup, text);
  }
  if (flags.json) {
    context.out(`${JSON.stringify({ ...info, backup: flags.backup ?? null })}\n`);
    return;
  }
  context.out(`device    ${info.device}\n`);
  context.out(`key       ${info.did}, from boot ${info.firstBoot} on\n\n${info.pem}`);
  if (flags.backup === undefined) return;
  context.out(
    `\nThe whole key is in ${flags.backup}, locked. Keep it off the device, and run one copy\n`,
  );
  context.out('only: two devices with one key are told apart, and one is shut out.\n');
}

async function importKey(file: string, flags: BackupFlags, context: KeysContext): Promise<void> {
  const dataDir = resolve(flags.data);
  const text = await readText(file);
  const passphrase = await passphraseOf(flags, context, { twice: false });
  const device = await restoreKey(dataDir, { text, passphrase });
  if (flags.json) {
    context.out(`${JSON.stringify({ device })}\n`);
    return;
  }
  context.out(`device    ${device}\n`);
  context.out(
    "Next: fieldproof-agent init, with a join line and the phrase of the device's owner.\n",
  );
}

async function passphraseOf(
  { passphraseFile }: BackupFlags,
  { ask, askPhrase }: KeysContext,
  { twice }: { readonly twice: boolean },
): Promise<string> {
  if (passphraseFile !== undefined) return (await readText(passphraseFile)).replace(/\r?\n$/, '');
  if (askPhrase === undefined) {
    throw new AgentError('ERR_AGENT_USAGE', 'passphrase: expected --passphrase-file, got none');
  }
  const passphrase = await askPhrase('Passphrase of the backup');
  if (twice && ask !== undefined && (await askPhrase('The same again')) !== passphrase) {
    throw new AgentError('ERR_AGENT_USAGE', 'passphrase: expected the same twice');
  }
  return passphrase;
}

/** Nothing that was there is lost. */
async function writeNew(path: string, text: string): Promise<void> {
  await writeFile(path, text, { flag: 'wx', mode: 0o600 }).catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_USAGE', `--backup ${path}: ${reasonOf(cause)}`, { cause });
  });
}

async function readText(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_USAGE', `${path}: ${reasonOf(cause)}`, { cause });
  });
}

async function rotate(flags: KeysFlags, { configOf, out, random }: KeysContext): Promise<void> {
  const dataDir = resolve(flags.data);
  const config = await configOf(flags);
  const contact = { dataDir, config, clock: systemClock, log: silentLog, random };
  const rotated = await rotateKey(contact);
  if (flags.json) {
    out(`${JSON.stringify(rotated)}\n`);
    return;
  }
  out(`device    ${rotated.device}\n`);
  out(`key       ${rotated.to}, before ${rotated.from}\n`);
  out(
    'What the old key has signed still counts. A running agent goes on with the new key by itself.\n',
  );
}
