/** `fieldproof-broker devices …`. */

import type { Command } from 'commander';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { formatDevice, formatDevices } from './format.ts';

export function addDeviceCommands(program: Command): void {
  const devices = program.command('devices').description('enrolled devices');
  common(devices.command('list').description('one line each')).action(
    async (flags: CommonFlags) => {
      print(flags, await createClient(flags).call('GET', '/admin/devices'), formatDevices);
    },
  );
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
      const url = `${deviceUrl(device)}/rename`;
      print(flags, await createClient(flags).call('POST', url, { name }), formatDevice);
    },
  );
}

/** Path of a device in the admin API. */
export function deviceUrl(device: string): string {
  return `/admin/devices/${encodeURIComponent(device)}`;
}
