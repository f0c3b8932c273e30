/**
 * The command line `fieldproof-agent`: init, run, status, login, standing, appeal; the other commands are in
 * `*-command.ts` and `owner-commands.ts`. Errors are one line on stderr, with code and
 * remedy, and an exit code of `AGENT_ERRORS`.
 */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { PROTOCOL_ERRORS } from '@fieldproof/protocol/errors';
import { Command, CommanderError } from 'commander';
import { Agent } from './agent.ts';
import { AGENT_VERSION } from './agent-version.ts';
import type { Ask } from './ask.ts';
import { systemClock } from './clock.ts';
import { type AgentConfig, loadConfig } from './config.ts';
import { addConfigCommand } from './config-command.ts';
import { freshLogin, openMembership } from './contact.ts';
import { loadDeviceKey } from './device-key.ts';
import { addDoctorCommand } from './doctor-command.ts';
import { AGENT_ERRORS, AgentError, type AgentErrorRow, reasonOf, toldCodeOf } from './errors.ts';
import { addFlashCommand } from './flash-command.ts';
import { addInitCommands } from './init-command.ts';
import { addInstallCommands } from './install-command.ts';
import { addKeysCommands } from './keys-commands.ts';
import { inOneLine, lineLog, silentLog } from './log.ts';
import type { Membership } from './membership.ts';
import { ownerFromPhrase } from './owner.ts';
import { addOwnerCommands } from './owner-commands.ts';
import { addRawCommands } from './raw-commands.ts';
import { addRelayCommand } from './relay-commands.ts';
import { serviceNotify } from './service-notify.ts';
import { fetchStanding, formatStanding, sendAppeal } from './standing.ts';
import { lockHolder } from './state-lock.ts';
import { formatStatus, loadStatus } from './status.ts';

/** What the command line needs of its surroundings. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Resolves when the agent shall stop (SIGINT, SIGTERM). */
  readonly untilStopped: () => Promise<void>;
  /** Asks for the owner's recovery phrase: at the terminal, or standard input. */
  readonly askPhrase?: ((question?: string) => Promise<string>) | undefined;
  /** Asks a person; absent where nobody is at a terminal. */
  readonly ask?: Ask | undefined;
  /** Root of the file system in which sensors are sought, `/` but in tests. */
  readonly root?: string | undefined;
  /** Tells the parent process, where there is one. */
  readonly send?: ((message: object) => void) | undefined;
}

interface CommonFlags {
  readonly data: string;
  readonly config?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

interface AppealFlags extends CommonFlags {
  readonly text?: string;
  readonly textFile?: string;
  readonly ownerPhraseFile?: string;
}

const EXAMPLES = `
Examples:
  $ fieldproof-agent init --join 'fieldproof://…' --data ./balcony --name balcony
  $ fieldproof-agent run --data ./balcony
  $ fieldproof-agent run --data ./balcony --set batch.sealEveryMs=60000 --set log.format=json
  $ fieldproof-agent status --data ./balcony --json
  $ fieldproof-agent login --data ./balcony
  $ fieldproof-agent appeal --data ./balcony --text 'The copy was a restored backup.'
  $ fieldproof-agent doctor --data ./balcony
  $ fieldproof-agent config show --data ./balcony
  $ fieldproof-agent flash --boot /media/me/bootfs --join 'fieldproof://…' --name balcony
  $ sudo fieldproof-agent install --dry-run
  $ fieldproof-agent keys rotate --data ./balcony
  $ fieldproof-agent relay-through z6Mk… --at 192.168.1.10:1884 --data ./balcony
  $ fieldproof-agent consent --device z6Mk… --network h7dz6lhl
  $ fieldproof-agent transfer --data ./balcony --owner did:key:z6Mk… --ownership-file ./consent.txt

The join line is what the operator's screen shows, whole and in quotes: it contains an & and a token.
The configuration is agent.yaml in the data folder; agent.example.yaml is its manual.`;

const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));

/**
 * Runs one command.
 *
 * @param argv - the arguments after the program's name.
 * @returns the exit code.
 */
export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  try {
    await buildProgram(context).parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and version are no mistakes; their text is out already.
      if (error.exitCode === 0) return 0;
      const asked = error.code === 'commander.help';
      const message = asked
        ? 'expected a command, got none'
        : error.message.replace(/^error: |\.$/g, '');
      return report(new AgentError('ERR_AGENT_USAGE', message), context);
    }
    return report(error, context);
  }
}

