/**
 * Decoded readings: what both telemetry content types decode to (docs/spec/telemetry.md section 1).
 *
 * Times and values lie in typed arrays; consecutive readings of one metric and unit form a run. A sink is meant
 * to be reused: decoding into the same one again makes no garbage but the runs.
 */

import { ProtocolError, type ProtocolErrorCode } from './errors.ts';

/** Readings of one envelope at most (telemetry.md 1.8); protects memory and one turn of the event loop. */
export const MAX_READINGS = 5000;
/** Profiles of one envelope at most (telemetry.md 1.8). */
export const MAX_PROFILES = 64;

/** From here on a time is absolute (telemetry.md 1.3), in µs. */
export const ABSOLUTE_MICROS = 2 ** 28 * 1e6;
/** The end of the year 9999 (telemetry.md 1.6), in µs. */
export const LAST_MICROS = 253402300799 * 1e6;

/**
 * What a run carries. Stores keep `number`, `string` and `boolean`; `data` (vd) and `sum` (s without a value) are
 * valid and recorded.
 */
export type ReadingType = 'number' | 'string' | 'boolean' | 'data' | 'sum';

/** The resolved name of a reading (telemetry.md 1.1). */
export interface ReadingName {
  readonly profile: string;
  readonly metric: string;
}

/** Consecutive readings of one metric: indices `start` to `end` − 1 of times and values. */
export interface ReadingRun extends ReadingName {
  /** SenML unit, empty for none. */
  readonly unit: string;
  readonly type: ReadingType;
  readonly start: number;
  readonly end: number;
}

/** The readings of one envelope, in the payload's order. Arrays may be longer than `count`. */
export interface DecodedReadings {
  readonly count: number;
  readonly runs: readonly ReadingRun[];
  /** Whole µs: Unix time from 2^28 s on, else relative to the instant of sealing. */
  readonly timesUs: Float64Array;
  /** Numbers and sums; 1 and 0 for booleans; the index into `objects` for strings and data. */
  readonly values: Float64Array;
  readonly objects: readonly (string | Uint8Array)[];
}

// telemetry.md 1.2
const PROFILE = /^[a-z][a-z0-9_-]{0,31}$/;
const METRIC = /^[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}$/;

/** Whether the text is a profile name (telemetry.md 1.2). */
export function isProfile(text: string): boolean {
  return PROFILE.test(text);
}

/** Whether the text is a metric name (telemetry.md 1.2). */
export function isMetric(text: string): boolean {
  return METRIC.test(text);
}

/**
 * Profile and metric of a resolved SenML name (telemetry.md 1.1 and 1.2); undefined when the metric breaks its rule.
 * Where the part before the first `/` is no profile, the whole name is a metric of profile `readings`.
 */
export function splitName(name: string): ReadingName | undefined {
  const slash = name.indexOf('/');
  const profile = name.slice(0, Math.max(slash, 0));
  const split = PROFILE.test(profile)
    ? { profile, metric: name.slice(slash + 1) }
    : { profile: 'readings', metric: name };
  return METRIC.test(split.metric) ? split : undefined;
}

/** Whether a time in µs may be in a payload: relative, or absolute up to the year 9999 (telemetry.md 1.3, 1.6). */
export function isReadingTime(micros: number): boolean {
  return micros > -ABSOLUTE_MICROS && micros <= LAST_MICROS;
}

/** Collects readings. Decoders write, everyone else sees `DecodedReadings`. */
export class ReadingSink implements DecodedReadings {
  count = 0;
  readonly runs: (ReadingRun & { end: number })[] = [];
  readonly timesUs = new Float64Array(MAX_READINGS);
  readonly values = new Float64Array(MAX_READINGS);
  readonly objects: (string | Uint8Array)[] = [];
  private readonly profiles: string[] = [];

  /** Forgets everything; the arrays stay. */
  reset(): void {
    this.count = 0;
    this.runs.length = 0;
    this.objects.length = 0;
    this.profiles.length = 0;
  }

  /**
   * The readings that follow belong to this name, unit and type.
   *
   * @param code - thrown as a ProtocolError when this is the 65th profile.
   */
  run(name: ReadingName, unit: string, ...[type, code]: [ReadingType, ProtocolErrorCode]): void {
    const { runs, count } = this;
    const last = runs[runs.length - 1];
    const { profile, metric } = name;
    if (
      last !== undefined &&
      last.metric === metric &&
      last.profile === profile &&
      last.type === type &&
      last.unit === unit
    ) {
      return;
    }
    if (last?.profile !== profile && !this.profiles.includes(profile)) {
      if (this.profiles.length === MAX_PROFILES) {
        throw new ProtocolError(code, `payload: expected at most ${MAX_PROFILES} profiles`);
      }
      this.profiles.push(profile);
    }
    runs.push({ profile, metric, unit, type, start: count, end: count });
  }

  /** Adds a reading to the current run. The caller has checked time and count. */
  add(timeUs: number, value: number): void {
    const index = this.count++;
    this.timesUs[index] = timeUs;
    this.values[index] = value;
    this.runs[this.runs.length - 1]!.end = index + 1;
  }

  /** Counts readings of the current run whose times and values the caller has written behind the last one. */
  extend(readings: number): void {
    this.count += readings;
    this.runs[this.runs.length - 1]!.end = this.count;
  }

  /** Adds a string or data reading to the current run. */
  addObject(timeUs: number, value: string | Uint8Array): void {
    this.add(timeUs, this.objects.length);
    this.objects.push(value);
  }
}
