/** `fieldproof-broker devices swap`, `replace-key`, `transfer` and `unenrol`. */

import { existsSync, readFileSync } from 'node:fs';
import { decode } from '@fieldproof/protocol/cbor';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import type { Command } from 'commander';
import { BrokerError } from '../errors.ts';
import { readBytes, writeNewFile } from '../root-key.ts';
import { sendSigned } from './admin-client.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { formatDevice } from './device-view.ts';
import { findDeviceUrl } from './find-device.ts';
import { hint } from './hint.ts';
import { formatJoinLine, hoursOption } from './token-commands.ts';

interface SwapFlags extends CommonFlags {
  readonly hours?: number;
  readonly host?: string;
  readonly compromised?: boolean;
}

interface ReplaceKeyFlags extends CommonFlags {
  readonly lost?: boolean;
  readonly stolen?: boolean;
  readonly requestFile?: string;
  readonly out?: string;
  readonly hours?: number;
  readonly host?: string;
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
      .command('replace-key <device>')
      .description('give a device another key when its own is lost or in the wrong hands')
      .option('--lost', 'the key is lost: what it has signed still counts for rotationGraceDays')
      .option('--stolen', 'somebody else has it: nothing that it signed counts from then on')
      .option('--request-file <file>', 'a rotation that the owner has signed, instead of either')
      .option('--out <file>', 'where the answer to it goes, which the device needs')
      .addOption(hoursOption())
      .option('--host <name>', 'how the device reaches this machine'),
  ).action(replaceKey);
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

async function replaceKey(device: string, flags: ReplaceKeyFlags): Promise<void> {
  const { lost = false, stolen = false, requestFile, out, hours, host } = flags;
  const ways = [lost, stolen, requestFile !== undefined].filter(Boolean).length;
  if (ways !== 1) {
    const message = 'replace-key: expected one of --lost, --stolen and --request-file';
    throw new BrokerError('ERR_REQUEST', message);
  }
  if (requestFile !== undefined) return sendRotation(device, { ...flags, requestFile });
  if (out !== undefined) throw new BrokerError('ERR_REQUEST', '--out: goes with --request-file');
  const given = {
    compromised: stolen,
    ...(hours !== undefined && { hours }),
    ...(host !== undefined && { host }),
  };
  const client = createClient(flags);
  const answer = await client.call('POST', `${await findDeviceUrl(client, device)}/swap`, given);
  print(flags, answer, (value) => {
    const { joinLine, token } = value as {
      readonly joinLine: string;
      readonly token: { readonly device: string; readonly expiresAt: number };
    };
    return [
      formatJoinLine(joinLine),
      '',
      `until ${new Date(token.expiresAt).toISOString()}, for device ${token.device}`,
      'Join once with a new key and the phrase of its owner: id, name and history stay.',
      ...(stolen
        ? [
            'Until then the stolen key is in force. To refuse it at once:',
            `  ${hint(`devices suspend ${token.device} --reason 'key stolen'`, flags)}`,
            'and, before the join:',
            `  ${hint(`devices resume ${token.device}`, flags)}`,
          ]
        : []),
    ].join('\n');
  });
}

/** By the owner, whose phrase need not be on this machine. docs/spec/identity.md section 7. */
async function sendRotation(
  device: string,
  flags: ReplaceKeyFlags & { readonly requestFile: string },
): Promise<void> {
  const { requestFile, out, data, url } = flags;
  // The answer comes once: what it would overwrite is noticed before.
  if (out !== undefined && existsSync(out)) {
    throw new BrokerError('ERR_FILE_EXISTS', `${out}: expected no such file`);
  }
  const client = createClient(flags);
  const deviceUrl = await findDeviceUrl(client, device);
  const request = readBytes(requestFile);
  if (!deviceUrl.endsWith(`/${rotationDevice(request)}`)) {
    throw new BrokerError('ERR_REQUEST', `${requestFile}: expected a rotation of ${device}`);
  }
  const options = { dataDir: data, ...(url !== undefined && { url }) };
  const answer = await sendSigned('/v1/rotate', request, options);
  if (out !== undefined) writeNewFile(out, answer, 0o600);
  print(flags, await client.call('GET', deviceUrl), formatDevice);
}

/** The device that a request is about; empty when it is no such request. */
function rotationDevice(request: Uint8Array): string {
  const body = decode(parseEnvelope(request).payload);
  const device = body instanceof Map ? body.get('device') : (body as { device?: unknown })?.device;
  return typeof device === 'string' ? device : '';
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
