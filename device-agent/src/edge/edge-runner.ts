/**
 * Edge functions on the streams of a device: instants in, results of docs/spec/edge-results.md out. Pure: no clock, no
 * files. The live agent, its recovery after a crash and `raw export` run the same code on the same chunks.
 */

import { edgeStateDigest } from '@fieldproof/compute/edge-audit';
import type { RawRun } from '@fieldproof/compute/edge-chunk';
import {
  decodeEdgeDefinition,
  type EdgeOutput,
  edgeOutputs,
} from '@fieldproof/compute/edge-definition';
import { type EdgeCounts, EdgePipeline } from '@fieldproof/compute/edge-pipeline';
import { mostResultsOf } from '@fieldproof/compute/edge-size';
import { type ColumnRun, writeColumns } from '@fieldproof/protocol/columns-writer';
import {
  encodeEdgeResult,
  MAX_EDGE_STREAMS,
  type RawRange,
} from '@fieldproof/protocol/edge-result';
import { writeSenml } from '@fieldproof/protocol/senml-writer';
import type { KeptState } from './raw-frame.ts';

/** Of a message; the largest that an envelope takes is a little larger. */
const MAX_BYTES = 59_000;
/** Of a number with its time, at most. */
const RESULT_BYTES = 27;
/** Of a stream: times, count, two digests. */
const STREAM_BYTES = 110;

interface Output extends EdgeOutput {
  readonly metric: string;
  readonly timesUs: number[];
  readonly values: number[];
}

interface Stream {
  readonly of: string;
  readonly profile: string;
  readonly metric: string;
  readonly unit: string;
  readonly definition: Uint8Array;
  readonly pipeline: EdgePipeline;
  readonly outputs: readonly Output[];
  /** Bytes of what its next instant can give at most. */
  readonly mostBytes: number;
  /** As of the last result; null before the first. */
  state: Uint8Array | null;
  /** Since the last result. */
  count: number;
  firstUs: number;
  lastUs: number;
}

export interface RunnerCounts extends EdgeCounts {
  readonly results: number;
}

export class EdgeRunner {
  readonly #streams = new Map<string, Stream>();
  readonly #results = new Map<string, number>();
  #pendingResults = 0;
  #pendingBytes = 0;

  /** Whether instants were given since the last result, and how many results came out. */
  get pending(): { readonly instants: number; readonly results: number } {
    let instants = 0;
    for (const { count } of this.#streams.values()) instants += count;
    return { instants, results: this.#pendingResults };
  }

  has(of: string): boolean {
    return this.#streams.has(of);
  }

  /** The definitions of the streams. */
  definitions(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.#streams].map(([of, { definition }]) => [of, definition]));
  }

  /** Begins a stream, or goes on with one that was kept. @throws {ComputeError} ERR_EDGE_DEFINITION, ERR_EDGE_STATE */
  begin(
    run: { readonly profile: string; readonly metric: string; readonly unit: string },
    definition: Uint8Array,
    state?: Uint8Array,
  ): void {
    const { profile, metric, unit } = run;
    const of = `${profile}/${metric}`;
    const stages = decodeEdgeDefinition(definition);
    const outputs = edgeOutputs(stages, unit).map((output) => ({
      ...output,
      metric: output.suffix === '' ? metric : `${metric}.${output.suffix}`,
      ...{ timesUs: [], values: [] },
    }));
    const names = outputs.reduce((sum, each) => sum + each.metric.length + RESULT_BYTES, 0);
    this.#streams.set(of, {
      ...{ of, profile, metric, unit, definition, outputs },
      pipeline: new EdgePipeline(stages, state),
      mostBytes: names + mostResultsOf(stages) * RESULT_BYTES,
      ...{ state: state ?? null, count: 0, firstUs: 0, lastUs: 0 },
    });
  }

  /** Forgets a stream, and what came out of it since the last result. */
  end(of: string): void {
    const stream = this.#streams.get(of);
    if (stream === undefined) return;
    for (const { timesUs } of stream.outputs) this.#pendingResults -= timesUs.length;
    this.#streams.delete(of);
  }

