/** How long each sensor has been silent at most, between two readings of this run: what is usual for one that speaks by itself. */

/** Readings, each at an instant of its own, from which on a silence is taken for usual. */
const MIN_INSTANTS = 4;

export class Silences {
  readonly #sensors = new Map<string, { lastMs: number; longestMs: number; instants: number }>();

  /** @param nowMs - monotonic. */
  note(profile: string, nowMs: number): void {
    const known = this.#sensors.get(profile);
    if (known === undefined) {
      this.#sensors.set(profile, { lastMs: nowMs, longestMs: 0, instants: 1 });
      return;
    }
    if (nowMs > known.lastMs) known.instants += 1;
    known.longestMs = Math.max(known.longestMs, nowMs - known.lastMs);
    known.lastMs = nowMs;
  }

  /** Ms; undefined where too little is known. */
  longestMs(profile: string): number | undefined {
    const known = this.#sensors.get(profile);
    return known !== undefined && known.instants >= MIN_INSTANTS ? known.longestMs : undefined;
  }
}
