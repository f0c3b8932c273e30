/** `fieldproof-broker descriptor …`: drafted where the broker is, signed where the root key is, installed where the broker is. */

import { randomBytes } from 'node:crypto';
import { fromBase64url, toBase64url } from '@fieldproof/protocol/bytes';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import { networkIdFromRootKey } from '@fieldproof/protocol/network-id';
import { type Descriptor, encodeDescriptor, openDescriptor } from '@fieldproof/protocol/statements';
import { type Command, Option } from 'commander';
import { resolveConfig } from '../config.ts';
import { describeDescriptor, descriptorChanges } from '../descriptor-changes.ts';
import { descriptorProblem } from '../descriptor-desk.ts';
import { DEFAULT_DAYS, MAX_DAYS, readDraft, refused, signDraft } from '../descriptor-draft.ts';
import { BrokerError } from '../errors.ts';
import { plainLine } from '../plain-text.ts';
import { parseRootKey, readBytes, readRootFile, writeNewFile } from '../root-key.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { type StartFlags, settingsFlags, settingsOf } from './start-command.ts';
import { wholeNumber } from './whole-number.ts';

interface ShowFlags extends CommonFlags {
  readonly root?: string;
  readonly current?: string;
  readonly check?: boolean;
}

interface DraftFlags extends StartFlags {
  readonly url?: string;
  readonly json?: boolean;
  readonly out?: string;
}

interface SignFlags {
  readonly root: string;
  readonly out: string;
  readonly current?: string;
  readonly days: number;
  readonly json?: boolean;
}

/** What `descriptor show` prints. */
interface Shown {
  readonly descriptor: Descriptor;
  readonly signature: string;
  readonly changes: readonly string[];
  readonly problem: string | null;
}

/** Exit code of `show --check` when an operator should act. */
const EXIT_TO_DO = 2;

export function addDescriptorCommands(program: Command): void {
  const descriptor = program
    .command('descriptor')
    .description('the network descriptor: keys and addresses, signed by the root key');
  common(descriptor.command('show [file]'))
    .description('of the running broker, or a signed one or a draft in a file')
    .option('--root <key>', 'public root key with which a file is verified: z6Mk… or the .pub file')
    .option('--current <file>', 'say what a file changes against this one')
    .option('--check', `exit code ${EXIT_TO_DO} when a new one should be signed`)
    .action(show);
  settingsFlags(descriptor.command('draft'))
    .description('the next one, to be signed; before the first start with the settings of start')
    .option('--url <url>', 'HTTP address of the broker (default: as left in the data folder)')
    .option('--out <file>', 'where the draft goes (default: descriptor-<version>.cbor)')
    .option('--json', 'machine-readable output')
    .action(draft);
  descriptor
    .command('sign <draft>')
    .description('sign a draft, offline')
    .requiredOption('--root <file>', 'file of the root key')
    .requiredOption('--out <file>', 'where the signed descriptor goes')
    .option('--current <file>', 'the one in force: shows what changes, refuses an older version')
    .addOption(
      new Option('--days <n>', 'how long it is valid').default(DEFAULT_DAYS).argParser(wholeNumber),
    )
    .option('--json', 'machine-readable output')
    .action(sign);
  common(descriptor.command('install <file>'))
    .description('take a signed one into force; before the first start: with it')
    .action(install);
}

async function show(file: string | undefined, flags: ShowFlags): Promise<void> {
  const shown = file === undefined ? await showInForce(flags) : showFile(file, flags);
  const json = { ...jsonOf(shown.descriptor), ...shown, descriptor: undefined };
  print(flags, flags.json ? json : shown, formatShown);
  if (flags.check && shown.problem !== null) process.exitCode = EXIT_TO_DO;
}

async function showInForce(flags: ShowFlags): Promise<Shown> {
  const { descriptor, changes, problem } = (await createClient(flags).call(
    'GET',
    '/admin/descriptor',
  )) as { descriptor: string; changes: readonly string[]; problem: string | null };
  const body = readDraft(parseEnvelope(fromBase64url(descriptor)).payload);
  return { descriptor: body, changes, problem, signature: 'in force' };
}

function showFile(file: string, { root, current }: ShowFlags): Shown {
  const { descriptor, signature } = readDescriptor(readBytes(file), root);
  const before = current === undefined ? null : readDescriptor(readBytes(current), root).descriptor;
  const changes = before === null ? [] : descriptorChanges(before, descriptor);
  const problem = descriptorProblem({ descriptor, changes: [], now: Date.now() });
  return { descriptor, signature, changes, problem };
}

/** A signed descriptor, verified where the root key is known, or a draft. */
function readDescriptor(
  bytes: Uint8Array,
  root: string | undefined,
): { readonly descriptor: Descriptor; readonly signature: string } {
  let payload: Uint8Array;
  try {
    payload = parseEnvelope(bytes).payload;
  } catch {
    return { descriptor: readDraft(bytes), signature: 'none: a draft' };
  }
  if (root === undefined) {
    return { descriptor: readDraft(payload), signature: 'not verified: give --root' };
  }
  return { descriptor: openUnder(bytes, parseRootKey(root)), signature: 'of the root key' };
}

