/**
 * Which devices are away, and since when it was told: pure rules with a latch for each device, so that one outage is
 * told once and its end once. How long something lasts is measured in ticks, the milliseconds of a monotonic clock, for
 * clocks of brokers are set back, and start in 1970.
 *
 * A device is away when it has had no session for `offlineAfterMs`. After a start nothing is told for as long, so that
 * devices can come back first; one that does not come is judged by when it was last heard.
 */

/** An outage that was told. */
export interface Outage {
  /** When the last session ended; after a restart of the broker, when the device was last heard. Unix ms. */
  readonly since: number;
}

/** A device has no session, which nobody was told of. */
export interface Absence {
  readonly fromTick: number;
  /** When it was last heard before the broker started, Unix ms; null when it had a session since. */
  readonly heardAt: number | null;
}

export interface OfflineWatchOptions {
  readonly offlineAfterMs: number;
  /** When the broker started. */
  readonly startTick: number;
}

export class OfflineWatch {
  readonly #options: OfflineWatchOptions;
  readonly #away = new Map<string, Absence>();
  readonly #told = new Map<string, Outage>();

  constructor(options: OfflineWatchOptions) {
    this.#options = options;
  }

  /** Outages that were told. */
  get size(): number {
    return this.#told.size;
  }

  /** Takes over an outage that an earlier run has told. */
  restore(deviceId: string, outage: Outage): void {
    this.#told.set(deviceId, outage);
  }

  /** Whether a start has yet to find out when the device was last heard. */
  isKnown(deviceId: string): boolean {
    return this.#away.has(deviceId) || this.#told.has(deviceId);
  }

  /** What a start found out: there has been no session, and the device was last heard then. */
  heard(deviceId: string, heardAt: number): void {
    if (this.isKnown(deviceId)) return;
    this.#away.set(deviceId, { fromTick: this.#options.startTick, heardAt });
  }

  /** A session begins. @returns the outage that it ends, if one was told. */
  begins(deviceId: string): Outage | null {
    const outage = this.#told.get(deviceId) ?? null;
    this.forget(deviceId);
    return outage;
  }

  /** The session ends, or the device is expected from now on. */
  ends(deviceId: string, tick: number): void {
    if (!this.#told.has(deviceId)) this.#away.set(deviceId, { fromTick: tick, heardAt: null });
  }

  /** The device is none of ours any more, or not expected. */
  forget(deviceId: string): void {
    this.#away.delete(deviceId);
    this.#told.delete(deviceId);
  }

  /** Whether devices have had their time to come back since the start. */
  isJudging(tick: number): boolean {
    return tick - this.#options.startTick >= this.#options.offlineAfterMs;
  }

  /** Absences that are to be told now, longest first; each is told when `latch` says so. */
  due(tick: number): readonly (readonly [deviceId: string, absence: Absence])[] {
    if (!this.isJudging(tick)) return [];
    return [...this.#away]
      .filter(([, { fromTick }]) => tick - fromTick >= this.#options.offlineAfterMs)
      .sort(([, a], [, b]) => a.fromTick - b.fromTick);
  }

  /** Notes that an absence is told as an outage. @returns false when it is over: nothing is to be told then. */
  latch(deviceId: string, absence: Absence, outage: Outage): boolean {
    if (this.#away.get(deviceId) !== absence) return false;
    this.#away.delete(deviceId);
    this.#told.set(deviceId, outage);
    return true;
  }
}
