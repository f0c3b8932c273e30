/**
 * Which devices are away, and since when it was told: pure rules with a latch for each device, so that one outage is
 * told once and its end once. Times are Unix ms and passed in.
 *
 * A device is away when it has had no session for `offlineAfterMs`. After a start nothing is told for as long, so that
 * devices can come back first; one that does not come is judged by when it was last heard.
 */

/** An outage that was told. */
export interface Outage {
  /** When the last session ended; after a restart of the broker, when the device was last heard. */
  readonly since: number;
}

export interface OfflineWatchOptions {
  readonly offlineAfterMs: number;
  /** When the broker started. */
  readonly startedAt: number;
}

export class OfflineWatch {
  readonly #options: OfflineWatchOptions;
  /** Devices without a session that nothing was told of, and since when. */
  readonly #away = new Map<string, number>();
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
  heard(deviceId: string, at: number): void {
    if (!this.isKnown(deviceId)) this.#away.set(deviceId, Math.min(at, this.#options.startedAt));
  }

  /** A session begins. @returns the outage that it ends, if one was told. */
  begins(deviceId: string): Outage | null {
    const outage = this.#told.get(deviceId) ?? null;
    this.forget(deviceId);
    return outage;
  }

  /** The session ends, or the device is expected from now on. */
  ends(deviceId: string, at: number): void {
    if (!this.#told.has(deviceId)) this.#away.set(deviceId, at);
  }

  /** The device is none of ours any more, or not expected. */
  forget(deviceId: string): void {
    this.#away.delete(deviceId);
    this.#told.delete(deviceId);
  }

  /** Whether devices have had their time to come back since the start. */
  isJudging(now: number): boolean {
    return now - this.#options.startedAt >= this.#options.offlineAfterMs;
  }

  /** Outages that are to be told now, longest first; each is told when `latch` says so. */
  due(now: number): readonly (readonly [deviceId: string, outage: Outage])[] {
    if (!this.isJudging(now)) return [];
    const due: [string, Outage][] = [];
    for (const [deviceId, since] of this.#away) {
      if (now - since >= this.#options.offlineAfterMs) due.push([deviceId, { since }]);
    }
    return due.sort(([, a], [, b]) => a.since - b.since);
  }

  /** Notes that an outage is told. @returns false when it is over: nothing is to be told then. */
  latch(deviceId: string, outage: Outage): boolean {
    if (this.#away.get(deviceId) !== outage.since) return false;
    this.#away.delete(deviceId);
    this.#told.set(deviceId, outage);
    return true;
  }
}