function openUnder(bytes: Uint8Array, publicKey: Uint8Array): Descriptor {
  try {
    const network = networkIdFromRootKey(publicKey);
    return openDescriptor(bytes, { network, publicKey, verify });
  } catch (cause) {
    throw refused(`descriptor: ${(cause as Error).message}`, cause);
  }
}

async function draft(flags: DraftFlags): Promise<void> {
  const { url, json, out, ...start } = flags;
  const { body, current } = await makeDraft(start, url);
  const file = out ?? `descriptor-${body.version}.cbor`;
  writeNewFile(file, encodeDescriptor(body), 0o644);
  const changes = current === null ? [] : descriptorChanges(current, body);
  const value = { file, ...jsonOf(body), changes };
  print(flags, value, () => {
    const said = current === null ? describe(body) : changes.map(changeLine);
    return [`draft      ${file}, version ${body.version} of ${body.network}`, ...said].join('\n');
  });
}

/** From the broker that uses the data folder; from the folder itself when none does. */
async function makeDraft(
  flags: StartFlags,
  url: string | undefined,
): Promise<{ readonly body: Descriptor; readonly current: Descriptor | null }> {
  const config = resolveConfig(settingsOf(flags));
  if (url === undefined) {
    // Loads what makes certificates: not for the commands that do without.
    const { draftInFolder } = await import('../descriptor-folder.ts');
    const drafted = await unlessLocked(() => draftInFolder(config, { now: Date.now(), random }));
    if (drafted !== null) return { body: drafted.draft, current: drafted.current };
  }
  const client = createClient({ data: config.dataDir, ...(url !== undefined && { url }) });
  const answer = (await client.call('GET', '/admin/descriptor/draft')) as { draft: string };
  const inForce = (await client.call('GET', '/admin/descriptor')) as { descriptor: string };
  return {
    body: readDraft(fromBase64url(answer.draft)),
    current: readDraft(parseEnvelope(fromBase64url(inForce.descriptor)).payload),
  };
}

function sign(file: string, flags: SignFlags): void {
  const { root: rootFile, out, current: currentFile, days } = flags;
  if (!Number.isInteger(days) || days < 1 || days > MAX_DAYS) {
    throw new BrokerError('ERR_REQUEST', `days: expected an integer from 1 to ${MAX_DAYS}`);
  }
  const root = readRootFile(rootFile);
  const current =
    currentFile === undefined ? null : openUnder(readBytes(currentFile), root.publicKey);
  const body = readDraft(readBytes(file));
  const { descriptor, envelope } = signDraft(body, { root, days, now: Date.now(), current });
  writeNewFile(out, envelope, 0o644);
  const changes = current === null ? [] : descriptorChanges(current, descriptor);
  print(flags, { file: out, ...jsonOf(descriptor), changes }, () => {
    const said = current === null ? describe(descriptor) : changes.map(changeLine);
    return [`signed     ${out}, valid for ${days} days`, ...said].join('\n');
  });
}

async function install(file: string, flags: CommonFlags): Promise<void> {
  const envelope = readBytes(file);
  if (flags.url === undefined) {
    const { installInFolder } = await import('../descriptor-folder.ts');
    const done = await unlessLocked(() =>
      installInFolder(flags.data, envelope, { now: Date.now() }),
    );
    if (done !== null) {
      const value = { version: done.version, running: false };
      print(flags, value, () => `descriptor ${done.version}: in force with the next start`);
      return;
    }
  }
  const body = { descriptor: toBase64url(envelope) };
  const answer = await createClient(flags).call('POST', '/admin/descriptor', body);
  const { version } = answer as { readonly version: number };
  print(flags, { version, running: true }, () => `descriptor ${version}: in force`);
}

/** Null when a broker uses the data folder: it is the one to ask. */
async function unlessLocked<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BrokerError && error.code === 'ERR_DATA_LOCKED') return null;
    throw error;
  }
}

function formatShown(value: unknown): string {
  const { descriptor, signature, changes, problem } = value as Shown;
  return [
    ...describe(descriptor),
    `${'signature'.padEnd(18)} ${signature}`,
    ...changes.map((line) => `${'changes'.padEnd(18)} ${plainLine(line)}`),
    ...(problem === null ? [] : ['', `to do: ${problem}`]),
  ].join('\n');
}

/** A draft comes from a server: a line break in it must not look like another line. */
function changeLine(line: string): string {
  return `changes    ${plainLine(line)}`;
}

function describe(descriptor: Descriptor): readonly string[] {
  return describeDescriptor(descriptor).map(
    ([name, value]) => `${name.padEnd(18)} ${plainLine(value)}`,
  );
}

function jsonOf(descriptor: Descriptor): object {
  const { version, network, issued, expires } = descriptor;
  return {
    network,
    version,
    issued,
    expires,
    says: Object.fromEntries(describeDescriptor(descriptor)),
  };
}

function random(bytes: number): Uint8Array {
  return Uint8Array.from(randomBytes(bytes));
}
