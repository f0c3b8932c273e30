/** `fieldproof-broker start`. */

import type { Command } from 'commander';
import { CONFIG_DEFAULTS, readConfigFile, readEnvironment } from '../config.ts';
import { PLAIN_PORT } from '../mqtt/plain/settings.ts';
import { wholeNumber } from './whole-number.ts';

/** Where a broker listens, and how it is set up otherwise. */
export interface StartFlags {
  readonly data?: string;
  readonly config?: string;
  readonly lan?: boolean;
  readonly host?: string;
  readonly httpPort?: number;
  readonly mqttPort?: number;
  readonly httpsPort?: number;
  readonly mqttsPort?: number;
  readonly plain?: boolean;
  readonly plainPort?: number;
  readonly name?: readonly string[];
  readonly logLevel?: string;
}

export function addStartCommand(program: Command): void {
  settingsFlags(
    program
      .command('start')
      .description('run a broker; settings: defaults < --config < environment < flags'),
  )
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent')
    .action(start);
}

/** Adds the flags that say how a broker is set up. */
export function settingsFlags(command: Command): Command {
  return command
    .option('--data <folder>', `data folder (default ${CONFIG_DEFAULTS.dataDir})`)
    .option('--config <file>', 'settings as JSON')
    .option('--host <address>', 'address of the listeners without TLS (default 127.0.0.1)')
    .option('--http-port <port>', 'HTTP (default 7880, 0: any free one)', wholeNumber)
    .option('--mqtt-port <port>', 'MQTT (default 7883)', wholeNumber)
    .option('--lan', 'open HTTPS and MQTT over TLS to other machines')
    .option('--https-port <port>', 'HTTPS (default 7885)', wholeNumber)
    .option('--mqtts-port <port>', 'MQTT over TLS (default 7884)', wholeNumber)
    .option(
      '--plain',
      `open the plain profile for MQTT tools of this machine on port ${PLAIN_PORT}`,
    )
    .option('--plain-port <port>', 'the same on another port (0: any free one)', wholeNumber)
    .option('--name <names...>', 'further names and addresses in the server certificate');
}

/** The settings that flags, the environment and a file make together, over which the defaults are laid. */
export function settingsOf({ data, config, name, plain, ...settings }: StartFlags): object {
  return {
    ...(config !== undefined && readConfigFile(config)),
    ...readEnvironment(process.env),
    ...(plain === true && { plainPort: PLAIN_PORT }),
    ...settings,
    ...(data !== undefined && { dataDir: data }),
    ...(name !== undefined && { names: name }),
  };
}

async function start(flags: StartFlags): Promise<void> {
  // The other commands do without the server and start faster.
  const { runBroker } = await import('../broker-main.ts');
  await runBroker(settingsOf(flags));
}
