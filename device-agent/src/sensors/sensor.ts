/**
 * What a sensor driver is: a file of this folder that gives a plain object.
 *
 * A driver exports `options`, the check of its own configuration keys, and `create`, which returns a
 * {@link Sensor}. `create` opens nothing that `stop` would have to close: that is for `start`.
 */

import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Check } from '../schema.ts';

/** Where readings come from (docs/spec/messages.md section 1). */
export type Source = 'sensor' | 'replay' | 'simulated';

export interface MetricSpec {
  /** docs/spec/telemetry.md 1.2. */
  readonly metric: string;
  /** SenML unit (RFC 8428 section 12.1, RFC 8798), empty when there is none. */
  readonly unit: string;
  /** Step of the instrument, in the unit; values are rounded to whole multiples of it. */
  readonly resolution?: number;
  /** Smallest and greatest value that is believed, else those of the unit (`plausible.ts`). */
  readonly min?: number;
  readonly max?: number;
}

export type Value = number | string | boolean;

export interface Reading {
  readonly metric: string;
  readonly value: Value;
}

/** Why something that came from a sensor was refused and counted. */
export type RejectReason =
  | 'checksum'
  | 'fault'
  | 'flood'
  | 'malformed'
  | 'not-a-number'
  | 'out-of-range'
  | 'too-long'
  | 'too-many-metrics'
  | 'unknown-metric'
  | 'wrong-type';

/** Readings of one profile at one instant. */
export interface Sample {
  /** Monotonic time since the start of the boot, ms. */
  readonly bootMs: number;
  readonly readings: readonly Reading[];
}

interface SensorBase {
  readonly source: Source;
  /** May grow while the sensor runs, up to 256; the next birth tells the network. */
  readonly metrics: readonly MetricSpec[];
}

/** A sensor that is asked. A metric that has no value now is left out of the answer. */
export interface PullSensor extends SensorBase {
  readonly kind: 'pull';
  /**
   * @param signal - given when the agent stops or has waited too long: ends what was begun.
   * @throws when nothing can be read; the agent reports it and asks again later.
   */
  read(signal?: AbortSignal): Promise<readonly Reading[]>;
}

/** A sensor that speaks by itself. */
export interface PushSensor extends SensorBase {
  readonly kind: 'push';
  /** Begins to call `emit`; resolves when there is nothing more to come, rejects when it failed. */
  run(emit: (sample: Sample) => void, signal: AbortSignal): Promise<void>;
}

export type Sensor = PullSensor | PushSensor;

/** What the agent hands to a driver. */
export interface SensorContext<Options = unknown> {
  readonly options: Options;
  readonly profile: string;
  readonly intervalMs: number;
  /** The agent's data folder; relative file names in options start here. */
  readonly dataDir: string;
  readonly clock: Clock;
  /** Monotonic time since the start of the boot, ms. */
  readonly bootMs: () => number;
  /** Wall clock minus `bootMs`, whole ms; undefined while the wall clock is not believed. */
  readonly wallOffsetMs: () => number | undefined;
  readonly log: Log;
  /** Counts what the driver has refused; `detail` is logged now and then and holds no secret. */
  readonly reject: (reason: RejectReason, detail: string) => void;
  /** Root of the file system, `/` but in tests. */
  readonly root: string;
}

export interface SensorDriver<Options = unknown> {
  readonly source: Source;
  readonly options: Check<Options>;
  create(context: SensorContext<Options>): Promise<Sensor>;
}
