/** `fieldproof-broker devices swap`, `transfer` and `unenrol`. */

import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { BrokerError } from '../errors.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { formatDevice } from './device-view.ts';
import { findDeviceUrl } from './find-device.ts';
import { formatJoinLine, hoursOption } from './token-commands.ts';

interface SwapFlags extends CommonFlags {
  readonly hours?: number;
  readonly host?: string;
  readonly compromised?: boolean;
}

interface TransferFlags extends CommonFlags {
  readonly owner: string;
  readonly ownershipFile: string;
  readonly reason: string;
}

/** @param devices - the command `devices`. */
export function addIdentityCommands(devices: Command): void {
  common(
    devices
      .command('swap <device>')
      .description('print a join line for the hardware that takes its place and keeps its history')
      .addOption(hoursOption())
      .option('--host <name>', 'how devices reach this machine')
      .option('--compromised', 'nothing that the old hardware still sends counts from then on'),
  ).action(swap);
  common(
    devices
      .command('transfer <device>')
      .description('give it to another owner, when the phrase of the present one is lost')
      .requiredOption('--owner <did:key>', 'the new owner')
      .requiredOption('--ownership-file <file>', 'their signed statement, base64url')
      .requiredOption('--reason <text>', 'why; it is logged'),
  ).action(transfer);
  common(
    devices
      .command('unenrol <device>')
      .description('take nothing of it any more; enrolling it again needs a token')
      .requiredOption('--reason <text>', 'why; it is logged'),
  ).action(async (device: string, flags: CommonFlags & { readonly reason: string }) => {
    const client = createClient(flags);
    const url = await findDeviceUrl(client, device);
    const body = { reason: flags.reason };
    print(flags, await client.call('POST', `${url}/unenrol`, body), formatDevice);
  });
}

async function swap(device: string, flags: SwapFlags): Promise<void> {
  const { hours, host, compromised = false } = flags;
  const client = createClient(flags);
  const answer = await client.call('POST', `${await findDeviceUrl(client, device)}/swap`, {
    compromised,
    ...(hours !== undefined && { hours }),
    ...(host !== undefined && { host }),
  });
  print(flags, answer, (value) => {
    const { joinLine, token } = value as {
      readonly joinLine: string;
      readonly token: { readonly device: string; readonly expiresAt: number };
    };
    return `${formatJoinLine(joinLine)}\n\nvalid until ${new Date(token.expiresAt).toISOString()}, for one device of the same owner, which becomes ${token.device}`;
  });
}

async function transfer(device: string, flags: TransferFlags): Promise<void> {
  const { owner, reason } = flags;
  const body = { owner, reason, ownership: readStatement(flags.ownershipFile) };
  const client = createClient(flags);
  const url = await findDeviceUrl(client, device);
  print(flags, await client.call('POST', `${url}/transfer`, body), formatDevice);
}

function readStatement(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (cause) {
    const message = `ownership file ${path}: ${(cause as Error).message}`;
    throw new BrokerError('ERR_REQUEST', message, { cause });
  }
}
