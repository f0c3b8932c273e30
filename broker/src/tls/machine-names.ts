/** What a server certificate of this machine is for. */

import { hostname, networkInterfaces } from 'node:os';

/** Names and addresses by which this machine can be reached on its networks. */
export function machineNames(): readonly string[] {
  const addresses = Object.values(networkInterfaces())
    .flat()
    .filter((address) => address !== undefined && !address.address.startsWith('fe80:'))
    .map((address) => address!.address);
  const host = hostname();
  const local = host.includes('.') ? [] : [`${host}.local`];
  return [...new Set(['localhost', host, ...local, ...addresses])];
}
