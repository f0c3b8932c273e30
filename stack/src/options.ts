/** Options of `npm start`, in a package `fieldproof-network`. Defaults < environment < flags. */

import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { DEFAULT_MAX_PAUSE_MS } from './child-process.ts';
import { StackError } from './errors.ts';

export interface StartOptions {
  readonly data: string;
  /** Whether the demo fleet runs. */
  readonly demo: boolean;
  /** Whether TLS listeners for other machines open. */
  readonly lan: boolean;
  /** Whether the plain profile opens, for MQTT tools of this machine. */
  readonly plain: boolean;
  /** First of nine ports in a row, or 0 for free ones. */
  readonly portBase: number;
  /** Longest pause before a process that died is started again, ms. */
  readonly maxRestartPauseMs: number;
  readonly influxUrl: string | null;
}

export const DEFAULT_PORT_BASE = 7880;
/** The last of its ports is eight above it. */
const MAX_PORT_BASE = 65_527;

const IS_SOURCE = import.meta.url.endsWith('.ts');
const START = IS_SOURCE ? 'npm start' : 'fieldproof-network';
const WITH = IS_SOURCE ? `${START} --` : START;

const HELP = `
Examples:
  ${START.padEnd(44)}everything on this machine, data in ./data
  ${WITH} --no-demo --data /srv/fieldproof
  ${`${WITH} --lan`.padEnd(44)}let devices of the local network join
  INFLUX_URL=http://127.0.0.1:8086 ${START}

Ports, from --port-base: +0 broker HTTP, +1 control (dashboard, API), +2 Node-RED editor,
+3 MQTT on loopback, +4 MQTT over TLS and +5 HTTPS (both only with --lan),
+8 MQTT for any tool of this machine (only with --plain).`;

/**
 * @returns the options, or null when only help was asked for (and printed).
 * @throws {StackError} ERR_OPTION
 */
export function parseOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): StartOptions | null {
  const command = new Command(WITH)
    .description('Starts the whole Fieldproof network on this machine.')
    .option('--data <dir>', 'data folder', env.FIELDPROOF_DATA ?? './data')
    .option('--no-demo', 'without the demo fleet that replays recorded data')
    .option('--lan', 'open TLS listeners for the local network and print the join line', false)
    .option('--plain', 'open the plain profile for MQTT tools of this machine', false)
    .option('--port-base <port>', 'first of nine ports; 0 takes free ones', port, DEFAULT_PORT_BASE)
    .option(
      '--max-restart-pause <ms>',
      'longest pause before a process that died is started again',
      pause,
      DEFAULT_MAX_PAUSE_MS,
    )
    .addHelpText('after', HELP)
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  try {
    command.parse(args as string[], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return null;
    throw new StackError('ERR_OPTION', (error as Error).message.replace(/^error: /, ''));
  }
  if (command.args.length > 0) {
    throw new StackError('ERR_OPTION', `unexpected argument ${command.args[0]}`);
  }
  const { data, demo, lan, plain, portBase, maxRestartPause } = command.opts<{
    data: string;
    demo: boolean;
    lan: boolean;
    plain: boolean;
    portBase: number;
    maxRestartPause: number;
  }>();
  return {
    ...{ data, demo, lan, plain, portBase },
    maxRestartPauseMs: maxRestartPause,
    influxUrl: influxUrl(env.INFLUX_URL),
  };
}

function pause(text: string): number {
  const value = Number(text);
  if (!/^\d{1,7}$/.test(text) || value < 10) {
    throw new InvalidArgumentError('expected milliseconds from 10 to 9999999.');
  }
  return value;
}

function port(text: string): number {
  const value = Number(text);
  if (!/^\d{1,5}$/.test(text) || (value !== 0 && (value < 1024 || value > MAX_PORT_BASE))) {
    throw new InvalidArgumentError(`expected 0 or a port from 1024 to ${MAX_PORT_BASE}.`);
  }
  return value;
}

function influxUrl(value: string | undefined): string | null {
  if (value === undefined || value === '') return null;
  let url: URL;
  try {
    url = new URL(value);
  } catch {
    throw new StackError('ERR_OPTION', 'INFLUX_URL: expected http(s)://host:port');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new StackError('ERR_OPTION', `INFLUX_URL: expected http or https, got ${url.protocol}`);
  }
  return value;
}
