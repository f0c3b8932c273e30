/** Runs kept chunks through their functions again: for the start after a crash, and for those who ask about a result. */

import { decodeRawChunk, type RawRun } from '@fieldproof/compute/edge-chunk';
import { AgentError } from '../errors.ts';
import { EdgeRunner } from './edge-runner.ts';
import type { RawRecord, TimeLine } from './raw-frame.ts';

export interface KeptChunk {
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** A result with what it was made of. */
export interface KeptResult {
  readonly record: Extract<RawRecord, { type: 'result' }>;
  readonly chunks: readonly KeptChunk[];
  /** States before it; null where a stream begins anew. */
  readonly states: ReadonlyMap<string, Uint8Array | null>;
}

export class RawReplay {
  #runner = new EdgeRunner();
  #line: TimeLine | undefined;
  #chunks: KeptChunk[] = [];
  /** Definitions of streams that begin with their next readings, which may be in a later chunk of the same run. */
  #begins = new Map<string, Uint8Array>();

  /** The streams as they are after all records; what is pending came after the last result. */
  get runner(): EdgeRunner {
    return this.#runner;
  }

  /** Undefined before the first record. */
  get line(): TimeLine | undefined {
    return this.#line;
  }

  /** Since the last result. */
  get chunks(): readonly KeptChunk[] {
    return this.#chunks;
  }

  /**
   * Goes on with the next record of a segment, the first of which has states.
   *
   * @returns the result that it is, if it is one.
   * @throws {FieldproofError} when it does not follow from those before it.
   */
  apply(record: RawRecord): KeptResult | undefined {
    if (record.type === 'states') {
      this.#runner = new EdgeRunner();
      this.#line = record.line;
      this.#chunks = [];
      this.#begins.clear();
      for (const { of, definition, unit, state } of record.states) {
        this.#runner.begin({ ...nameOf(of), unit }, definition, state);
      }
      return undefined;
    }
    if (record.type === 'chunk') {
      const runs = decodeRawChunk(record.bytes);
      for (const [of, definition] of record.begins) this.#begins.set(of, definition);
      for (const run of runs) this.#give(run);
      this.#chunks.push({ number: record.number, bytes: record.bytes });
      return undefined;
    }
    const result = { record, chunks: this.#chunks, states: this.#runner.statesBefore() };
    this.#runner.settle();
    this.#chunks = [];
    return result;
  }

  #give(run: RawRun): void {
    const of = `${run.profile}/${run.metric}`;
    const definition = this.#begins.get(of);
    if (definition !== undefined) {
      this.#begins.delete(of);
      this.#runner.begin(run, definition);
    }
    if (!this.#runner.has(of)) {
      throw new AgentError('ERR_AGENT_RAW', `${of}: expected a stream that has begun`);
    }
    for (let at = 0; at < run.timesUs.length; ) at += this.#runner.give(run, at);
  }
}

function nameOf(of: string): { readonly profile: string; readonly metric: string } {
  const slash = of.indexOf('/');
  return { profile: of.slice(0, slash), metric: of.slice(slash + 1) };
}
