/**
 * The `fieldproof` command line: one table of commands, one way to fail.
 *
 * Exit codes: 0 done, 2 usage, 3 the API cannot be reached, 4 not allowed, 1 everything else.
 */
import { Command, CommanderError } from 'commander';
import { AnalyticsError } from '../errors.ts';
import { type ApiClient, apiClient, type CliIo } from './api-client.ts';
import { addAudit } from './commands/audit.ts';
import { addConfig } from './commands/config.ts';
import { addDevices, addLatest, addQuery } from './commands/data.ts';
import { addProject } from './commands/project.ts';
import { addRebuild } from './commands/rebuild.ts';
import { addStatus } from './commands/status.ts';
import { addToken } from './commands/token.ts';
import { errorLine, exitCode } from './error-line.ts';

/** What the action of a command is given that needs no API. */
export interface LocalInvocation {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  /** With --json prints the answer and returns true: the command is then done. */
  readonly json: (answer: unknown) => boolean;
}

/** What the action of a command is given. */
export interface Invocation extends LocalInvocation {
  readonly client: ApiClient;
}

export interface CommandTools {
  readonly io: CliIo;
  /** Gives `command` its common options and its action. */
  readonly run: (command: Command, action: (invocation: Invocation) => Promise<void>) => void;
  /** The same for a command that needs no API. */
  readonly runLocal: (
    command: Command,
    action: (invocation: LocalInvocation) => Promise<void>,
  ) => void;
}

/** Adds one command to the program. */
export type AddCommand = (program: Command, tools: CommandTools) => void;

const COMMANDS: readonly AddCommand[] = [
  ...[addDevices, addLatest, addQuery, addStatus, addToken],
  ...[addConfig, addProject, addRebuild, addAudit],
];

const CONNECTION_HELP = `
The API is that of --url, FIELDPROOF_URL, or the network that npm start runs in this folder;
the token that of --token-file, FIELDPROOF_TOKEN, FIELDPROOF_TOKEN_FILE, or data/control/admin-token.

Examples:
  fieldproof status
  fieldproof devices
  fieldproof query environment temperature --from -1h --bucket 1m
  fieldproof --help, fieldproof query --help
`;

/** Runs one command line (without node and script) and gives its exit code. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  const program = new Command('fieldproof');
  program
    .description('Readings and state of a Fieldproof network.')
    .addHelpText('after', CONNECTION_HELP)
    .helpCommand(false);
  const runLocal: CommandTools['runLocal'] = (command, action) => {
    command.option('--json', 'print the answer as JSON').action(async () => {
      const options = command.opts<Record<string, unknown>>();
      const json = (answer: unknown): boolean => {
        if (options.json !== true) return false;
        io.out(`${JSON.stringify(answer, null, 2)}\n`);
        return true;
      };
      await action({ args: command.args, options, json });
    });
  };
  const run: CommandTools['run'] = (command, action) => {
    command
      .option('--url <address>', 'API address')
      .option('--token-file <path>', 'file that holds the token')
      .option('--data <folder>', 'data folder of npm start', 'data');
    runLocal(command, async (invocation) => {
      const client = await apiClient(io, invocation.options);
      await action({ ...invocation, client });
    });
  };
  for (const add of COMMANDS) add(program, { io, run, runLocal });
  for (const command of allOf(program)) {
    command.exitOverride().configureOutput({ writeOut: io.out, writeErr: () => undefined });
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (error) {
    const failure = error instanceof CommanderError ? usageError(error) : error;
    if (failure === null) return 0;
    io.err(`${errorLine(failure)}\n`);
    return exitCode(failure);
  }
}

function allOf(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allOf)];
}

/** Null for help that was asked for. */
function usageError(error: CommanderError): AnalyticsError | null {
  if (error.exitCode === 0) return null;
  const help = error.code === 'commander.help';
  const message = help ? 'command: expected one of those in --help' : error.message;
  return new AnalyticsError('ERR_USAGE', message.replace(/^error: /, '').replaceAll('\n', ' '));
}
