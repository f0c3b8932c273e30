/** What the commands have in common that change a device. */

import { type CommonFlags, createClient, print } from './common.ts';
import { formatDevice } from './device-view.ts';
import { findDeviceUrl } from './find-device.ts';

/** Asks for a change of a device and shows what it is then. */
export async function changeDevice(
  flags: CommonFlags,
  device: string,
  change: { readonly path: string; readonly body: object },
): Promise<void> {
  const client = createClient(flags);
  const url = `${await findDeviceUrl(client, device)}/${change.path}`;
  print(flags, await client.call('POST', url, change.body), formatDevice);
}
