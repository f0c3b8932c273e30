/**
 * Cloned devices: two live copies of one key. docs/spec/settlement.md section 2.2. Pure state. After a restart
 * the first seed of a counter comes from the log and a quarantine from where its owner kept it.
 */

export interface BootName {
  readonly bootCounter: number;
  /** Big-endian uint32. */
  readonly bootSeed: number;
}

/** Boot counters remembered per device; older ones cannot be open any more. */
const MAX_COUNTERS = 64;

interface DeviceBoots {
  /** Counter to the seed that was recorded first, in the order of recording. */
  readonly seeds: Map<number, number>;
  readonly quarantined: Set<string>;
  /** The last two different boots with a fresh birth, older first. */
  fresh: readonly BootName[];
}

export class CloneWatch {
  private readonly devices = new Map<string, DeviceBoots>();
  private readonly recordedBoots: (device: string) => Iterable<BootName>;

  /** @param recordedBoots - the boots of a device that are in the log; asked once, before anything else of it. */
  constructor(recordedBoots: (device: string) => Iterable<BootName> = () => []) {
    this.recordedBoots = recordedBoots;
  }

  /** Takes over a quarantine from an earlier run. */
  restore(device: string, boot: BootName): void {
    this.stateOf(device).quarantined.add(nameOf(boot));
  }

  /** Whether envelopes of this boot are refused. Asked before anything of it is recorded. */
  isQuarantined(device: string, boot: BootName): boolean {
    const state = this.stateOf(device);
    if (state.quarantined.size > 0 && state.quarantined.has(nameOf(boot))) return true;
    // The same bootCounter with another seed: the boot that was recorded first stays.
    const seed = state.seeds.get(boot.bootCounter);
    return seed !== undefined && seed !== boot.bootSeed;
  }

  /** An envelope of this boot was recorded. */
  recorded(device: string, boot: BootName): void {
    const state = this.stateOf(device);
    if (state.seeds.has(boot.bootCounter)) return;
    state.seeds.set(boot.bootCounter, boot.bootSeed);
    if (state.seeds.size > MAX_COUNTERS) {
      const oldest = state.seeds.keys().next().value!;
      state.seeds.delete(oldest);
    }
  }

  /**
   * A fresh birth of this boot was recorded.
   *
   * @returns the boot that is quarantined by it: the second of A, B, A.
   */
  freshBirth(device: string, boot: BootName): BootName | null {
    const state = this.stateOf(device);
    const [previous, last] = state.fresh;
    if (last !== undefined && sameName(last, boot)) return null;
    if (last === undefined) {
      if (previous === undefined || !sameName(previous, boot)) {
        state.fresh = previous === undefined ? [boot] : [previous, boot];
      }
      return null;
    }
    if (previous !== undefined && sameName(previous, boot)) {
      // A, B, A: B was recorded later. It is out; A goes on alone.
      state.quarantined.add(nameOf(last));
      state.fresh = [boot];
      return last;
    }
    state.fresh = [last, boot];
    return null;
  }

  private stateOf(device: string): DeviceBoots {
    let state = this.devices.get(device);
    if (state === undefined) {
      state = { seeds: new Map(), quarantined: new Set(), fresh: [] };
      this.devices.set(device, state);
      for (const boot of this.recordedBoots(device)) {
        if (!state.seeds.has(boot.bootCounter)) state.seeds.set(boot.bootCounter, boot.bootSeed);
      }
    }
    return state;
  }
}

function sameName(a: BootName, b: BootName): boolean {
  return a.bootCounter === b.bootCounter && a.bootSeed === b.bootSeed;
}

function nameOf(boot: BootName): string {
  return `${boot.bootCounter}.${boot.bootSeed}`;
}
