/**
 * The agent's edge functions: takes readings before they are batched, keeps the raw ones, and gives results to be sealed
 * (docs/spec/edge-results.md). The layer between sampler and journal.
 *
 * Readings wait in buffers until a run. A run places them on the time line (Unix time while the clock is believed, else
 * boot time), gives them to their functions, and appends them to the raw store; a result is sealed when something came
 * out and the last one is a while ago, at once for an alarm, and now and then in any case. In the first minute of a boot
 * the readings wait for the clock, so that a restart does not break the streams.
 */

import { encodeRawChunks, type RawRun } from '@fieldproof/compute/edge-chunk';
import {
  edgeOutputs,
  encodeEdgeDefinition,
  parseEdgeDefinition,
} from '@fieldproof/compute/edge-definition';
import { rootFromLeafHashes } from '@fieldproof/protocol/merkle';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { isMetric } from '@fieldproof/protocol/readings-sink';
import type { BatchReading } from '../batch.ts';
import type { Boot } from '../boot.ts';
import type { ClockReading } from '../clock-state.ts';
import type { Disk } from '../disk.ts';
import { reasonOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { EDGE_HOLD_MS } from '../loss-window.ts';
import { EdgeBuffer } from './edge-buffer.ts';
import { EdgeRunner } from './edge-runner.ts';
import type { EdgeSettings, RawSettings } from './edge-settings.ts';
import type { EdgeStatus, EdgeStreamStatus } from './edge-status.ts';
import type { TimeLine } from './raw-frame.ts';
import { RawReplay } from './raw-replay.ts';
import { RawStore } from './raw-store.ts';
import { takenNames } from './result-names.ts';

/** Readings that wait at most. */
const MAX_BUFFERED = 100_000;
/** Chunks of one result; the format takes 65,536. */
const MAX_LEAVES = 1024;
/** Raw readings of one result; the format takes a million. */
const MAX_PENDING = 500_000;
/** So much earlier the clock may seem after a restart: beyond it the readings of hours could be late. */
const SET_BACK_MS = 5000;
/** Metrics of one profile in a birth. */
const MAX_METRICS = 256;

/** One stream that has functions. */
interface Plan {
  readonly of: string;
  readonly key: string;
  readonly text: string;
  readonly isBoth: boolean;
  readonly definition: Uint8Array;
  /** Its results are sent at once. */
  readonly isUrgent: boolean;
  buffer: EdgeBuffer | undefined;
  duplicates: number;
}

export interface MetricRow {
  readonly metric: string;
  readonly unit: string;
}

export interface EdgeHostOptions {
  readonly settings: EdgeSettings;
  readonly raw: RawSettings;
  readonly folder: string;
  readonly disk: Disk;
  readonly log: Log;
  readonly boot: Boot;
  readonly monotonicMs: () => number;
  /** How often the wall clock was set in this boot. */
  readonly clockSteps: () => number;
  /** So many readings wait that a run is due. */
  readonly onFull: () => void;
}

export class EdgeHost {
  readonly #options: EdgeHostOptions;
  readonly #store: RawStore;
  #plans = new Map<string, Map<string, Plan>>();
  /** Not in force yet. */
  #wanted: EdgeSettings | undefined;
  #runner = new EdgeRunner();
  #line: TimeLine | undefined;
  #clockSteps = 0;
  #hasRun = false;
  #headIsDue = false;
  #nextChunk = 0;
  /** Leaf hashes of the chunks since the last result. */
  #leaves: Uint8Array[] = [];
  /** Readings of a result that is being sealed. */
  #onItsWay = 0;
  #lastResultMs = Number.NEGATIVE_INFINITY;
  #buffered = 0;
  #counts = { results: 0, lost: 0, begunAnew: 0, chunks: 0 };
  #lastReason: string | null = null;

  constructor(options: EdgeHostOptions) {
    this.#options = options;
    const { folder, disk, log, raw, monotonicMs } = options;
    const { maxBytes, keepDays } = raw;
    this.#store = new RawStore({ folder, disk, log, maxBytes, keepDays, monotonicMs });
    this.#plan(options.settings);
  }

  /** Goes on where the raw store ends. What cannot be read costs open windows, and is told. */
  async open(): Promise<void> {
    const { log } = this.#options;
    try {
      const { records, nextChunk } = await this.#store.open();
      this.#nextChunk = nextChunk;
      const replay = new RawReplay();
      for (const record of records) replay.apply(record);
      this.#runner = replay.runner;
      this.#line = replay.line;
      this.#leaves = replay.chunks.map(({ bytes }) => nativeHasher.leafHash(bytes));
      this.#dropOthers();
    } catch (error) {
      log.error('raw readings not readable', { reason: reasonOf(error) });
      this.#beginAnew('the kept readings could not be read');
    }
  }

  /** Other functions from the end of the next run on, which seals all that is pending. */
  change(settings: EdgeSettings): void {
    this.#wanted = settings;
  }

  async close(): Promise<void> {
    await this.#store.close();
  }

  /** Takes readings of streams that have functions, and returns those that are to be sent as they are. */
  take(readings: readonly BatchReading[]): readonly BatchReading[] {
    let rest: BatchReading[] | undefined;
    for (const [i, reading] of readings.entries()) {
      const plan = this.#plans.get(reading.profile)?.get(reading.metric);
      if (plan !== undefined && this.#buffer(plan, reading) && !plan.isBoth) {
        rest ??= readings.slice(0, i);
      } else rest?.push(reading);
    }
    if (this.#buffered >= MAX_BUFFERED) this.#options.onFull();
    return rest ?? readings;
  }

  /** What a birth says of a profile: results, and readings that are sent as well. */
  metricsOf<T extends MetricRow>(
    profile: string,
    metrics: readonly T[],
  ): readonly (T | MetricRow)[] {
    const plans = this.#plans.get(profile);
    if (plans === undefined) return metrics;
    const rows = metrics.flatMap((row): (T | MetricRow)[] => {
      const plan = plans.get(row.metric);
      if (plan === undefined) return [row];
      const outputs = edgeOutputs(parseEdgeDefinition(plan.text), row.unit);
      const results = outputs.map(({ suffix, unit }) => ({
        metric: suffix === '' ? row.metric : `${row.metric}.${suffix}`,
        unit,
      }));
      return plan.isBoth && outputs.every(({ suffix }) => suffix !== '')
        ? [row, ...results]
        : results;
    });
    return rows.slice(0, MAX_METRICS);
  }

  /**
   * A run: gives the payloads that are to be sealed with this reading of the clock, one after the other.
   *
   * @param flush - seals whatever is pending; `final` also what waits for the clock.
   */
  async *run(
    now: ClockReading,
    flush: 'no' | 'pending' | 'final' = 'no',
  ): AsyncGenerator<Uint8Array> {
    if (!this.#chooseLine(now, flush === 'final')) {
      this.#adopt();
      return;
    }
    let isDone = false;
    try {
      yield* this.#giveAll(now);
      const isFlush = flush !== 'no' || this.#wanted !== undefined;
      if (this.#isDue(now, isFlush)) yield* this.#seal(now);
      this.#adopt();
      await this.#store.evict(now.boundMs === null ? null : now.wallMs);
      isDone = true;
    } finally {
      if (!isDone)
        this.#beginAnew('readings could not be kept, or their result could not be sealed');
    }
  }

  /** A result is sealed: its chunks are settled. */
  async sealed(payload: Uint8Array, seq: number, now: ClockReading): Promise<void> {
    const { boot } = this.#options;
    this.#counts.results += 1;
    this.#onItsWay = 0;
    this.#lastResultMs = now.bootMs;
    const { counter: bootCounter, seed: bootSeed } = boot;
    const [bootMs, boundMs] = [Math.floor(now.bootMs), now.boundMs];
    const record = { bootCounter, bootSeed, seq, bootMs, boundMs, payload };
    await this.#store.append([{ type: 'result', ...record }]);
    if (this.#store.isLong) this.#headIsDue = true;
  }

  status(): EdgeStatus {
    const streams: EdgeStreamStatus[] = [];
    const seen = new Set<string>();
    for (const plan of this.#allPlans()) {
      const { of, text, isBoth, duplicates } = plan;
      const counts = this.#runner.counts(of);
      if (counts === undefined && plan.buffer === undefined) continue;
      seen.add(plan.key);
      const { duplicate = 0, ...others } = counts ?? {};
      const none = { given: 0, rejected: 0, late: 0, overflowed: 0, discarded: 0, results: 0 };
      const send = isBoth ? 'both' : 'results';
      streams.push({
        stream: of,
        text,
        send,
        ...none,
        ...others,
        duplicate: duplicate + duplicates,
      });
    }
    const keys = new Set([...this.#allPlans()].map(({ key }) => key));
    return {
      streams,
      unseen: [...keys].filter((key) => !seen.has(key)),
      line: this.#hasRun ? (this.#line ?? null) : null,
      ...this.#counts,
      lastReason: this.#lastReason,
      waiting: this.#buffered + this.#runner.pending.instants,
      raw: { ...this.#store.stats(), maxBytes: this.#options.raw.maxBytes },
    };
  }

  #adopt(): void {
    if (this.#wanted === undefined) return;
    this.#plan(this.#wanted);
    this.#wanted = undefined;
    this.#dropOthers();
  }

  #plan(settings: EdgeSettings): void {
    const before = this.#plans;
    this.#plans = new Map();
    const taken = takenNames(settings);
    for (const [of, { key, text, send }] of Object.entries(settings)) {
      if (taken.has(of)) {
        const name = taken.get(of)!;
        this.#options.log.warn('edge function left out: another has such a result', { of, name });
        continue;
      }
      const slash = of.indexOf('/');
      const [profile, metric] = [of.slice(0, slash), of.slice(slash + 1)];
      const stages = parseEdgeDefinition(text);
      const long = edgeOutputs(stages, '').find(
        ({ suffix }) => suffix !== '' && !isMetric(`${metric}.${suffix}`),
      );
      if (long !== undefined) {
        this.#options.log.warn('edge function left out: the name of a result is too long', { of });
        continue;
      }
      const old = before.get(profile)?.get(metric);
      before.get(profile)?.delete(metric);
      const plan: Plan = {
        ...{ of, key, text, isBoth: send === 'both', definition: encodeEdgeDefinition(stages) },
        isUrgent: stages.some(({ type }) => type.word === 'threshold'),
        buffer: old?.buffer,
        duplicates: old?.duplicates ?? 0,
      };
      const metrics = this.#plans.get(profile) ?? new Map<string, Plan>();
      this.#plans.set(profile, metrics.set(metric, plan));
    }
    // What waits for the clock for streams that have no functions any more.
    for (const metrics of before.values()) {
      for (const { buffer } of metrics.values()) {
        this.#buffered -= buffer?.count ?? 0;
        this.#counts.lost += buffer?.count ?? 0;
      }
    }
  }

  *#allPlans(): Generator<Plan> {
    for (const metrics of this.#plans.values()) yield* metrics.values();
  }

  /** Streams that have other functions now, or none. */
  #dropOthers(): void {
    const plans = new Map([...this.#allPlans()].map(({ of, definition }) => [of, definition]));
    const others = [...this.#runner.definitions()].filter(([of, definition]) => {
      const wanted = plans.get(of);
      return wanted === undefined || Buffer.compare(wanted, definition) !== 0;
    });
    if (others.length === 0) return;
    // A new head has the states of the last result: nothing may be pending.
    const pending = this.#runner.unsettled();
    this.#counts.lost += this.#runner.pending.instants;
    for (const of of [...pending, ...others.map(([name]) => name)]) this.#runner.end(of);
    this.#leaves = [];
    this.#headIsDue = true;
  }

  #buffer(plan: Plan, { profile, metric, unit, value, bootMs }: BatchReading): boolean {
    if (typeof value !== 'number') return false;
    if (plan.buffer?.unit !== unit) {
      if (plan.buffer !== undefined && plan.buffer.count > 0) return false;
      plan.buffer = new EdgeBuffer({ profile, metric, unit });
    }
    plan.buffer.add(bootMs, value);
    this.#buffered += 1;
    return true;
  }

  /** False while the boot waits for its clock. */
  #chooseLine(now: ClockReading, isFinal: boolean): boolean {
    const line: TimeLine = now.boundMs === null ? 'boot' : 'unix';
    const steps = this.#options.clockSteps();
    const waits = line === 'boot' && now.bootMs < EDGE_HOLD_MS && this.#buffered < MAX_BUFFERED;
    if (!this.#hasRun && !isFinal && waits) return false;
    if (!this.#hasRun) {
      const newestUs = this.#line === 'unix' ? (this.#runner.newestUs ?? 0) : 0;
      const latestMs = now.wallMs + (now.boundMs ?? 0) + SET_BACK_MS;
      if (this.#line !== 'unix' || line !== 'unix') {
        this.#beginAnew('the agent started, and its clock is not synchronised');
      } else if (newestUs > 1000 * latestMs) {
        this.#beginAnew('the clock is behind the readings before the restart');
      }
    } else if (line !== this.#line) {
      this.#beginAnew(line === 'unix' ? 'the clock was synchronised' : 'the clock is not believed');
    } else if (line === 'unix' && steps !== this.#clockSteps) this.#beginAnew('the clock was set');
    this.#hasRun = true;
    this.#line = line;
    this.#clockSteps = steps;
    return true;
  }

  async *#giveAll(now: ClockReading): AsyncGenerator<Uint8Array> {
    const runner = this.#runner;
    const shiftUs = this.#line === 'unix' ? now.offsetMs * 1000 : 0;
    const given: RawRun[] = [];
    const begins: [string, Uint8Array][] = [];
    const keep = async (): Promise<void> => {
      await this.#keep(given.splice(0), begins.splice(0), now);
    };
    for (const plan of this.#allPlans()) {
      const { of, buffer, definition } = plan;
      if (buffer === undefined || buffer.count === 0) continue;
      this.#buffered -= buffer.count;
      const { run, duplicates } = buffer.take(shiftUs);
      plan.duplicates += duplicates;
      for (let at = 0; at < run.timesUs.length; ) {
        const isOther = runner.has(of) && runner.unitOf(of) !== run.unit;
        if (isOther && runner.unsettled().includes(of)) {
          await keep();
          yield* this.#seal(now);
        }
        const isNew = !runner.has(of) || isOther;
        if (isNew) runner.begin(run, definition);
        if (!runner.hasRoomFor(of)) {
          await keep();
          yield* this.#seal(now);
        }
        // Goes into a record with the first readings, behind any result that had to make room.
        if (isNew) begins.push([of, definition]);
        const end = at + runner.give(run, at);
        const [timesUs, values] = [run.timesUs.slice(at, end), run.values.slice(at, end)];
        given.push({ ...run, timesUs, values });
        at = end;
      }
    }
    await keep();
  }

  /** Appends readings that were given, before any result has them. */
  async #keep(
    runs: readonly RawRun[],
    begins: readonly [string, Uint8Array][],
    now: ClockReading,
  ): Promise<void> {
    if (runs.length === 0) return;
    if (this.#headIsDue || this.#store.needsHead) {
      const states = this.#runner.states();
      await this.#store.begin({ type: 'states', line: this.#line!, states });
      this.#headIsDue = false;
    }
    const unixMs = now.boundMs === null ? null : Math.floor(now.wallMs);
    const chunks = encodeRawChunks(runs);
    await this.#store.append(
      chunks.map((bytes, i) => {
        const number = this.#nextChunk + i;
        return { type: 'chunk', number, unixMs, bytes, begins: i === 0 ? begins : [] } as const;
      }),
    );
    this.#nextChunk += chunks.length;
    this.#counts.chunks += chunks.length;
    for (const bytes of chunks) this.#leaves.push(nativeHasher.leafHash(bytes));
  }

  #isDue(now: ClockReading, isFlush: boolean): boolean {
    const { instants, results } = this.#runner.pending;
    if (instants === 0) return false;
    if (isFlush || this.#leaves.length >= MAX_LEAVES || instants >= MAX_PENDING) return true;
    const { sealEveryMs, resultEveryMs } = this.#options.raw;
    const sinceMs = now.bootMs - this.#lastResultMs;
    if (results > 0 && sinceMs >= sealEveryMs) return true;
    if (sinceMs >= resultEveryMs) return true;
    return [...this.#allPlans()].some((plan) => plan.isUrgent && this.#runner.hasResults(plan.of));
  }

  async *#seal(now: ClockReading): AsyncGenerator<Uint8Array> {
    // docs/spec/edge-results.md 2.2: durable before their result is sealed.
    await this.#store.sync();
    const to = this.#nextChunk - 1;
    const root = rootFromLeafHashes(this.#leaves, nativeHasher);
    const raw = { from: to - this.#leaves.length + 1, to, root };
    const shiftUs = this.#line === 'unix' ? 0 : -1000 * Math.floor(now.bootMs);
    this.#onItsWay = this.#runner.pending.instants;
    const payload = this.#runner.result(raw, shiftUs);
    this.#leaves = [];
    yield payload;
  }

  #beginAnew(reason: string): void {
    const instants = this.#runner.pending.instants + this.#onItsWay;
    this.#onItsWay = 0;
    const had = this.#runner.definitions().size > 0;
    this.#counts.lost += instants;
    this.#runner = new EdgeRunner();
    this.#leaves = [];
    this.#headIsDue = true;
    if (!had) return;
    this.#counts.begunAnew += 1;
    this.#lastReason = reason;
    this.#options.log.info('edge functions begin anew', {
      reason,
      readingsWithoutResult: instants,
    });
  }
}