function buildProgram(context: CliContext): Command {
  const program = new Command('fieldproof-agent')
    .description('Samples sensors, signs what they say, and delivers it to a Fieldproof network.')
    .version(AGENT_VERSION)
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .configureOutput({ writeOut: context.out, writeErr: () => {} });
  const dataDefault = context.env.FIELDPROOF_AGENT_DATA ?? join(homedir(), '.fieldproof-agent');
  const common = (made: Command): Command =>
    made
      .option('--data <folder>', 'folder with key, configuration and outbox', dataDefault)
      .option('--config <file>', 'configuration, default agent.yaml in the data folder')
      .option('--set <key=value>', 'set one key of the configuration', collect, []);
  const command = (name: string, description: string): Command =>
    common(program.command(name).description(description));

  addInitCommands({
    command,
    configOf: (flags) => configOf(flags, context.env),
    random,
    ...context,
  });
  command('run', 'sample, sign and deliver until stopped').action((flags: CommonFlags) =>
    run(flags, context),
  );
  command('status', 'what is recorded, pending, refused, and why')
    .option('--json', 'print JSON')
    .action((flags: CommonFlags) => status(flags, context));
  command('login', 'print MQTT user name and a password that is valid for 60 s')
    .option('--json', 'print JSON')
    .action((flags: CommonFlags) => login(flags, context));
  command('standing', 'whether the network has suspended the device, and why')
    .option('--json', 'print JSON')
    .action((flags: CommonFlags) => standing(flags, context));
  command('appeal', 'answer a suspension, signed with the recovery phrase that it asks for')
    .option('--text <text>', 'what you say, at most 1,024 characters; it becomes public')
    .option('--text-file <file>', 'the same, from a file')
    .option('--owner-phrase-file <file>', "file with the owner's twelve words, instead of asking")
    .option('--json', 'print JSON')
    .action((flags: AppealFlags) => appeal(flags, context));
  addOwnerCommands(program, {
    command,
    configOf: (flags) => configOf(flags, context.env),
    out: context.out,
    phraseOf: (flags) => phraseOf(flags, context),
    random,
  });
  addDoctorCommand({
    command,
    configOf: (flags) => configOf(flags, context.env),
    out: context.out,
    random,
  });
  addConfigCommand(program, {
    ...{ common, out: context.out, env: context.env, nowMs: Date.now },
    configOf: (flags) => configOf(flags, context.env),
  });
  addFlashCommand(program, { out: context.out, random });
  addInstallCommands(program, context.out);
  addRelayCommand(program, {
    ...{ common, out: context.out, random, ask: context.ask, askPhrase: context.askPhrase },
    configOf: (flags) => configOf(flags, context.env),
  });
  addRawCommands(program, { common, out: context.out, err: context.err });
  addKeysCommands(program, {
    ...{ common, out: context.out, random, ask: context.ask, askPhrase: context.askPhrase },
    configOf: (flags) => configOf(flags, context.env),
  });
  return program;
}

async function run(flags: CommonFlags, context: CliContext): Promise<void> {
  const dataDir = resolve(flags.data);
  const config = await configOf(flags, context.env);
  const log = lineLog({ ...config.log, write: context.err, nowMs: Date.now });
  let fail: (error: unknown) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const agent = new Agent({ config, dataDir, log, random, onFailed: (error) => fail(error) });
  // Listens first: a signal during the start must not be lost.
  const stopped = Promise.race([context.untilStopped(), failed]);
  const service = serviceNotify({ env: context.env, clock: systemClock, log });
  await agent.start();
  service.ready();
  const { device, network } = agent.status();
  const ready = { event: 'ready', process: 'agent', device, network };
  context.out(`${JSON.stringify(ready)}\n`);
  context.send?.(ready);
  await stopped;
  service.stopping();
  await agent.stop();
}

async function status(flags: CommonFlags, { out }: CliContext): Promise<void> {
  const dataDir = resolve(flags.data);
  const { deviceId } = await loadDeviceKey(dataDir);
  const running = (await lockHolder(join(dataDir, 'state'))) !== undefined;
  const last = await loadStatus(dataDir);
  if (flags.json) out(`${JSON.stringify({ device: deviceId, running, ...last })}\n`);
  else if (last === undefined) out(`device          ${deviceId}\nagent           never ran\n`);
  else out(`${formatStatus(last, running)}\n`);
}

