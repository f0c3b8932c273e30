/** Devices by standing, and how many are here. Pure. */

import { type DeviceStanding, standingOf } from '@fieldproof/protocol/registry-device';
import type { Device } from '../registry/registry.ts';

export interface DeviceCounts {
  readonly standings: Readonly<Record<DeviceStanding, number>>;
  readonly online: number;
}

export function countDevices(
  devices: readonly Device[],
  { isOnline, at }: { readonly isOnline: (deviceId: string) => boolean; readonly at: number },
): DeviceCounts {
  const standings = { good: 0, expired: 0, suspended: 0, unenrolled: 0 };
  let online = 0;
  for (const device of devices) {
    standings[standingOf(device, at)] += 1;
    if (isOnline(device.deviceId)) online += 1;
  }
  return { standings, online };
}
