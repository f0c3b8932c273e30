/**
 * Asks the sensors at their intervals and hears those that speak by themselves. One that fails is told,
 * asked again with growing pauses, and stops no other.
 */

import type { BatchReading } from './batch.ts';
import { type Clock, sleepUntil } from './clock.ts';
import type { SensorConfig } from './config.ts';
import { reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import { quantise } from './quantise.ts';
import type { KnownSensor } from './remote-rules.ts';
import type { loadSensorDriver } from './sensors/drivers.ts';
import { refusalOf } from './sensors/plausible.ts';
import type { MetricSpec, RejectReason, Sample, Sensor } from './sensors/sensor.ts';

/** A reading that began this late still counts as taken at its tick, so that distances stay even. */
const ON_TIME_MS = 20;
const MAX_PAUSE_MS = 300_000;
/** Longest read: a hanging bus must not hang the sensor for ever. */
const READ_TIMEOUT_MS = 30_000;
/** Readings that a sensor which speaks by itself may give in a second: a flood must not fill the outbox. */
const MAX_PUSHED_PER_SECOND = 1000;

export interface ProfileSpec {
  readonly profile: string;
  readonly metrics: readonly MetricSpec[];
  readonly intervalMs: number | undefined;
}

export interface SensorStatus {
  readonly profile: string;
  readonly driver: string;
  readonly failing: string | null;
  readonly samples: number;
  /** What was refused since the start, by reason. */
  readonly rejected: Readonly<Partial<Record<RejectReason, number>>>;
}

export interface SamplerOptions {
  readonly sensors: readonly SensorConfig[];
  readonly dataDir: string;
  readonly root: string;
  readonly loadDriver: typeof loadSensorDriver;
  readonly clock: Clock;
  readonly bootMs: () => number;
  /** Wall clock minus boot time, whole ms. */
  readonly offsetMs: () => number;
  /** How far the wall clock may be off, ms; null while it is not believed. */
  readonly boundMs: () => number | null;
  readonly log: Log;
  readonly onReadings: (readings: readonly BatchReading[]) => void;
  readonly onFailed: (profile: string, reason: string) => void;
  readonly onRecovered: (profile: string) => void;
}

interface Running {
  readonly config: SensorConfig;
  readonly ends: AbortController;
  loop: Promise<void>;
  sensor: Sensor | undefined;
  failing: string | null;
  failures: number;
  samples: number;
  readonly rejected: Partial<Record<RejectReason, number>>;
  /** Readings pushed in the second of the boot that is named. */
  pushed: { second: number; count: number };
}

export class Sampler {
  readonly #options: SamplerOptions;
  #running: Running[];

  constructor(options: SamplerOptions) {
    this.#options = options;
    this.#running = options.sensors.map((config) => newRunning(config));
  }

  /** Opens every sensor once, so that `profiles` is known, and begins to sample. */
  async start(): Promise<void> {
    await this.#begin(this.#running);
  }

  async stop(): Promise<void> {
    await this.#end(this.#running);
  }

  /** Goes over to other sensors. Those that stay as they are go on without a break. */
  async change(sensors: readonly SensorConfig[]): Promise<void> {
    const next = sensors.map((config) => {
      const before = this.#running.find((each) => each.config.profile === config.profile);
      if (before === undefined) return newRunning(config);
      // Of one profile nothing else ever changes.
      if (before.config.intervalMs === config.intervalMs) return before;
      const { failing, samples, rejected } = before;
      return { ...newRunning(config), failing, samples, rejected };
    });
    await this.#end(this.#running.filter((each) => !next.includes(each)));
    const added = next.filter((each) => !this.#running.includes(each));
    this.#running = next;
    await this.#begin(added);
  }

  async #begin(running: readonly Running[]): Promise<void> {
    await Promise.all(
      running.map((each) => this.#open(each).catch((error: unknown) => this.#failed(each, error))),
    );
    for (const each of running) each.loop = this.#loop(each, each.ends.signal);
  }

  async #end(running: readonly Running[]): Promise<void> {
    for (const { ends } of running) ends.abort();
    await Promise.all(running.map(({ loop }) => loop));
  }

  /** Profiles and metrics of the sensors that could be opened. */
  profiles(): ProfileSpec[] {
    return this.#running.flatMap(({ config, sensor }) => {
      if (sensor === undefined) return [];
      const intervalMs = sensor.kind === 'pull' ? config.intervalMs : undefined;
      // What the agent believes of a metric is its own affair; the network learns what it measures.
      const metrics = sensor.metrics.map(({ min: _min, max: _max, ...spec }) => spec);
      return [{ profile: config.profile, metrics, intervalMs }];
    });
  }

  /** Kind and metrics of the sensors that could be opened, by profile. */
  known(): Map<string, KnownSensor> {
    return new Map(
      this.#running.flatMap(({ config, sensor }) => {
        if (sensor === undefined) return [];
        const metrics = sensor.metrics.map(({ metric }) => metric);
        return [[config.profile, { kind: sensor.kind, metrics }]];
      }),
    );
  }

  status(): SensorStatus[] {
    return this.#running.map(({ config, failing, samples, rejected }) => ({
      profile: config.profile,
      driver: config.driver,
      failing,
      samples,
      rejected: { ...rejected },
    }));
  }

  async #open(running: Running): Promise<Sensor> {
    if (running.sensor !== undefined) return running.sensor;
    const { dataDir, clock, bootMs, offsetMs, boundMs, log, root, loadDriver } = this.#options;
    const { config } = running;
    const driver = await loadDriver(config.driver);
    if (driver === undefined) throw new Error(`${config.driver}: no such driver`);
    running.sensor = await driver.create({
      options: config.options,
      profile: config.profile,
      intervalMs: config.intervalMs,
      dataDir,
      clock,
      bootMs,
      wallOffsetMs: () => (boundMs() === null ? undefined : offsetMs()),
      log,
      reject: (reason, detail) => this.#reject(running, reason, detail),
      root,
    });
    return running.sensor;
  }

  async #loop(running: Running, signal: AbortSignal): Promise<void> {
    const { clock, bootMs } = this.#options;
    const { intervalMs } = running.config;
    // At once, so that nobody waits for the first reading of a slow sensor; from then on at round times.
    let dueMs = bootMs();
    let isFirst = true;
    while (!signal.aborted) {
      try {
        const sensor = await this.#open(running);
        if (sensor.kind === 'push') {
          await sensor.run((sample) => this.#take(running, sensor, sample), signal);
          return;
        }
        await sleepUntil({ clock, now: bootMs, dueMs, signal });
        if (signal.aborted) return;
        const startedMs = bootMs();
        const tickMs = startedMs - dueMs <= ON_TIME_MS ? dueMs : startedMs;
        const readings = await this.#withTimeout((ends) => sensor.read(ends), signal);
        if (readings === undefined) return;
        this.#take(running, sensor, { bootMs: Math.floor(tickMs), readings });
        // Ticks that were missed are not made up for.
        if (isFirst) dueMs = this.#nextOnGrid(intervalMs, intervalMs / 2);
        else dueMs += intervalMs * Math.max(1, Math.ceil((bootMs() - dueMs) / intervalMs));
        isFirst = false;
      } catch (error) {
        this.#failed(running, error);
        const pauseMs = intervalMs * 2 ** Math.min(running.failures - 1, 10);
        dueMs = bootMs() + Math.min(pauseMs, Math.max(intervalMs, MAX_PAUSE_MS));
        await sleepUntil({ clock, now: bootMs, dueMs, signal });
      }
    }
  }

  /**
   * The next whole multiple of the interval on the wall clock, as boot time: round times take fewer bytes.
   *
   * @param leastMs - from now on; sensors are not asked twice in a moment.
   */
  #nextOnGrid(intervalMs: number, leastMs: number): number {
    const offsetMs = this.#options.offsetMs();
    const wallMs = Math.ceil(this.#options.bootMs() + leastMs) + offsetMs;
    return Math.ceil(wallMs / intervalMs) * intervalMs - offsetMs;
  }

  #take(running: Running, sensor: Sensor, sample: Sample): void {
    const { profile } = running.config;
    if (running.failing !== null) {
      running.failing = null;
      running.failures = 0;
      this.#options.log.info('sensor recovered', { profile });
      this.#options.onRecovered(profile);
    }
    running.samples += 1;
    const readings: BatchReading[] = [];
    for (const { metric, value } of sample.readings) {
      const spec = sensor.metrics.find((each) => each.metric === metric);
      const refusal = spec === undefined ? 'unknown-metric' : refusalOf(spec, value);
      if (spec === undefined || refusal !== undefined) {
        this.#reject(running, refusal ?? 'unknown-metric', `${metric}: ${shown(value)}`);
        continue;
      }
      if (sensor.kind === 'push' && sensor.source === 'sensor' && this.#floods(running)) {
        this.#reject(running, 'flood', `more than ${MAX_PUSHED_PER_SECOND} readings a second`);
        continue;
      }
      const rounded = typeof value === 'number' ? quantise(value, spec.resolution) : value;
      readings.push({ profile, metric, unit: spec.unit, value: rounded, bootMs: sample.bootMs });
    }
    if (readings.length > 0) this.#options.onReadings(readings);
  }

  #floods({ pushed }: Running): boolean {
    const second = Math.floor(this.#options.bootMs() / 1000);
    if (pushed.second !== second) {
      pushed.second = second;
      pushed.count = 0;
    }
    pushed.count += 1;
    return pushed.count > MAX_PUSHED_PER_SECOND;
  }

  #reject(running: Running, reason: RejectReason, detail: string): void {
    const count = (running.rejected[reason] ?? 0) + 1;
    running.rejected[reason] = count;
    // The 1st, 10th, 100th …: what goes on for months fills no log.
    if (!/^10*$/.test(String(count))) return;
    const { profile } = running.config;
    this.#options.log.warn('sensor value refused', { profile, reason, detail, count });
  }

  #failed(running: Running, error: unknown): void {
    const { profile, driver } = running.config;
    const reason = reasonOf(error);
    running.failures += 1;
    const isNew = running.failing === null;
    running.failing = reason;
    if (!isNew) return;
    this.#options.log.warn('sensor failed', { profile, driver, reason });
    this.#options.onFailed(profile, reason);
  }

  /** What `work` gives, undefined when the signal comes first. Its own signal ends what it began. */
  #withTimeout<T>(
    work: (ends: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T | undefined> {
    const { clock } = this.#options;
    const ends = new AbortController();
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clock.cancel(timer);
        signal.removeEventListener('abort', stopped);
      };
      const stopped = (): void => {
        done();
        ends.abort();
        resolve(undefined);
      };
      const timer = clock.after(READ_TIMEOUT_MS, () => {
        done();
        ends.abort();
        reject(new Error(`no answer within ${READ_TIMEOUT_MS} ms`));
      });
      signal.addEventListener('abort', stopped, { once: true });
      work(ends.signal).then(resolve, reject).finally(done);
    });
  }
}

function newRunning(config: SensorConfig): Running {
  return {
    config,
    ends: new AbortController(),
    loop: Promise.resolve(),
    sensor: undefined,
    failing: null,
    failures: 0,
    samples: 0,
    rejected: {},
    pushed: { second: 0, count: 0 },
  };
}

/** A value for the log: short, in one line. */
function shown(value: unknown): string {
  return JSON.stringify(String(value).slice(0, 40));
}