async function login(flags: CommonFlags, { out, env }: CliContext): Promise<void> {
  const dataDir = resolve(flags.data);
  const config = await configOf(flags, env);
  const contact = { dataDir, config, clock: systemClock, log: silentLog, random };
  const { username, password, validMs, network, addresses } = await freshLogin(contact);
  if (flags.json) {
    out(
      `${JSON.stringify({ clientId: username, username, password, validMs, network, addresses })}\n`,
    );
    return;
  }
  const [address] = addresses;
  out(`client id  ${username}\nuser       ${username}\npassword   ${password}\n`);
  out(`broker     ${address!.tls ? 'mqtts' : 'mqtt'}://${address!.host}:${address!.port}\n`);
  out(`valid for  ${validMs / 1000} s, one login\n`);
}

async function standing(flags: CommonFlags, { out, env }: CliContext): Promise<void> {
  const found = await fetchStanding(await membershipOf(flags, env));
  out(`${flags.json ? JSON.stringify(found) : formatStanding(found)}\n`);
}

async function appeal(flags: AppealFlags, context: CliContext): Promise<void> {
  const { out, env } = context;
  if ((flags.text === undefined) === (flags.textFile === undefined)) {
    throw new AgentError('ERR_AGENT_USAGE', 'appeal: expected --text or --text-file');
  }
  const text = flags.text ?? (await readText(flags.textFile!, 'ERR_AGENT_USAGE')).trim();
  const membership = await membershipOf(flags, env);
  const owner = await ownerFromPhrase(await phraseOf(flags, context));
  const made = await sendAppeal(membership, { text, owner });
  if (flags.json) {
    out(`${JSON.stringify(made)}\n`);
    return;
  }
  out(`recorded in entry ${made.appeal}, against the suspension of entry ${made.suspension}\n`);
  out('The operator decides: fieldproof-agent standing shows how.\n');
}

async function phraseOf(
  flags: { readonly ownerPhraseFile?: string },
  { askPhrase }: CliContext,
): Promise<string> {
  if (flags.ownerPhraseFile !== undefined) return await readText(flags.ownerPhraseFile);
  if (askPhrase !== undefined) return await askPhrase();
  throw new AgentError('ERR_AGENT_OWNER', 'phrase: expected --owner-phrase-file, got none');
}

async function membershipOf(flags: CommonFlags, env: CliContext['env']): Promise<Membership> {
  const dataDir = resolve(flags.data);
  const config = await configOf(flags, env);
  const contact = { dataDir, config, clock: systemClock, log: silentLog, random };
  return (await openMembership(contact)).membership;
}

async function configOf(flags: CommonFlags, env: CliContext['env']): Promise<AgentConfig> {
  const sets: Record<string, string> = {};
  for (const text of flags.set) {
    const at = text.indexOf('=');
    if (at < 1) {
      throw new AgentError('ERR_AGENT_USAGE', `--set: expected key=value, got ${text}`);
    }
    sets[text.slice(0, at)] = text.slice(at + 1);
  }
  const path = flags.config ?? join(resolve(flags.data), 'agent.yaml');
  const config = await loadConfig(path, env, sets);
  // systemd gives a folder in memory to a service that asks for it (systemd.exec(5)).
  const given = env.RUNTIME_DIRECTORY?.split(':')[0];
  return given && config.memoryFolder === undefined ? { ...config, memoryFolder: given } : config;
}

async function readText(
  path: string,
  code: 'ERR_AGENT_OWNER' | 'ERR_AGENT_USAGE' = 'ERR_AGENT_OWNER',
): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AgentError(code, `${path}: ${reasonOf(cause)}`, { cause });
  });
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

/** One line: program, code, what, remedy; a line for each problem, where there are several. */
function report(error: unknown, { err }: CliContext): number {
  const found = toldCodeOf(error) ?? 'ERR_UNEXPECTED';
  // A code of the operating system (ENOSPC, EROFS) that no module translated: a file or a folder.
  const code = /^E[A-Z0-9]+$/.test(found) ? 'ERR_AGENT_STATE' : found;
  const agentRow: AgentErrorRow | undefined = Object.hasOwn(AGENT_ERRORS, code)
    ? AGENT_ERRORS[code as keyof typeof AGENT_ERRORS]
    : undefined;
  const remedy =
    agentRow?.remedy ??
    (Object.hasOwn(PROTOCOL_ERRORS, code)
      ? PROTOCOL_ERRORS[code as keyof typeof PROTOCOL_ERRORS].remedy
      : 'Please report this.');
  const lines = reasonOf(error).split('\n').map(inOneLine);
  const isList = lines.length > 1;
  const what = isList ? `${lines.length} problems\n  ${lines.join('\n  ')}\n` : `${lines[0]}. `;
  err(`fieldproof-agent: ${code}: ${what}${remedy}\n`);
  return agentRow?.exitCode ?? 70;
}
