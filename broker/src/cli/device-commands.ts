/** `fieldproof-broker devices …`: looking at them. What changes them is in the files named here. */

import type { Command } from 'commander';
import { type CommonFlags, common, createClient, print } from './common.ts';
import { addDetailCommands } from './detail-commands.ts';
import { formatDevice, formatDevices } from './device-view.ts';
import { findDeviceUrl } from './find-device.ts';
import { addIdentityCommands } from './identity-commands.ts';
import { addStandingCommands } from './standing-commands.ts';
import { addEnrolCommand } from './token-commands.ts';

export function addDeviceCommands(program: Command): void {
  const devices = program
    .command('devices')
    .description(
      'enrolled devices; <device> is an id, 6 or more characters of its beginning or end, or a name',
    );
  common(devices.command('list').description('one line each')).action(
    async (flags: CommonFlags) => {
      print(flags, await createClient(flags).call('GET', '/admin/devices'), formatDevices);
    },
  );
  common(devices.command('show <device>').description('everything about one')).action(
    async (device: string, flags: CommonFlags) => {
      const client = createClient(flags);
      print(flags, await client.call('GET', await findDeviceUrl(client, device)), formatDevice);
    },
  );
  addEnrolCommand(devices);
  addStandingCommands(devices);
  addDetailCommands(devices);
  addIdentityCommands(devices);
}
