/** `fieldproof-agent keys …`. */

import { resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { silentLog } from './log.ts';
import { rotateKey } from './rotate-key.ts';

export interface KeysFlags {
  readonly data: string;
  readonly config?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** What these commands take from the others. */
export interface KeysContext {
  readonly common: (command: Command) => Command;
  readonly configOf: (flags: KeysFlags) => Promise<AgentConfig>;
  readonly out: (text: string) => void;
  readonly random: (length: number) => Uint8Array;
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
