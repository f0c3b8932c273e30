/**
 * Readings to telemetry payloads (docs/spec/telemetry.md), as short as they get without losing a bit: what is
 * decoded from the payloads are the doubles that were given, at the µs.
 */

import { writeColumns } from './columns-writer.ts';
import { ProtocolError } from './errors.ts';
import { CONTENT_TYPE_COLUMNS, CONTENT_TYPE_SENML } from './readings-decode.ts';
import {
  ABSOLUTE_MICROS,
  isMetric,
  isProfile,
  isReadingTime,
  MAX_PROFILES,
  MAX_READINGS,
} from './readings-sink.ts';
import { type WriterRun, writeSenml } from './senml-writer.ts';

/** An envelope may have 60,000 bytes (envelope.md 1.1); header and signature take less than 200. */
export const MAX_PAYLOAD_BYTES = 59_800;
/** Readings of one payload that stay below 40,000 CBOR items however they are written (envelope.md 1.3). */
const MAX_SAFE_READINGS = 3000;
/** Sums and differences of any two times stay exact below this, in µs (about the year 2246). */
const MAX_TIME_MICROS = Number.MAX_SAFE_INTEGER - ABSOLUTE_MICROS;

export interface Reading {
  readonly profile: string;
  readonly metric: string;
  /** SenML unit, empty for none. */
  readonly unit: string;
  /** Unix time in ms, or relative to the instant of sealing below 2^28 s; kept to 1 µs. */
  readonly timeMs: number;
  readonly value: number | string | boolean;
}

export interface EncodeOptions {
  readonly format: 'senml' | 'columns';
  /** Longer payloads are split. Default MAX_PAYLOAD_BYTES. */
  readonly maxBytes?: number;
}

export interface TelemetryPayload {
  /** COSE content type: 112 or 65001. */
  readonly contentType: number;
  readonly payload: Uint8Array;
  /** How many readings it holds. */
  readonly count: number;
}

interface Run extends WriterRun {
  readonly timesUs: number[];
  readonly values: number[] & string[] & boolean[];
}

/**
 * Encodes readings into as few payloads as the limits allow; none for no readings. With `columns`, strings, booleans
 * and second readings of a metric at one instant go into SenML payloads, since columns cannot hold them.
 *
 * @throws {ProtocolError} ERR_ARGUMENT for a name outside of telemetry.md 1.2, a number that is not finite, a time
 * that is out of range, or one reading longer than `maxBytes`.
 */
export function encodeTelemetry(
  readings: readonly Reading[],
  options: EncodeOptions,
): TelemetryPayload[] {
  const { format, maxBytes = MAX_PAYLOAD_BYTES } = options;
  for (const reading of readings) checkReading(reading);
  if (format === 'senml') return encodeAll(readings, CONTENT_TYPE_SENML, maxBytes);
  const [numbers, others] = partition(readings);
  return [
    ...encodeAll(numbers, CONTENT_TYPE_COLUMNS, maxBytes),
    ...encodeAll(others, CONTENT_TYPE_SENML, maxBytes),
  ];
}

/** Encodes all in one payload, or halves until each part keeps within the limits. */
function encodeAll(
  readings: readonly Reading[],
  contentType: number,
  maxBytes: number,
): TelemetryPayload[] {
  const count = readings.length;
  if (count === 0) return [];
  const limit = contentType === CONTENT_TYPE_COLUMNS ? MAX_READINGS : MAX_SAFE_READINGS;
  if (count <= limit && new Set(readings.map(({ profile }) => profile)).size <= MAX_PROFILES) {
    const runs = toRuns(readings, contentType === CONTENT_TYPE_COLUMNS);
    const payload =
      contentType === CONTENT_TYPE_COLUMNS
        ? writeColumns(runs as Parameters<typeof writeColumns>[0])
        : writeSenml(runs);
    if (payload.length <= maxBytes) return [{ contentType, payload, count }];
    if (count === 1) {
      throw new ProtocolError(
        'ERR_ARGUMENT',
        `reading: expected at most ${maxBytes} bytes, got ${payload.length}`,
      );
    }
  }
  const half = count >> 1;
  return [
    ...encodeAll(readings.slice(0, half), contentType, maxBytes),
    ...encodeAll(readings.slice(half), contentType, maxBytes),
  ];
}

/** What columns can hold, and the rest. */
function partition(readings: readonly Reading[]): [Reading[], Reading[]] {
  const seen = new Set<string>();
  const numbers: Reading[] = [];
  const others: Reading[] = [];
  for (const reading of readings) {
    const key = `${reading.profile}/${reading.metric} ${toMicros(reading)}`;
    if (typeof reading.value !== 'number' || seen.has(key)) others.push(reading);
    else {
      seen.add(key);
      numbers.push(reading);
    }
  }
  return [numbers, others];
}

/** One run per metric, unit and type, in order of appearance. */
function toRuns(readings: readonly Reading[], sorted: boolean): Run[] {
  const runs = new Map<string, Run>();
  const ordered = sorted ? [...readings].sort((a, b) => a.timeMs - b.timeMs) : readings;
  for (const reading of ordered) {
    const { profile, metric, unit, value } = reading;
    const key = JSON.stringify([profile, metric, unit, typeof value]);
    let run = runs.get(key);
    if (run === undefined) {
      run = { profile, metric, unit, timesUs: [], values: [] as never };
      runs.set(key, run);
    }
    run.timesUs.push(toMicros(reading));
    run.values.push(value as never);
  }
  return [...runs.values()];
}

function toMicros({ timeMs }: Reading): number {
  return Math.round(timeMs * 1000) + 0;
}

function checkReading(reading: Reading): void {
  const { profile, metric, value } = reading;
  const name = `${profile}/${metric}`;
  if (!isProfile(profile) || !isMetric(metric)) {
    throw new ProtocolError('ERR_ARGUMENT', `name: expected profile/metric, got ${name}`);
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new ProtocolError('ERR_ARGUMENT', `${name}: expected a finite number, got ${value}`);
  }
  const timeUs = toMicros(reading);
  if (!isReadingTime(timeUs) || timeUs > MAX_TIME_MICROS) {
    throw new ProtocolError('ERR_ARGUMENT', `${name}: time ${reading.timeMs} ms is out of range`);
  }
}
