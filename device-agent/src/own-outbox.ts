/**
 * Opens the agent's outbox. What waits in it is sealed anew first where the device has taken the place of another one,
 * or where the network knows another boot of the same count.
 */

import { dirname } from 'node:path';
import { type Boot, bootKey, lastBootCounter } from './boot.ts';
import type { DeviceIdentity } from './device-key.ts';
import type { Disk } from './disk.ts';
import type { Log } from './log.ts';
import type { Outbox } from './outbox.ts';
import { finishRebase, rebaseOutbox } from './outbox-rebase.ts';

export interface OwnOutboxOptions {
  readonly folder: string;
  readonly identity: DeviceIdentity;
  readonly network: string;
  readonly disk: Disk;
  readonly log: Log;
  /** The outbox's front in memory. */
  readonly front: string | undefined;
  /** Boots of which nothing was recorded: what waits of them goes above all others. */
  readonly refused: readonly Boot[];
  /** The highest boot counter that the network has listed. */
  readonly highestListed: number;
  /** Makes and opens an outbox. */
  readonly open: (folder: string, front: string | undefined) => Promise<Outbox>;
}

export async function openOwnOutbox(options: OwnOutboxOptions): Promise<Outbox> {
  const { folder, identity, network, disk, log, front, refused, open } = options;
  const { firstBoot, tookPlace } = identity;
  await finishRebase(folder, disk);
  const outbox = await open(folder, front);
  if (!tookPlace && refused.length === 0) return outbox;
  const above = Math.max(
    ...[outbox.highestBootCounter, options.highestListed, firstBoot - 1],
    await lastBootCounter(dirname(folder), disk),
  );
  const moved = (boot: Boot): Boot => {
    const { counter, seed } = boot;
    const at = refused.findIndex((each) => bootKey(each) === bootKey(boot));
    if (at >= 0) return { counter: above + 1 + at, seed };
    // A key that took a place signs boots from `firstBoot` on only.
    return tookPlace && counter < firstBoot ? { counter: firstBoot - 1 + counter, seed } : boot;
  };
  // What is in the front is sealed anew too, from the card.
  await outbox.close();
  const openPlain = (path: string): Promise<Outbox> => open(path, undefined);
  const rebased = await rebaseOutbox(await openPlain(folder), {
    ...identity,
    ...{ network, disk, folder, open: openPlain, moved },
  });
  if (rebased.sealed > 0) {
    log.info('sealed anew what waited', { device: identity.deviceId, envelopes: rebased.sealed });
  }
  await rebased.outbox.close();
  return await open(folder, front);
}