  /**
   * Gives instants to a stream that has begun, in their order, while what one of them can give has room in the message.
   *
   * @returns how many it took, one at least.
   */
  give({ profile, metric, timesUs, values }: RawRun, from = 0): number {
    const stream = this.#streams.get(`${profile}/${metric}`)!;
    if (stream.count === 0) {
      this.#pendingBytes += rowBytes(stream);
      stream.firstUs = Number.POSITIVE_INFINITY;
      stream.lastUs = Number.NEGATIVE_INFINITY;
    }
    let at = from;
    do {
      const timeUs = timesUs[at]!;
      stream.pipeline.push(timeUs, values[at]!, (output, atUs, value) =>
        this.#put(stream.outputs[output]!, atUs, value),
      );
      stream.count += 1;
      stream.firstUs = Math.min(stream.firstUs, timeUs);
      stream.lastUs = Math.max(stream.lastUs, timeUs);
      at += 1;
    } while (at < timesUs.length && this.#pendingBytes + stream.mostBytes <= MAX_BYTES);
    return at - from;
  }

  /** Whether this message has room for what the next instant of a stream that has begun can give. */
  hasRoomFor(of: string): boolean {
    const stream = this.#streams.get(of)!;
    const pending = this.unsettled();
    if (pending.length === 0) return true;
    if (stream.count === 0 && pending.length >= MAX_EDGE_STREAMS) return false;
    const row = stream.count > 0 ? 0 : rowBytes(stream);
    return this.#pendingBytes + row + stream.mostBytes <= MAX_BYTES;
  }

  /**
   * The result of all since the last one. Afterwards nothing is pending.
   *
   * @param shiftUs - to be added to times: 0 for Unix time, minus the boot time of sealing for boot time.
   */
  result(raw: RawRange, shiftUs: number): Uint8Array {
    const streams = [...this.#streams.values()].filter(({ count }) => count > 0);
    const runs = streams.flatMap(({ profile, outputs }) =>
      outputs
        .filter(({ timesUs }) => timesUs.length > 0)
        .map(({ metric, unit, timesUs, values }) => {
          return {
            profile,
            metric,
            unit,
            timesUs: timesUs.map((t) => t + shiftUs),
            values: [...values],
          };
        }),
    );
    const { format, readings } = shortest(runs);
    const rows = streams.map((stream) => {
      const { profile, metric, definition, count, firstUs, lastUs } = stream;
      const after = stream.pipeline.save();
      return {
        ...{ profile, metric, definition, count },
        ...{ fromUs: firstUs + shiftUs, toUs: lastUs + shiftUs },
        before: stream.state && edgeStateDigest(stream.state),
        after: edgeStateDigest(after),
      };
    });
    const payload = encodeEdgeResult({ format, readings, raw, streams: rows });
    this.settle();
    return payload;
  }

  /** States as of the last result, of the streams of which instants are pending. */
  statesBefore(): ReadonlyMap<string, Uint8Array | null> {
    const streams = [...this.#streams.values()].filter(({ count }) => count > 0);
    return new Map(streams.map(({ of, state }) => [of, state]));
  }

  /** What is pending is in a result. */
  settle(): void {
    for (const stream of this.#streams.values()) {
      if (stream.count === 0) continue;
      stream.state = stream.pipeline.save();
      stream.count = 0;
      for (const { timesUs, values } of stream.outputs) {
        this.#results.set(stream.of, (this.#results.get(stream.of) ?? 0) + timesUs.length);
        timesUs.length = 0;
        values.length = 0;
      }
    }
    this.#pendingResults = 0;
    this.#pendingBytes = 0;
  }

  /** Whether results of a stream wait for a message. */
  hasResults(of: string): boolean {
    return this.#streams.get(of)?.outputs.some(({ timesUs }) => timesUs.length > 0) ?? false;
  }

  /** The latest time of any stream, null before the first. */
  get newestUs(): number | null {
    const times = [...this.#streams.values()].flatMap(({ pipeline }) => pipeline.newestUs ?? []);
    return times.length === 0 ? null : times.reduce((a, b) => Math.max(a, b));
  }

  /** States of all streams as of the last result. */
  states(): KeptState[] {
    return [...this.#streams.values()].flatMap(({ of, definition, unit, state }) =>
      state === null ? [] : [{ of, definition, unit, state }],
    );
  }

  /** Streams of which instants came since the last result. */
  unsettled(): string[] {
    return [...this.#streams.values()].filter(({ count }) => count > 0).map(({ of }) => of);
  }

  counts(of: string): RunnerCounts | undefined {
    const stream = this.#streams.get(of);
    return stream && { ...stream.pipeline.counts(), results: this.#results.get(of) ?? 0 };
  }

  unitOf(of: string): string | undefined {
    return this.#streams.get(of)?.unit;
  }

  #put({ metric, timesUs, values }: Output, timeUs: number, value: number): void {
    if (timesUs.length === 0) this.#pendingBytes += metric.length + RESULT_BYTES;
    timesUs.push(timeUs);
    values.push(value);
    this.#pendingResults += 1;
    this.#pendingBytes += RESULT_BYTES;
  }
}

function rowBytes({ of, definition }: Stream): number {
  return of.length + definition.length + STREAM_BYTES;
}

/** The readings in whichever content type takes fewer bytes. */
function shortest(runs: readonly ColumnRun[]): {
  readonly format: 112 | 65001;
  readonly readings: Uint8Array;
} {
  if (runs.length === 0) return { format: 65001, readings: new Uint8Array() };
  const columns = writeColumns(runs);
  const senml = writeSenml(runs);
  return senml.length < columns.length
    ? { format: 112, readings: senml }
    : { format: 65001, readings: columns };
}
