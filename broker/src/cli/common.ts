/** What the commands have in common: the flags that find the broker, and printing for people or programs. */

import type { Command } from 'commander';
import { CONFIG_DEFAULTS } from '../config.ts';
import { plainJson, plainLines } from '../plain-text.ts';
import { type AdminClient, createAdminClient } from './admin-client.ts';
import type { View } from './device-view.ts';

/** Of an output that is no terminal. */
const DEFAULT_WIDTH = 80;

export interface CommonFlags {
  readonly data: string;
  readonly url?: string;
  readonly token?: string;
  readonly json?: boolean;
}

/** Adds the flags that find the broker of a data folder. */
export function common(command: Command): Command {
  return command
    .option(
      '--data <folder>',
      'data folder of the broker',
      process.env.FIELDPROOF_BROKER_DATA_DIR ?? CONFIG_DEFAULTS.dataDir,
    )
    .option('--url <url>', 'HTTP address of the broker (default: as left in the data folder)')
    .option('--token <file>', 'file of the bearer token (default: tokens/admin in the data folder)')
    .option('--json', 'machine-readable output');
}

export function createClient({ data, url, token }: CommonFlags): AdminClient {
  return createAdminClient({
    dataDir: data,
    ...(url !== undefined && { url }),
    ...(token !== undefined && { tokenFile: token }),
  });
}

/** One line or block for a person, or JSON with `--json`; neither moves the cursor, whatever a device or a broker says. */
export function print(
  flags: Pick<CommonFlags, 'json'>,
  value: unknown,
  format: (value: unknown, view: View) => string,
): void {
  const view = { width: process.stdout.columns ?? DEFAULT_WIDTH, now: Date.now() };
  const text = flags.json
    ? plainJson(JSON.stringify(value, null, 2))
    : plainLines(format(value, view));
  process.stdout.write(`${text}\n`);
}
