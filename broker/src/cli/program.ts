/** The commands of `fieldproof-broker`, and running one of them. */

import { Command } from 'commander';
import { describeFailure } from '../errors.ts';
import { VERSION } from '../observe/version.ts';
import { plainLines } from '../plain-text.ts';
import { addAccessCommands } from './access-commands.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { addDescriptorCommands } from './descriptor-commands.ts';
import { addDeviceCommands } from './device-commands.ts';
import { addKeyCommands } from './key-commands.ts';
import { addRootCommands } from './root-commands.ts';
import { addAppealCommands } from './standing-commands.ts';
import { addStartCommand } from './start-command.ts';
import { formatStatus } from './status-view.ts';
import { addSupportCommand } from './support-command.ts';
import { addTokenCommands } from './token-commands.ts';
import { addWebhookCommands } from './webhook-commands.ts';

/**
 * Runs a command; what fails is one line on standard error and exit code 1.
 *
 * @param args - without the names of the runtime and the program.
 */
export async function runCommand(args: readonly string[]): Promise<void> {
  try {
    await createProgram().parseAsync(args, { from: 'user' });
  } catch (error) {
    process.stderr.write(`${plainLines(describeFailure(error))}\n`);
    process.exitCode = 1;
  }
}

function createProgram(): Command {
  const program = new Command('fieldproof-broker')
    .description('The Fieldproof broker: verifies, records and receipts what devices send.')
    .version(VERSION)
    .showHelpAfterError();
  addStartCommand(program);
  common(
    program.command('status').description('open problems first, then addresses and counters'),
  ).action(async (flags: CommonFlags) => {
    print(flags, await createClient(flags).call('GET', '/admin/status'), (status) =>
      formatStatus(status, process.stdout.columns),
    );
  });
  addDeviceCommands(program);
  addAppealCommands(program);
  addTokenCommands(program);
  addAccessCommands(program);
  addKeyCommands(program);
  addDescriptorCommands(program);
  addRootCommands(program);
  addWebhookCommands(program);
  addSupportCommand(program);
  return program;
}
