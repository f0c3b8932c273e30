/**
 * Whether a value can be what its metric says: the last check between a sensor and a signature. A value
 * that no encoder takes would cost the whole batch, so it ends here.
 *
 * Knows what physics allows for a unit; narrower limits (`min`, `max`) belong to the metric.
 */

import type { MetricSpec, RejectReason } from './sensor.ts';

/** Longest text of a reading, characters. */
export const MAX_TEXT_CHARS = 256;
/** Beyond this no unit has a use for a number: it is a register full of ones, or a broken float. */
const MAX_MAGNITUDE = 1e18;

/** Smallest and greatest value of a SenML unit. */
const LIMITS: Readonly<Record<string, readonly [number, number]>> = {
  Cel: [-273.15, 10_000],
  K: [0, 10_273.15],
  // Sensors that are wet or not adjusted say a little more than all.
  '%RH': [-5, 110],
  '%EL': [-5, 110],
  Pa: [-1e9, 1e9],
  lx: [-1, 1e6],
  pH: [-2, 16],
  lat: [-90, 90],
  lon: [-180, 180],
};

/** Why the value is refused, or undefined when it can be believed. */
export function refusalOf(spec: MetricSpec, value: unknown): RejectReason | undefined {
  if (typeof value === 'boolean') return undefined;
  if (typeof value === 'string') {
    if (value.length > MAX_TEXT_CHARS) return 'too-long';
    return /\p{Cc}|\p{Cs}/u.test(value) ? 'malformed' : undefined;
  }
  if (typeof value !== 'number') return 'wrong-type';
  if (!Number.isFinite(value)) return 'not-a-number';
  const [least, most] = Object.hasOwn(LIMITS, spec.unit)
    ? LIMITS[spec.unit]!
    : [-MAX_MAGNITUDE, MAX_MAGNITUDE];
  const { min = least, max = most } = spec;
  return value < min || value > max ? 'out-of-range' : undefined;
}
