/**
 * Running edge functions: one definition on one stream, from instants to results, and its state as bytes
 * (docs/spec/edge-functions.md sections 1, 2 and 5).
 *
 * A function that gives several fields is followed by one instance of what comes next for each of them.
 */

import { compareBytes } from '@fieldproof/protocol/bytes';
import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import { crc32c } from '@fieldproof/protocol/crc32c';
import { type EdgeDefinition, encodeEdgeDefinition } from './edge-definition.ts';
import {
  type EdgeFunction,
  type Emit,
  MAX_MAGNITUDE,
  MAX_RESULTS_OF_INSTANT,
  MAX_TIME_US,
} from './edge-function.ts';
import { Order } from './edge-order.ts';
import { readArray, readInteger, stateError } from './edge-state.ts';
import { ComputeError } from './errors.ts';

/** Of the bytes of a state. */
const FORMAT = 1;

/** What has come of the instants of a stream, since its beginning. */
export interface EdgeCounts {
  /** Instants given. */
  readonly given: number;
  /** Given with a number or time that is not finite, too large, or for times not whole. */
  readonly rejected: number;
  /** Given too late for their place. */
  readonly late: number;
  /** Given at the time of another. */
  readonly duplicate: number;
  /** Results, also of functions in the middle, too large to go on, and those beyond MAX_RESULTS_OF_INSTANT. */
  readonly overflowed: number;
  /** Instants of blocks with uneven distances. */
  readonly discarded: number;
}

/** Takes a result; `output` is its place in `edgeOutputs`. */
export type TakeResult = (output: number, timeUs: number, value: number) => void;

interface Node {
  readonly run: EdgeFunction;
  /** What follows each field; none for the last function. */
  readonly next: readonly Node[];
  /** Of its first field, for the last function. */
  readonly output: number;
}

export class EdgePipeline {
  readonly #definition: Uint8Array;
  readonly #root: Node;
  readonly #nodes: Node[] = [];
  #given = 0;
  #rejected = 0;
  #overflowed = 0;
  /** Results that this instant may still give. */
  #room = 0;

  /**
   * A pipeline at its beginning, or as `save` left it.
   *
   * @param state - what `save` gave for the same definition.
   * @throws {ComputeError} ERR_EDGE_STATE
   */
  constructor(definition: EdgeDefinition, state?: Uint8Array) {
    this.#definition = encodeEdgeDefinition(definition);
    const saved = state && this.#readState(state);
    let at = 0;
    let outputs = 0;
    const takeSaved = (): CborValue | undefined => {
      if (saved !== undefined && at >= saved.length) throw stateError('more functions', saved);
      return saved?.[at++];
    };
    const grow = (stage: number): Node => {
      const { type, params } = definition[stage]!;
      const run = type.create(params, takeSaved());
      const isLast = stage + 1 === definition.length;
      const output = outputs;
      const fields = type.fields(params).length;
      const node = { run, output, next: [] as Node[] };
      this.#nodes.push(node);
      if (isLast) outputs += fields;
      else for (let i = 0; i < fields; i++) node.next.push(grow(stage + 1));
      return node;
    };
    if (definition[0]?.type.word === 'order') this.#root = grow(0);
    else {
      const gate = new Order(0, takeSaved());
      const node = { run: gate, output: 0, next: [] as Node[] };
      this.#nodes.push(node);
      node.next.push(grow(0));
      this.#root = node;
    }
    if (saved !== undefined && at !== saved.length) throw stateError(`${at} functions`, saved);
  }

  /**
   * Takes an instant. Invalid, late and repeated ones are counted and change nothing.
   *
   * @param timeUs - whole µs on the time line of the stream.
   */
  push(timeUs: number, value: number, take: TakeResult): void {
    this.#given += 1;
    this.#room = MAX_RESULTS_OF_INSTANT;
    if (!isTime(timeUs) || !(Math.abs(value) <= MAX_MAGNITUDE)) {
      this.#rejected += 1;
      return;
    }
    // −0 is 0, so that no result depends on the sign of a zero.
    this.#root.run.push(timeUs, value + 0, this.#emitter(this.#root, take));
  }

  /** Says that no instant before `timeUs` will come any more: windows that end there are given. */
  advance(timeUs: number, take: TakeResult): void {
    this.#room = MAX_RESULTS_OF_INSTANT;
    if (isTime(timeUs)) this.#advance(this.#root, timeUs, take);
  }

  /** The latest time that was given and taken, null before the first. */
  get newestUs(): number | null {
    return (this.#root.run as Order).newestUs;
  }

  counts(): EdgeCounts {
    const counts = { late: 0, duplicate: 0, discarded: 0 };
    for (const { run } of this.#nodes) {
      const { late = 0, duplicate = 0, discarded = 0 } = run as Partial<typeof counts>;
      counts.late += late;
      counts.duplicate += duplicate;
      counts.discarded += discarded;
    }
    return {
      given: this.#given,
      rejected: this.#rejected,
      overflowed: this.#overflowed,
      ...counts,
    };
  }

  /** Everything that it remembers: equal pipelines give equal bytes. */
  save(): Uint8Array {
    const counted = [this.#given, this.#rejected, this.#overflowed];
    const states = this.#nodes.map(({ run }) => run.save());
    const body = encode([this.#definition, counted, states]);
    return encode([FORMAT, crc32c(body), body]);
  }

  #advance(node: Node, timeUs: number, take: TakeResult): void {
    const done = node.run.advance(timeUs, this.#emitter(node, take));
    for (const next of node.next) this.#advance(next, done, take);
  }

  /** Passes results of `node` on to what follows. */
  #emitter(node: Node, take: TakeResult): Emit {
    return (field, timeUs, value) => {
      if (Math.abs(value) > MAX_MAGNITUDE) {
        this.#overflowed += 1;
        return;
      }
      const next = node.next[field];
      if (next === undefined) {
        if (this.#room === 0) {
          this.#overflowed += 1;
          return;
        }
        this.#room -= 1;
        take(node.output + field, timeUs, value + 0);
        return;
      }
      this.#advance(next, timeUs, take);
      next.run.push(timeUs, value + 0, this.#emitter(next, take));
    };
  }

  #readState(bytes: Uint8Array): readonly CborValue[] {
    const [format, sum, body] = readArray(decodeState(bytes), 3);
    readInteger(format, FORMAT, FORMAT);
    if (!(body instanceof Uint8Array) || crc32c(body) !== sum) {
      throw stateError('a checksum that fits', sum);
    }
    const [definition, counted, states] = readArray(decodeState(body), 3);
    if (!(definition instanceof Uint8Array) || compareBytes(definition, this.#definition) !== 0) {
      throw stateError('the state of this definition', 'another one');
    }
    const counts = readArray(counted, 3).map((count) =>
      readInteger(count, 0, Number.MAX_SAFE_INTEGER),
    );
    [this.#given, this.#rejected, this.#overflowed] = counts as [number, number, number];
    return readArray(states, { max: 1000 });
  }
}

function isTime(timeUs: number): boolean {
  return Number.isSafeInteger(timeUs) && Math.abs(timeUs) <= MAX_TIME_US;
}

function decodeState(bytes: Uint8Array): CborValue {
  try {
    return decode(bytes);
  } catch (cause) {
    throw new ComputeError('ERR_EDGE_STATE', 'edge state: expected CBOR', { cause });
  }
}
