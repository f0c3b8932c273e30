/** What every driver's configuration says of a metric in the same words. */

import { type Checks, numberAbove, text } from '../schema.ts';
import type { MetricSpec } from './sensor.ts';

export interface MetricKeys {
  readonly metric: string;
  readonly unit: string;
  readonly resolution?: number | undefined;
  readonly min?: number | undefined;
  readonly max?: number | undefined;
}

/** A number of any sign, or nothing. */
export const anyNumber = numberAbove(Number.NEGATIVE_INFINITY, undefined);

/** Decimal as people and devices write it: no hexadecimal, no decimal comma. */
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

export const METRIC_KEYS: Checks<MetricKeys> = {
  metric: text({
    pattern: /^[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}$/,
    is: 'a metric name',
    byDefault: null,
  }),
  unit: text({ pattern: /^\P{Cc}{0,32}$/u, is: 'a SenML unit', byDefault: '' }),
  resolution: numberAbove(0, undefined),
  min: anyNumber,
  max: anyNumber,
};

/** The keys as the sampler wants them. */
export function metricSpec({ metric, unit, resolution, min, max }: MetricKeys): MetricSpec {
  return {
    metric,
    unit,
    ...(resolution === undefined ? {} : { resolution }),
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
  };
}

/** The number that a text says, NaN when it says none. Blanks around it do not count. */
export function parseDecimal(written: string): number {
  const trimmed = written.trim();
  return trimmed.length <= 64 && DECIMAL.test(trimmed) ? Number(trimmed) : Number.NaN;
}
