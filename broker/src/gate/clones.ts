/**
 * Cloned devices: two live copies of one key. docs/spec/settlement.md section 2.2. Pure state; what it finds is for
 * `../registry/quarantine.ts` to log. The registry says which boots are quarantined or released; the first seed of a
 * counter comes from the log, and the births before a restart from the database.
 */

import { type BootName, isSameBoot } from '@fieldproof/protocol/registry-device';

export type { BootName } from '@fieldproof/protocol/registry-device';

/** Boot counters remembered per device; older ones cannot be open any more. */
const MAX_COUNTERS = 64;

/** A boot that is out, and the one because of which. */
export interface Clone {
  readonly boot: BootName;
  readonly against: BootName;
}

/** The last two different boots of a device with a fresh birth, older first. */
export type FreshBoots = readonly BootName[];

/** What the registry says of a device's boots. */
export interface BootRights {
  readonly quarantined: readonly BootName[];
  readonly released: readonly BootName[];
}

export interface CloneWatchOptions {
  /** Boots of a device that are in the log, in the order of their first entries; asked once for each device. */
  readonly recordedBoots: (device: string) => Iterable<BootName>;
  readonly rightsOf: (device: string) => BootRights | null;
}

/**
 * What a fresh birth makes of those before it: `clone` when boots alternate A, B, A. B was recorded later: it is out,
 * and A goes on alone.
 */
export function afterFreshBirth(
  fresh: FreshBoots,
  boot: BootName,
): { readonly fresh: FreshBoots; readonly clone: Clone | null } {
  const [previous, last = previous] = fresh;
  if (last !== undefined && isSameBoot(last, boot)) return { fresh, clone: null };
  if (fresh.length === 2 && isSameBoot(previous!, boot)) {
    return { fresh: [boot], clone: { boot: last!, against: boot } };
  }
  return { fresh: last === undefined ? [boot] : [last, boot], clone: null };
}

export class CloneWatch {
  private readonly options: CloneWatchOptions;
  /** By device: counter to the seed that was recorded first, in the order of recording. */
  private readonly seeds = new Map<string, Map<number, number>>();
  private readonly fresh = new Map<string, FreshBoots>();

  constructor(options: CloneWatchOptions) {
    this.options = options;
  }

  /** Takes over the births of an earlier run; with none, forgets. */
  restore(device: string, fresh: FreshBoots): void {
    if (fresh.length === 0) this.fresh.delete(device);
    else this.fresh.set(device, fresh);
  }

  /** Whether envelopes of this boot are refused. Asked before anything of it is recorded. */
  isCloned(device: string, boot: BootName): boolean {
    const rights = this.options.rightsOf(device);
    if (rights !== null && rights.quarantined.length > 0 && has(rights.quarantined, boot)) {
      return true;
    }
    return this.conflict(device, boot) !== null;
  }

  /** "The same bootCounter with another seed": the boot that was recorded first stays. */
  conflict(device: string, boot: BootName): Clone | null {
    const { bootCounter } = boot;
    const bootSeed = this.seedsOf(device).get(bootCounter);
    if (bootSeed === undefined || bootSeed === boot.bootSeed) return null;
    if (has(this.options.rightsOf(device)?.released ?? [], boot)) return null;
    return {
      boot: { bootCounter, bootSeed: boot.bootSeed },
      against: { bootCounter, bootSeed },
    };
  }

  /**
   * An envelope of this boot was recorded durably.
   *
   * @returns the clone that it is, when another boot of its counter was recorded while it was on its way.
   */
  recorded(device: string, boot: BootName): Clone | null {
    const seeds = this.seedsOf(device);
    const seed = seeds.get(boot.bootCounter);
    if (seed === boot.bootSeed) return null;
    if (seed !== undefined) return this.conflict(device, boot);
    seeds.set(boot.bootCounter, boot.bootSeed);
    if (seeds.size > MAX_COUNTERS) seeds.delete(seeds.keys().next().value!);
    return null;
  }

  /**
   * A fresh birth of this boot was recorded durably.
   *
   * @returns the births to keep for a restart, null when they are as before, and the clone that it shows.
   */
  freshBirth(
    device: string,
    boot: BootName,
  ): { readonly fresh: FreshBoots | null; readonly clone: Clone | null } {
    const before = this.fresh.get(device) ?? [];
    const { fresh, clone } = afterFreshBirth(before, boot);
    if (fresh === before) return { fresh: null, clone };
    this.fresh.set(device, fresh);
    return { fresh, clone };
  }

  private seedsOf(device: string): Map<number, number> {
    let seeds = this.seeds.get(device);
    if (seeds === undefined) {
      seeds = new Map();
      for (const { bootCounter, bootSeed } of this.options.recordedBoots(device)) {
        if (!seeds.has(bootCounter)) seeds.set(bootCounter, bootSeed);
      }
      this.seeds.set(device, seeds);
    }
    return seeds;
  }
}

function has(boots: readonly BootName[], boot: BootName): boolean {
  return boots.some((known) => isSameBoot(known, boot));
}
