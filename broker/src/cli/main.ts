#!/usr/bin/env node
/** `fieldproof-broker`: runs a broker, and administers the one of a data folder. */

import { Command, Option } from 'commander';
import { renderUnicodeCompact } from 'uqr';
import { CONFIG_DEFAULTS, readConfigFile, readEnvironment } from '../config.ts';
import { describeFailure } from '../errors.ts';
import { createAdminClient } from './admin-client.ts';
import { formatDevice, formatDevices, formatStatus, formatTokens } from './format.ts';

interface CommonFlags {
  readonly data: string;
  readonly url?: string;
  readonly json?: boolean;
}

interface StartFlags {
  readonly data?: string;
  readonly config?: string;
  readonly lan?: boolean;
  readonly host?: string;
  readonly httpPort?: number;
  readonly mqttPort?: number;
  readonly httpsPort?: number;
  readonly mqttsPort?: number;
  readonly name?: readonly string[];
  readonly logLevel?: string;
}

interface TokenFlags extends CommonFlags {
  readonly uses: number;
  readonly hours: number;
  readonly group?: string;
  readonly cell?: string;
  readonly host?: string;
}

const program = new Command('fieldproof-broker')
  .description('The Fieldproof broker: verifies, records and receipts what devices send.')
  .version('0.1.0')
  .showHelpAfterError();

program
  .command('start')
  .description('run a broker; settings: defaults < --config < environment < flags')
  .option('--data <folder>', `data folder (default ${CONFIG_DEFAULTS.dataDir})`)
  .option('--config <file>', 'settings as JSON')
  .option('--host <address>', 'address of the plain listeners (default 127.0.0.1)')
  .option('--http-port <port>', 'HTTP (default 7880, 0: any free one)', Number)
  .option('--mqtt-port <port>', 'MQTT (default 7883)', Number)
  .option('--lan', 'open HTTPS and MQTT over TLS to other machines')
  .option('--https-port <port>', 'HTTPS (default 7885)', Number)
  .option('--mqtts-port <port>', 'MQTT over TLS (default 7884)', Number)
  .option('--name <names...>', 'further names and addresses in the server certificate')
  .option('--log-level <level>', 'trace, debug, info, warn, error or silent')
  .action(async (flags: StartFlags) => {
    const { data, config, name, ...settings } = flags;
    // The other commands do without the server and start faster.
    const { runBroker } = await import('../broker-main.ts');
    await runBroker({
      ...(config !== undefined && readConfigFile(config)),
      ...readEnvironment(process.env),
      ...settings,
      ...(data !== undefined && { dataDir: data }),
      ...(name !== undefined && { names: name }),
    });
  });

common(
  program.command('status').description('addresses, counters and the state of the log'),
).action(async (flags: CommonFlags) => {
  print(flags, await createClient(flags).call('GET', '/admin/status'), formatStatus);
});

const devices = program.command('devices').description('enrolled devices');
common(devices.command('list').description('one line each')).action(async (flags: CommonFlags) => {
  print(flags, await createClient(flags).call('GET', '/admin/devices'), formatDevices);
});
common(devices.command('show <device>').description('everything about one')).action(
  async (device: string, flags: CommonFlags) => {
    print(flags, await createClient(flags).call('GET', deviceUrl(device)), formatDevice);
  },
);
common(devices.command('suspend <device>').description('refuse what it sends, until resumed'))
  .requiredOption('--reason <text>', 'why; it is logged')
  .action(async (device: string, flags: CommonFlags & { readonly reason: string }) => {
    const body = { reason: flags.reason };
    const answer = await createClient(flags).call('POST', `${deviceUrl(device)}/suspend`, body);
    print(flags, answer, formatDevice);
  });
common(devices.command('resume <device>').description('end a suspension')).action(
  async (device: string, flags: CommonFlags) => {
    const answer = await createClient(flags).call('POST', `${deviceUrl(device)}/resume`);
    print(flags, answer, formatDevice);
  },
);
common(devices.command('rename <device> <name>').description('give it another name')).action(
  async (device: string, name: string, flags: CommonFlags) => {
    const answer = await createClient(flags).call('POST', `${deviceUrl(device)}/rename`, { name });
    print(flags, answer, formatDevice);
  },
);

const tokens = program.command('token').description('enrolment tokens');
tokenFlags(
  common(tokens.command('create').description('print a join line and its QR code')),
).action(createToken);
common(tokens.command('list').description('tokens by their hash')).action(
  async (flags: CommonFlags) => {
    print(flags, await createClient(flags).call('GET', '/admin/tokens'), formatTokens);
  },
);
common(tokens.command('revoke <hash>').description('no more enrolments with it')).action(
  async (hash: string, flags: CommonFlags) => {
    await createClient(flags).call('DELETE', `/admin/tokens/${encodeURIComponent(hash)}`);
    print(flags, { revoked: hash }, () => `revoked ${hash}`);
  },
);
tokenFlags(
  common(program.command('join-line').description('the same as token create: a line to paste')),
).action(createToken);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${describeFailure(error)}\n`);
  process.exitCode = 1;
}

async function createToken(flags: TokenFlags): Promise<void> {
  const { uses, hours, group, cell, host } = flags;
  const answer = await createClient(flags).call('POST', '/admin/tokens', {
    uses,
    hours,
    ...(group !== undefined && { group }),
    ...(cell !== undefined && { cell }),
    ...(host !== undefined && { host }),
  });
  print(flags, answer, (value) => {
    const { joinLine } = value as { readonly joinLine: string };
    return `${joinLine}\n\n${renderUnicodeCompact(joinLine)}\n\nvalid for ${hours} h, ${uses} device(s)`;
  });
}

function tokenFlags(command: Command): Command {
  return command
    .addOption(
      new Option('--uses <n>', 'devices that may join with it').default(1).argParser(Number),
    )
    .addOption(new Option('--hours <n>', 'how long it is valid').default(24).argParser(Number))
    .option('--group <name>', 'group of those devices')
    .option('--cell <h3>', 'their cell when they state none')
    .option('--host <name>', 'how devices reach this machine');
}

function common(command: Command): Command {
  return command
    .option(
      '--data <folder>',
      'data folder of the broker',
      process.env.FIELDPROOF_BROKER_DATA_DIR ?? CONFIG_DEFAULTS.dataDir,
    )
    .option('--url <url>', 'HTTP address of the broker (default: as left in the data folder)')
    .option('--json', 'machine-readable output');
}

function createClient({ data, url }: CommonFlags) {
  return createAdminClient({ dataDir: data, ...(url !== undefined && { url }) });
}

function deviceUrl(device: string): string {
  return `/admin/devices/${encodeURIComponent(device)}`;
}

function print(flags: CommonFlags, value: unknown, format: (value: unknown) => string): void {
  process.stdout.write(`${flags.json ? JSON.stringify(value, null, 2) : format(value)}\n`);
}
