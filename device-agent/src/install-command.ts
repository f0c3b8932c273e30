/** `fieldproof-agent install` and `uninstall`: the agent as a service of this machine. */

import { execFile } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { bundleFolder } from './bundle-place.ts';
import { type InstallMachine, installService, uninstallService } from './install.ts';

interface InstallFlags {
  readonly user: string;
  readonly data: string;
  readonly dryRun?: boolean;
  readonly root: string;
  readonly bundle?: string;
}

/** Adds the two commands. @param out - takes text for the user. */
export function addInstallCommands(program: Command, out: (text: string) => void): void {
  program
    .command('install')
    .description('make the agent a service of this machine, hardened; needs root')
    .option('--user <name>', 'user of the service, made when it is not there', 'fieldproof')
    .option(
      '--data <folder>',
      'folder with key, configuration, outbox',
      '/var/lib/fieldproof-agent',
    )
    .option('--dry-run', 'say what would be done, change nothing')
    .option('--bundle <folder>', 'folder with fieldproof-agent.mjs, default this program')
    .option('--root <folder>', 'write below this folder and run no commands, for images', '/')
    .action(async (flags: InstallFlags) => {
      const bundle = bundleFolder(flags.bundle);
      const node = realpathSync(process.execPath);
      const { user, data } = flags;
      const dataDir = data.length > 1 ? data.replace(/\/+$/, '') : data;
      await installService({ user, dataDir, node, bundle }, machineOf(flags, out));
    });
  program
    .command('uninstall')
    .description('take the service away again; key and data stay; needs root')
    .option('--dry-run', 'say what would be done, change nothing')
    .option('--root <folder>', 'work below this folder and run no commands, for images', '/')
    .action((flags: InstallFlags) => uninstallService(machineOf(flags, out)));
}

function machineOf(flags: InstallFlags, out: (text: string) => void): InstallMachine {
  return {
    root: resolve(flags.root),
    dryRun: flags.dryRun === true,
    isRoot: process.geteuid?.() === 0,
    say: (line) => out(`${line}\n`),
    run: async (command, args) => {
      await promisify(execFile)(command, [...args]);
    },
  };
}
