/**
 * What the fields of a decoded LoRaWAN payload measure. Configured fields first; else the names that Cayenne LPP
 * decoders give: `temperatureSensor: { 1: 21.5 }` (ChirpStack), `temperature_1: 21.5` (The Things Stack).
 */

import type { Checks } from '../schema.ts';
import { isMap } from '../schema.ts';
import { type MetricKeys, metricSpec } from './metric-keys.ts';
import { readingsOf, VALUE_KEYS, type ValueKeys } from './metric-value.ts';
import type { MetricSpec, Reading, SensorContext } from './sensor.ts';

export interface NodeMetric {
  readonly spec: MetricSpec;
  readonly value: Reading['value'];
}

export const FIELD_KEYS: Checks<ValueKeys> = VALUE_KEYS;

/** Longest list of fields that is looked at. */
const MAX_FIELDS = 64;

interface Known extends Omit<MetricKeys, 'min' | 'max'> {}

/** By the words of both decoders, without their channel. Steps are those of Cayenne LPP. */
const KNOWN: Readonly<Record<string, Known>> = {
  temperature: { metric: 'temperature', unit: 'Cel', resolution: 0.1 },
  temperatureSensor: { metric: 'temperature', unit: 'Cel', resolution: 0.1 },
  relative_humidity: { metric: 'humidity', unit: '%RH', resolution: 0.5 },
  humidity: { metric: 'humidity', unit: '%RH', resolution: 0.5 },
  humiditySensor: { metric: 'humidity', unit: '%RH', resolution: 0.5 },
  luminosity: { metric: 'illuminance', unit: 'lx', resolution: 1 },
  illuminance: { metric: 'illuminance', unit: 'lx', resolution: 1 },
  illuminanceSensor: { metric: 'illuminance', unit: 'lx', resolution: 1 },
  analog_in: { metric: 'analog', unit: '', resolution: 0.01 },
  analogInput: { metric: 'analog', unit: '', resolution: 0.01 },
  digital_in: { metric: 'digital', unit: '', resolution: 1 },
  digitalInput: { metric: 'digital', unit: '', resolution: 1 },
  presence: { metric: 'presence', unit: '', resolution: 1 },
  presenceSensor: { metric: 'presence', unit: '', resolution: 1 },
};

/** Written in hPa. */
const BAROMETERS = new Set(['barometric_pressure', 'barometer']);
const PRESSURE: Known = { metric: 'pressure', unit: 'Pa', resolution: 10 };

/**
 * The metrics of a decoded payload, without their node. A field that is not known has none.
 *
 * @param fields - what is configured; when there is any, nothing else is taken.
 */
export function metricsOf(
  decoded: unknown,
  fields: readonly ValueKeys[],
  reject: SensorContext['reject'],
): NodeMetric[] {
  if (fields.length > 0) {
    return fields.flatMap((keys) =>
      readingsOf(decoded, [keys], reject).map(({ value }) => ({ spec: metricSpec(keys), value })),
    );
  }
  if (!isMap(decoded)) return [];
  const found: NodeMetric[] = [];
  for (const [name, value] of Object.entries(decoded).slice(0, MAX_FIELDS)) {
    const [, word = '', channel] = /^([A-Za-z_]+?)(?:_(\d{1,3}))?$/.exec(name) ?? [];
    const known = BAROMETERS.has(word)
      ? PRESSURE
      : Object.hasOwn(KNOWN, word)
        ? KNOWN[word]
        : undefined;
    if (known === undefined) continue;
    const factor = known === PRESSURE ? 100 : 1;
    const values = isMap(value)
      ? Object.entries(value).slice(0, MAX_FIELDS)
      : [[channel, value] as const];
    for (const [at, each] of values) {
      if (each === null) continue;
      if (typeof each !== 'number' || (at !== undefined && !/^\d{1,3}$/.test(at))) {
        reject('wrong-type', `${name.slice(0, 40)}: ${typeof each}`);
        continue;
      }
      const metric = at === undefined ? known.metric : `${known.metric}_${at}`;
      found.push({ spec: metricSpec({ ...known, metric }), value: each * factor });
    }
  }
  return found;
}
