/** `fieldproof-agent init` and `sensors`: a device joins a network, by flags or by questions at a terminal. */

import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import type { Credential } from '@fieldproof/protocol/statements';
import type { Command } from 'commander';
import type { Ask } from './ask.ts';
import { systemClock } from './clock.ts';
import { type AgentConfig, checkConfig } from './config.ts';
import { enrolNow } from './contact.ts';
import { readIfPresent } from './durable-file.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';
import { findSensors } from './find-sensors.ts';
import { initAgent, type OwnerChoice } from './init.ts';
import { type Answers, askForRest } from './init-dialogue.ts';
import { silentLog } from './log.ts';
import { readJoinLine } from './membership.ts';
import { putDeviceAside } from './new-device.ts';
import { loadOwnership } from './owner.ts';
import { chooseSensors, proposeConfig, sensorBlock } from './proposed-config.ts';

interface DataFlags {
  readonly data: string;
  readonly config?: string;
  readonly set: readonly string[];
}

interface InitFlags extends DataFlags {
  readonly join?: string;
  readonly name?: string;
  readonly cell?: string;
  readonly sensors?: string;
  readonly owner?: string;
  readonly ownerPhraseFile?: string;
  readonly ownershipFile?: string;
  readonly newDevice?: boolean;
  readonly json?: boolean;
}

/** What these commands need of their surroundings. */
export interface InitContext {
  /** Adds a command that knows `--data`, `--config` and `--set`. */
  readonly command: (name: string, description: string) => Command;
  readonly configOf: (flags: DataFlags) => Promise<AgentConfig>;
  readonly out: (text: string) => void;
  readonly random: (length: number) => Uint8Array;
  readonly ask?: Ask | undefined;
  readonly askPhrase?: (() => Promise<string>) | undefined;
  readonly root?: string | undefined;
}

const TIMEOUT_MS = 5000;

export function addInitCommands(context: InitContext): void {
  const { command } = context;
  command('init', 'make a device key and join a network; asks at a terminal for what no flag says')
    .option('--join <line>', 'the join line that the operator shows')
    .option('--name <name>', 'how people call this device')
    .option('--cell <cell>', 'H3 cell to publish as its place')
    .option('--sensors <list>', 'of those that are found: all, none, or names such as system,sysfs')
    .option('--owner <owner>', 'NEW, or did:key with --ownership-file')
    .option('--owner-phrase-file <file>', "file with the owner's twelve words")
    .option('--ownership-file <file>', "file with the owner's signed statement, base64url")
    .option('--new-device', 'for a copied card: another device; the former one is put aside')
    .option('--json', 'print JSON')
    .action((flags: InitFlags) => init(flags, context));
  command('sensors', 'what this machine has to measure, as entries for agent.yaml')
    .option('--json', 'print JSON')
    .action((flags: InitFlags) => sensors(flags, context));
}

async function sensors({ json }: InitFlags, { out, root = '/' }: InitContext): Promise<void> {
  const found = await findSensors({ root });
  if (json) out(`${JSON.stringify(found)}\n`);
  else out(`sensors:\n${found.map((sensor) => sensorBlock(sensor)).join('')}`);
}

async function init(flags: InitFlags, context: InitContext): Promise<void> {
  const { out, random, ask } = context;
  const dataDir = resolve(flags.data);
  const { joinLine, name, owner, sensors: chosen } = await settle(flags, context);
  // Mistakes come out before anything is made.
  const { cell } = flags;
  await checkConfig({ name, ...(cell === undefined ? {} : { cell }) });
  if (flags.newDevice) {
    readJoinLine(joinLine);
    const aside = await putDeviceAside(dataDir);
    if (aside !== undefined && !flags.json) out(`former    put aside in ${aside}\n`);
  }
  const configYaml = proposeConfig({ name, cell, sensors: chosen });
  const made = await initAgent({ dataDir, joinLine, name, cell, owner, random, configYaml });
  const { phrase, ...result } = made;
  // At once: an enrolment that fails or is interrupted must not cost the owner the words.
  if (!flags.json) {
    out(`device    ${made.deviceId}${made.madeKey ? '' : ' (was here already)'}\n`);
    out(`owner     ${made.owner}${made.madeOwner ? '' : ' (was here already)'}\n`);
    if (phrase !== undefined) {
      out("\nThe owner's recovery phrase, shown this once and kept nowhere: write it down.\n\n");
      out(`    ${phrase}\n\n`);
      if (flags.join === undefined) await ask?.('Enter when it is written down. ');
    }
  }
  let credential: Credential | undefined;
  let later: string | undefined;
  try {
    credential = await enrolIfReachable(flags, context, (reason) => {
      later = reason;
    });
  } finally {
    if (flags.json) {
      const words = phrase === undefined ? {} : { phrase };
      out(`${JSON.stringify({ ...result, ...words, enrolled: credential !== undefined })}\n`);
    }
  }
  if (flags.json) return;
  out(`network   ${made.network}${credential ? ', enrolled' : ''}\n`);
  const drivers = chosen.filter(({ unfinished }) => unfinished === '').map(({ driver }) => driver);
  const path = join(dataDir, 'agent.yaml');
  if (made.madeConfig) out(`sensors   ${drivers.join(', ') || 'none yet'}, in ${path}\n`);
  else out(`sensors   as ${path} says (was here already)\n`);
  if (later !== undefined) out(`Not reachable now (${later}): it enrols at its first run.\n`);
  out(`Next: fieldproof-agent run --data ${dataDir}\n`);
}

