/** `fieldproof-broker devices suspend`, `resume`, `release`, and `appeals …`. */

import type { Command } from 'commander';
import { BrokerError } from '../errors.ts';
import { changeDevice } from './change-device.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { formatAppeals, formatDevice } from './device-view.ts';
import { parseDuration } from './duration.ts';
import { findDevice } from './find-device.ts';

interface SuspendFlags extends CommonFlags {
  readonly reason: string;
  readonly kind?: string;
  readonly evidence?: readonly string[];
  readonly for?: string;
}

interface DecideFlags extends CommonFlags {
  readonly reason: string;
  readonly lift?: boolean;
  readonly uphold?: boolean;
}

/** @param devices - the command `devices`. */
export function addStandingCommands(devices: Command): void {
  common(devices.command('suspend <device>').description('end its session and take nothing of it'))
    .requiredOption('--reason <text>', 'why; it is logged, and shown to the owner')
    .option('--kind <kind>', 'operator, or the code of what was seen (default operator)')
    .option('--evidence <index...>', 'entries of the log that show it')
    .option('--for <duration>', 'such as 14d, 36h or 90m (default: until it is resumed)')
    .action(suspend);
  common(devices.command('resume <device>').description('end a suspension'))
    .option('--reason <text>', 'why; it is logged')
    .action((device: string, flags: CommonFlags & { readonly reason?: string }) =>
      changeDevice(flags, device, { path: 'resume', body: reasonOf(flags) }),
    );
  common(
    devices
      .command('release <device> <boot>')
      .description('have a quarantined boot judged again: <counter>.<seed>, as show prints it'),
  )
    .option('--reason <text>', 'why; it is logged')
    .action((device: string, boot: string, flags: CommonFlags & { readonly reason?: string }) =>
      changeDevice(flags, device, { path: 'release', body: { boot, ...reasonOf(flags) } }),
    );
  common(
    devices.command('undelegate <device>').description('nobody relays for it any more, as a leaf'),
  )
    .option('--reason <text>', 'why; it is logged')
    .action((device: string, flags: CommonFlags & { readonly reason?: string }) =>
      changeDevice(flags, device, { path: 'undelegate', body: reasonOf(flags) }),
    );
}

export function addAppealCommands(program: Command): void {
  const appeals = program.command('appeals').description('what owners say against suspensions');
  common(appeals.command('list').description('those without a decision first')).action(
    async (flags: CommonFlags) => {
      print(flags, await createClient(flags).call('GET', '/admin/appeals'), formatAppeals);
    },
  );
  common(appeals.command('decide <device>').description('answer the appeal of a device’s owner'))
    .option('--lift', 'the suspension was wrong, and ends')
    .option('--uphold', 'it stays as it is')
    .requiredOption('--reason <text>', 'why; it is logged, and shown to the owner')
    .action(decide);
}

async function suspend(device: string, flags: SuspendFlags): Promise<void> {
  const { reason, kind, evidence } = flags;
  const body = {
    reason,
    ...(kind !== undefined && { kind }),
    ...(evidence !== undefined && { evidence: evidence.map(parseIndex) }),
    ...(flags.for !== undefined && { forMs: parseDuration(flags.for) }),
  };
  await changeDevice(flags, device, { path: 'suspend', body });
}

async function decide(device: string, flags: DecideFlags): Promise<void> {
  const { lift = false, uphold = false, reason } = flags;
  if (lift === uphold) {
    throw new BrokerError('ERR_REQUEST', 'decide: expected --lift or --uphold');
  }
  const client = createClient(flags);
  const url = `/admin/appeals/${encodeURIComponent(await findDevice(client, device))}/decide`;
  const outcome = lift ? 'lifted' : 'upheld';
  print(flags, await client.call('POST', url, { outcome, reason }), formatDevice);
}

function parseIndex(text: string): number {
  const index = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(index)) return index;
  throw new BrokerError('ERR_REQUEST', `--evidence: expected indices of entries, got ${text}`);
}

function reasonOf({ reason }: { readonly reason?: string }): object {
  return reason === undefined ? {} : { reason };
}
