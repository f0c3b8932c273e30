/**
 * How metrics are named as fields.
 *
 * InfluxDB keeps the field key `time` for itself and drops such fields. A metric called `time` (or
 * `_time`, `__time`, …) is therefore stored with one more underscore in front. The mapping is
 * one-to-one between all metrics and all field keys except `time` itself, which no store accepts.
 */

/** The field key that holds `metric`. */
export function fieldKeyOfMetric(metric: string): string {
  return RESERVED.test(metric) ? `_${metric}` : metric;
}

/** The metric that `key` holds; the inverse of {@link fieldKeyOfMetric}. */
export function metricOfFieldKey(key: string): string {
  return key.startsWith('_') && RESERVED.test(key) ? key.slice(1) : key;
}

/** Whether a store refuses `key` as a field or tag. */
export function isReservedKey(key: string): boolean {
  return key === 'time';
}

const RESERVED = /^_*time$/;