/** What flags and data folder say, what a person says, or what is usual. */
async function settle(flags: InitFlags, context: InitContext): Promise<Answers> {
  const { ask, askPhrase, out, root = '/' } = context;
  const dataDir = resolve(flags.data);
  const isThere = (name: string) => readIfPresent(join(dataDir, name)).then((bytes) => !!bytes);
  const find = () => findSensors({ root });
  const given = {
    joinLine: flags.join,
    name: flags.name,
    owner: await ownerFromFlags(flags),
    sensors: flags.sensors === undefined ? undefined : chooseSensors(await find(), flags.sensors),
  };
  if (flags.join !== undefined || ask === undefined || askPhrase === undefined || flags.json) {
    if (flags.join === undefined) {
      throw new AgentError('ERR_AGENT_USAGE', 'init: expected --join, or a terminal to ask at');
    }
    return {
      joinLine: flags.join,
      name: flags.name ?? 'agent',
      owner: given.owner ?? { type: 'new' },
      sensors: given.sensors ?? ((await isThere('agent.yaml')) ? [] : await find()),
    };
  }
  const hasConfig = await isThere('agent.yaml');
  const hasOwner = (await loadOwnership(dataDir)) !== undefined;
  if (!flags.newDevice && (await isThere('device.key')))
    out(`There is a device in ${dataDir}; its key stays.\n`);
  return await askForRest(
    {
      joinLine: given.joinLine,
      name: given.name ?? (hasConfig ? 'agent' : undefined),
      owner: given.owner ?? (hasOwner ? { type: 'new' } : undefined),
      sensors: given.sensors ?? (hasConfig ? [] : undefined),
    },
    { ask, askPhrase, out, hostname: hostname(), findSensors: find },
  );
}

async function ownerFromFlags(flags: InitFlags): Promise<OwnerChoice | undefined> {
  if (flags.ownerPhraseFile !== undefined) {
    return { type: 'phrase', phrase: await readText(flags.ownerPhraseFile) };
  }
  if (flags.owner === undefined) return undefined;
  if (flags.owner === 'NEW') return { type: 'new' };
  if (flags.ownershipFile === undefined) {
    throw new AgentError(
      'ERR_AGENT_OWNER',
      '--owner did:key…: expected --ownership-file with its statement, got none',
    );
  }
  return { type: 'signed', owner: flags.owner, statement: await readText(flags.ownershipFile) };
}

/** The device works without a network; a refusal is for its owner to see now. */
async function enrolIfReachable(
  flags: InitFlags,
  { configOf, random }: InitContext,
  onLater: (reason: string) => void,
): Promise<Credential | undefined> {
  const config = await configOf(flags);
  const quick = { ...config, link: { ...config.link, timeoutMs: TIMEOUT_MS } };
  const dataDir = resolve(flags.data);
  const contact = { dataDir, config: quick, clock: systemClock, log: silentLog, random };
  return await enrolNow(contact).catch((error: unknown) => {
    if (codeOf(error) !== 'ERR_AGENT_UNREACHABLE') throw error;
    onLater(reasonOf(error));
    return undefined;
  });
}

async function readText(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AgentError('ERR_AGENT_OWNER', `${path}: ${reasonOf(cause)}`, { cause });
  });
}
