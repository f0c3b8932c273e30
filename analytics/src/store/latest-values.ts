/**
 * Which of several values is the latest, the same for every store.
 */
import { compare } from './range-query.ts';
import type { LatestValue } from './time-series-store.ts';

/** Keeps `one` if it is newer than what `newest` has of its device, profile and metric. */
export function keepNewest(newest: Map<string, LatestValue>, one: LatestValue): void {
  const id = JSON.stringify([one.device, one.profile, one.metric]);
  const other = newest.get(id);
  if (other === undefined || isNewer(one, other)) newest.set(id, one);
}

/** By device, profile, metric. */
export function sortLatest(newest: ReadonlyMap<string, LatestValue>): LatestValue[] {
  return [...newest.values()].sort(
    (a, b) =>
      compare(a.device, b.device) || compare(a.profile, b.profile) || compare(a.metric, b.metric),
  );
}

/** At the same instant the greater value counts. */
function isNewer(one: LatestValue, other: LatestValue): boolean {
  if (one.timeMs !== other.timeMs) return one.timeMs > other.timeMs;
  return compare(one.value, other.value) > 0;
}
