/**
 * Whether a device can still sample after a change: a pure judgement of who gave readings by when.
 * docs/spec/remote-config.md section 3.4.
 */

/** Intervals in which a sensor must have given a reading. */
const PATIENCE_INTERVALS = 3;
/** Of its own longest silence. */
const PATIENCE_SILENCES = 3;
const DAY_MS = 86_400_000;

export interface WatchedSensor {
  readonly profile: string;
  /** Of a sensor that is asked; undefined for one that speaks by itself, which may be silent for good reasons. */
  readonly intervalMs: number | undefined;
  /** It gave readings before the change. */
  readonly gaveBefore: boolean;
  /** Of one that speaks by itself: its longest silence before the change, ms, where enough is known. */
  readonly longestSilenceMs?: number | undefined;
  /** Its readings so far, at the change. */
  readonly readings: number;
}

export interface Watch {
  readonly sensors: readonly WatchedSensor[];
  /** Monotonic ms of the change. */
  readonly startedMs: number;
  readonly graceMs: number;
}

export type WatchVerdict =
  | { readonly type: 'proved' }
  | { readonly type: 'waiting' }
  | { readonly type: 'failed'; readonly reasons: readonly string[] };

/**
 * Sensors that speak by themselves may be silent for good reasons, so none is a reason to go back; but what cannot be known
 * is said. One is silent that gave readings before, and none since for three times its longest silence (at most a day).
 *
 * @returns undefined while one of them may yet give one; else the profiles that are silent.
 */
export function silentOnTheirOwn(
  { sensors, startedMs, graceMs }: Watch,
  readings: ReadonlyMap<string, number>,
  nowMs: number,
): readonly string[] | undefined {
  const silent = sensors.filter(
    ({ profile, intervalMs, gaveBefore, longestSilenceMs, readings: before }) =>
      intervalMs === undefined &&
      gaveBefore &&
      longestSilenceMs !== undefined &&
      (readings.get(profile) ?? 0) <= before,
  );
  const isDue = ({ longestSilenceMs = 0 }: WatchedSensor): boolean =>
    nowMs >= startedMs + Math.min(PATIENCE_SILENCES * longestSilenceMs, DAY_MS) + graceMs;
  return silent.every(isDue) ? silent.map(({ profile }) => profile) : undefined;
}

/**
 * @param readings - readings of each profile by now.
 * @param nowMs - monotonic, on the scale of `startedMs`.
 */
export function judgeWatch(
  { sensors, startedMs, graceMs }: Watch,
  readings: ReadonlyMap<string, number>,
  nowMs: number,
): WatchVerdict {
  const asked = sensors.filter(({ intervalMs }) => intervalMs !== undefined);
  const gives = (sensor: WatchedSensor): boolean =>
    (readings.get(sensor.profile) ?? 0) > sensor.readings;
  const dueMs = (sensor: WatchedSensor): number =>
    startedMs + PATIENCE_INTERVALS * (sensor.intervalMs ?? 0) + graceMs;
  const silent = asked.filter((sensor) => sensor.gaveBefore && !gives(sensor));
  const late = silent.filter((sensor) => nowMs >= dueMs(sensor));
  if (late.length > 0) {
    const reasons = late.map(
      ({ profile, intervalMs }) =>
        `${profile}: expected a reading within ${PATIENCE_INTERVALS} intervals of ${intervalMs} ms, got none`,
    );
    return { type: 'failed', reasons };
  }
  const someGives = asked.length === 0 || sensors.some(gives);
  if (silent.length === 0 && someGives) return { type: 'proved' };
  if (!someGives && asked.every((sensor) => nowMs >= dueMs(sensor))) {
    const names = asked.map(({ profile }) => profile).join(', ');
    return { type: 'failed', reasons: [`expected readings of ${names}, got none of any`] };
  }
  return { type: 'waiting' };
}
