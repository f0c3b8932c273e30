/**
 * A batch: readings with boot-relative times, until they are sealed.
 *
 * Times become absolute, or relative to the sealing, only when the batch is closed, so that a clock that is
 * confirmed in between places all of them (docs/spec/telemetry.md 1.3, 1.4).
 */

import type { Value } from './sensors/sensor.ts';

export interface BatchReading {
  readonly profile: string;
  readonly metric: string;
  /** SenML unit, empty when there is none. */
  readonly unit: string;
  readonly value: Value;
  readonly bootMs: number;
}

/** A reading whose time is fixed. */
export interface TimedReading extends Omit<BatchReading, 'bootMs'> {
  /** Unix ms, or ms relative to the sealing (negative or zero). */
  readonly timeMs: number;
}

/**
 * Gives each reading its time.
 *
 * @param now - both clocks at the sealing. With a bound times are absolute, without one relative.
 */
export function timeReadings(
  readings: readonly BatchReading[],
  now: { readonly bootMs: number; readonly offsetMs: number; readonly boundMs: number | null },
): TimedReading[] {
  // One offset for all, in whole ms, so that equal distances stay equal.
  const offsetMs = now.boundMs === null ? -Math.floor(now.bootMs) : now.offsetMs;
  return readings.map(({ bootMs, ...reading }) => ({ ...reading, timeMs: bootMs + offsetMs }));
}
