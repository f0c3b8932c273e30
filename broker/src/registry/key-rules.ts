/** Which boots a new key of a device may begin with, and when there may be one. docs/spec/identity.md 5.7, 7.4. Pure. */

import { MAX_RETIRED_KEYS } from '@fieldproof/protocol/registry-device';
import { BrokerError } from '../errors.ts';
import type { Device } from './registry.ts';

const MAX_BOOT = 0xffff_ffff;
/** Room for boots of the old hardware that nobody has seen yet. */
const SWAP_BOOTS = 1000;

/** The first boot of a spare part. @throws {BrokerError} ERR_FIRST_BOOT when there is none left. */
export function firstBootOfSwap(device: Device, highestBoot: number): number {
  const firstBoot = Math.max(highestBoot, device.firstBoot) + SWAP_BOOTS;
  if (firstBoot <= MAX_BOOT) return firstBoot;
  throw new BrokerError('ERR_FIRST_BOOT', `device ${device.deviceId}: has no boot counters left`);
}

/** @throws {BrokerError} ERR_FIRST_BOOT when boots from `firstBoot` on are, or may be, of an earlier key. */
export function checkFirstBoot(device: Device, firstBoot: number, highestBoot: number): void {
  const least = Math.max(highestBoot, device.firstBoot) + 1;
  if (firstBoot >= least) return;
  throw new BrokerError('ERR_FIRST_BOOT', `firstBoot: expected ${least} or more, got ${firstBoot}`);
}

/**
 * @param until - until when the key that is replaced shall count.
 * @throws {BrokerError} ERR_TOO_MANY_KEYS when one that still counts would be forgotten.
 */
export function checkHistory(device: Device, until: number, now: number): void {
  const oldest = device.retired[MAX_RETIRED_KEYS - 1];
  if (oldest === undefined || Math.min(oldest.until, until) <= now) return;
  const end = new Date(oldest.until).toISOString();
  throw new BrokerError(
    'ERR_TOO_MANY_KEYS',
    `device ${device.deviceId}: its oldest replaced key counts until ${end}`,
  );
}
