/**
 * From readings to envelopes: keeps what is wanted, hands to edge functions what is theirs, and seals the rest in
 * batches, at an interval or when a batch is full.
 */

import type { BatchReading } from './batch.ts';
import type { Boot } from './boot.ts';
import type { Clock, TimerHandle } from './clock.ts';
import type { ClockState } from './clock-state.ts';
import type { AgentConfig } from './config.ts';
import type { Disk } from './disk.ts';
import type { EdgeHost } from './edge/edge-host.ts';
import type { EdgeStatus } from './edge/edge-status.ts';
import { loadEdge } from './edge/load-edge.ts';
import type { Journal } from './journal.ts';
import type { Log } from './log.ts';
import type { EffectiveSettings } from './remote-rules.ts';
import type { MetricSpec } from './sensors/sensor.ts';
import type { Silences } from './silences.ts';

export interface IntakeOptions {
  readonly config: AgentConfig;
  /** What the owner's configuration and the operator's desired state make together. */
  readonly effective: EffectiveSettings;
  /** Where raw readings of edge functions lie. */
  readonly folder: string;
  readonly boot: Boot;
  readonly journal: Journal;
  readonly clockState: ClockState;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly log: Log;
  /** Readings of each profile since the agent started, counted here. */
  readonly given: Map<string, number>;
  /** Noted here too. */
  readonly silences: Silences;
  /** Called at each interval, before it is sealed. */
  readonly onTick: () => void;
}

export class Intake {
  readonly #options: IntakeOptions;
  #effective: EffectiveSettings;
  #batch: BatchReading[] = [];
  #timer: TimerHandle | undefined;
  /** Readings of this boot were sealed. */
  #hasSealed = false;
  /** Undefined where there are no edge functions. */
  #edge: EdgeHost | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#effective = options.effective;
  }

  get effective(): EffectiveSettings {
    return this.#effective;
  }

  /** @throws {AgentError} ERR_AGENT_BUNDLE. */
  async open(): Promise<void> {
    await this.#setEdge();
  }

  /** From now on batches are sealed at their interval. */
  start(): void {
    const { clock, onTick } = this.#options;
    clock.cancel(this.#timer);
    this.#timer = clock.after(this.#effective.sealEveryMs, () => {
      this.start();
      onTick();
      void this.seal();
    });
  }

  /** What is taken from now on is taken by other settings. */
  use(effective: EffectiveSettings): void {
    this.#effective = effective;
  }

  /** After `use`: goes over to its edge functions, and seals what was taken before. */
  async goOver(): Promise<void> {
    await this.#setEdge();
    await this.seal('pending');
    this.start();
  }

  stop(): void {
    this.#options.clock.cancel(this.#timer);
  }

  async close(): Promise<void> {
    await this.#edge?.close();
    this.#edge = undefined;
  }

  take(taken: readonly BatchReading[]): void {
    const { given, silences, clock, config } = this.#options;
    const readings = taken.filter(({ profile, metric }) => this.#effective.keeps(profile, metric));
    const nowMs = clock.monotonicMs();
    for (const { profile } of readings) {
      given.set(profile, (given.get(profile) ?? 0) + 1);
      silences.note(profile, nowMs);
    }
    this.#batch.push(...(this.#edge?.take(readings) ?? readings));
    this.sealFirst();
    if (this.#batch.length >= config.batch.maxReadings) void this.seal();
  }

  /**
   * Seals the first readings of a boot without waiting for the interval: people wait for them. With a clock that is
   * believed, so that they need no time anchor; called again when it is.
   */
  sealFirst(): void {
    const { clock, clockState } = this.#options;
    if (this.#hasSealed || this.#batch.length === 0 || clockState.read().boundMs === null) return;
    this.#hasSealed = true;
    // Other sensors that answer at once are in it.
    clock.after(0, () => void this.seal());
  }

  async seal(flush: 'no' | 'pending' | 'final' = 'no'): Promise<void> {
    const { journal } = this.#options;
    const readings = this.#batch;
    const edge = this.#edge;
    this.#batch = [];
    this.#hasSealed ||= readings.length > 0;
    if (readings.length > 0) await journal.telemetry(readings);
    await (edge &&
      journal.results(
        (now) => edge.run(now, flush),
        (payload, seq, now) => edge.sealed(payload, seq, now),
      ));
  }

  /** Of a sensor's metrics those that are sent, as readings or as results. */
  metricsOf(profile: string, metrics: readonly MetricSpec[]): readonly MetricSpec[] {
    const wanted = metrics.filter(({ metric }) => this.#effective.keeps(profile, metric));
    return this.#edge?.metricsOf(profile, wanted) ?? wanted;
  }

  edgeStatus(): EdgeStatus | undefined {
    return this.#edge?.status();
  }

  /** Goes over to the edge functions that are in force. They are loaded when there are some, or raw readings of some. */
  async #setEdge(): Promise<void> {
    const { config, folder, boot, clock, clockState, disk, log } = this.#options;
    const settings = this.#effective.edge;
    if (this.#edge !== undefined) {
      this.#edge.change(settings);
      return;
    }
    const isKept = await disk.stat(folder).then(
      () => true,
      () => false,
    );
    if (Object.keys(settings).length === 0 && !isKept) return;
    const { EdgeHost } = await loadEdge();
    const edge = new EdgeHost({
      ...{ settings, raw: config.raw, folder, disk, log, boot },
      monotonicMs: () => clock.monotonicMs(),
      clockSteps: () => clockState.status().steps,
      onFull: () => void this.seal(),
    });
    await edge.open();
    this.#edge = edge;
  }
}
