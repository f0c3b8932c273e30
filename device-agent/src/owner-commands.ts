/** `fieldproof-agent consent` and `transfer`: what a new owner signs, and what the present one sends. */

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { isNetworkId } from '@fieldproof/protocol/topics';
import type { Command } from 'commander';
import { systemClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { AgentError, reasonOf } from './errors.ts';
import { signedOwnership } from './init.ts';
import { silentLog } from './log.ts';
import { newPhrase, ownershipFromPhrase } from './owner.ts';
import { transferDevice } from './transfer.ts';

/** What these commands need of their surroundings. */
export interface OwnerCommandsContext {
  /** Adds a command that knows `--data`, `--config` and `--set`. */
  readonly command: (name: string, description: string) => Command;
  readonly configOf: (flags: DataFlags) => Promise<AgentConfig>;
  readonly out: (text: string) => void;
  /** Reads the file that is named, else asks a person, else reads standard input. */
  readonly phraseOf: (flags: PhraseFlags) => Promise<string>;
  readonly random: (length: number) => Uint8Array;
}

export interface DataFlags {
  readonly data: string;
  readonly config?: string;
  readonly set: readonly string[];
}

export interface PhraseFlags {
  readonly ownerPhraseFile?: string;
}

interface ConsentFlags extends PhraseFlags {
  readonly device: string;
  readonly network: string;
  readonly newOwner?: boolean;
  readonly json?: boolean;
}

interface TransferFlags extends DataFlags, PhraseFlags {
  readonly owner: string;
  readonly ownershipFile: string;
  readonly device?: string;
  readonly json?: boolean;
}

/** @param program - for the command that needs no data folder. */
export function addOwnerCommands(program: Command, context: OwnerCommandsContext): void {
  program
    .command('consent')
    .description('sign, as its new owner, that a device is yours; the phrase is asked for')
    .requiredOption('--device <id>', 'id of the device, z6Mk…')
    .requiredOption('--network <id>', 'id of the network')
    .option('--new-owner', 'make a new phrase instead of asking for yours')
    .option('--owner-phrase-file <file>', 'file with your twelve words, instead of asking')
    .option('--json', 'print JSON')
    .action((flags: ConsentFlags) => consent(flags, context));
  context
    .command(
      'transfer',
      'give a device to an owner who has signed for it; your phrase is asked for',
    )
    .requiredOption('--owner <did>', 'the new owner, did:key:z6Mk…')
    .requiredOption('--ownership-file <file>', 'file with their statement, as consent prints it')
    .option('--owner-phrase-file <file>', "file with the present owner's twelve words")
    .option('--device <id>', 'another device of this network than that of the data folder')
    .option('--json', 'print JSON')
    .action((flags: TransferFlags) => transfer(flags, context));
}

async function consent(
  flags: ConsentFlags,
  { out, phraseOf, random }: OwnerCommandsContext,
): Promise<void> {
  const { device, network, newOwner = false, json } = flags;
  checkDevice(device);
  if (!isNetworkId(network)) {
    throw new AgentError('ERR_AGENT_USAGE', `--network: expected a network id, got ${network}`);
  }
  const phrase = newOwner ? await newPhrase(random) : await phraseOf(flags);
  const ownership = await ownershipFromPhrase(phrase, { deviceId: device, network });
  const { owner } = ownership;
  const statement = toBase64url(ownership.statement);
  if (json) {
    out(`${JSON.stringify({ owner, statement, ...(newOwner && { phrase }) })}\n`);
    return;
  }
  if (newOwner) {
    out("\nThe owner's recovery phrase, shown this once and kept nowhere: write it down.\n\n");
    out(`    ${phrase}\n\n`);
  }
  out(`owner      ${owner}\nstatement  ${statement}\n`);
  out('Give both to the present owner; neither is secret.\n');
}

async function transfer(
  flags: TransferFlags,
  { out, phraseOf, configOf, random }: OwnerCommandsContext,
): Promise<void> {
  if (flags.device !== undefined) checkDevice(flags.device);
  const to = signedOwnership(flags.owner, await readStatement(flags.ownershipFile));
  const config = await configOf(flags);
  const device = await transferDevice({
    ...{ dataDir: resolve(flags.data), config, clock: systemClock, log: silentLog, random },
    phrase: await phraseOf(flags),
    device: flags.device,
    to,
  });
  if (flags.json) out(`${JSON.stringify({ device, owner: to.owner })}\n`);
  else out(`device  ${device}\nowner   ${to.owner}\n`);
}

async function readStatement(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_OWNER', `${path}: ${reasonOf(cause)}`, { cause });
  });
  // The whole of what `consent` printed does as well.
  return /^statement\s+(\S+)$/m.exec(text)?.[1] ?? text;
}

function checkDevice(device: string): void {
  try {
    publicKeyFromDeviceId(device);
  } catch (cause) {
    throw new AgentError('ERR_AGENT_USAGE', `--device: ${reasonOf(cause)}`, { cause });
  }
}
