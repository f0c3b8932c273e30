/**
 * `window`: figures of the numbers in tumbling or sliding windows (docs/spec/edge-functions.md 4.2).
 *
 * A window is made of panes of its step, each an aggregate of bounded size; a tumbling window is one pane. Windows without
 * an instant give nothing.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import {
  type Aggregate,
  type AggregateParts,
  addToAggregate,
  aggregateField,
  emptyAggregate,
  isAggregateField,
  mergeAggregate,
  PLAIN_FIELDS,
  partsOf,
  readAggregate,
  saveAggregate,
} from './edge-aggregate.ts';
import { type EdgeFunction, type Emit, edgeFunctionType, MAX_TIME_US } from './edge-function.ts';
import { duration, optional, positional, words } from './edge-param.ts';
import { readArray, readInteger, readNullable, stateError } from './edge-state.ts';
import { MAX_BUCKETS } from './quantile-sketch.ts';

/** Steps in a sliding window. Bounds memory and the work of a result. */
export const MAX_PANES = 120;
const MAX_FIELDS = 16;
/** What others call the figures. */
const SYNONYMS: ReadonlyMap<string, string> = new Map([
  ['avg', 'mean'],
  ['average', 'mean'],
  ['median', 'p50'],
  ['std', 'stddev'],
  ['sd', 'stddev'],
  ['minimum', 'min'],
  ['maximum', 'max'],
  ['total', 'sum'],
  ['n', 'count'],
]);
/** Figures of a step beside its buckets, the parts of an exact sum among them. */
const STEP_HOLDS = 32;

export const window = edgeFunctionType({
  id: 'window-1',
  word: 'window',
  params: {
    lengthUs: positional(duration('1ms', '31d')),
    fields: positional(
      words('count, sum, mean, min, max, first, last, stddev or quantiles like p50, p99.9', {
        max: MAX_FIELDS,
        isWord: isAggregateField,
        known: [...PLAIN_FIELDS, 'p50', 'p95', 'p99'],
        synonyms: SYNONYMS,
      }),
      ['mean'],
    ),
    everyUs: optional('every', duration('1ms', '31d')),
  },
  check({ lengthUs, everyUs = lengthUs }) {
    if (lengthUs % everyUs === 0 && lengthUs / everyUs <= MAX_PANES) return undefined;
    const expected = `a duration that divides the window's length into 1 to ${MAX_PANES} steps`;
    return { param: 'everyUs', expected };
  },
  fields: ({ fields }) => fields,
  units: ({ fields }, unit) => fields.map((field) => (field === 'count' ? '' : unit)),
  holds: ({ lengthUs, fields, everyUs = lengthUs }) =>
    (lengthUs / everyUs) * (STEP_HOLDS + (partsOf(fields).sketch ? MAX_BUCKETS : 0)),
  bursts: ({ lengthUs, everyUs = lengthUs }) => ({ times: lengthUs / everyUs, hasEnd: true }),
  create: ({ lengthUs, fields, everyUs = lengthUs }, state) =>
    new Windows({ fields, everyUs, panes: lengthUs / everyUs }, state),
});

interface WindowShape {
  readonly fields: readonly string[];
  readonly everyUs: number;
  readonly panes: number;
}

interface Pane {
  /** It begins at index · everyUs. */
  readonly index: number;
  readonly aggregate: Aggregate;
}

class Windows implements EdgeFunction {
  readonly #shape: WindowShape;
  readonly #parts: AggregateParts;
  /** Those with instants, ascending, that belong to a window still to be given. */
  #panes: Pane[] = [];
  /** The last pane of the next window to be given. */
  #next: number | null = null;

  constructor(shape: WindowShape, state?: CborValue) {
    this.#shape = shape;
    this.#parts = partsOf(shape.fields);
    if (state !== undefined) this.#load(state);
  }

  push(timeUs: number, value: number, emit: Emit): void {
    this.advance(timeUs, emit);
    const index = Math.floor(timeUs / this.#shape.everyUs);
    let pane = this.#panes.at(-1);
    if (pane?.index !== index) {
      pane = { index, aggregate: emptyAggregate() };
      this.#panes.push(pane);
    }
    addToAggregate(pane.aggregate, value, this.#parts);
  }

  advance(timeUs: number, emit: Emit): number {
    const { everyUs, panes } = this.#shape;
    const now = Math.floor(timeUs / everyUs);
    this.#next ??= now;
    while (this.#next < now && this.#panes.length > 0) {
      this.#close(this.#next, emit);
      this.#next += 1;
      while (this.#panes.length > 0 && this.#panes[0]!.index <= this.#next - panes) {
        this.#panes.shift();
      }
    }
    this.#next = Math.max(this.#next, now);
    return this.#next * everyUs;
  }

  save(): CborValue {
    const panes = this.#panes.map(({ index, aggregate }) => [
      index,
      saveAggregate(aggregate, this.#parts),
    ]);
    return [this.#next, panes];
  }

  /** Gives the window that ends with pane `last`, at the time at which that pane begins. */
  #close(last: number, emit: Emit): void {
    const { fields, everyUs } = this.#shape;
    let aggregate = this.#panes[0]!.aggregate;
    if (this.#panes.length > 1) {
      aggregate = emptyAggregate();
      for (const pane of this.#panes) mergeAggregate(aggregate, pane.aggregate, this.#parts);
    }
    for (const [i, field] of fields.entries()) {
      const value = aggregateField(aggregate, field);
      if (value !== undefined) emit(i, last * everyUs, value);
    }
  }

  #load(state: CborValue): void {
    const { everyUs, panes } = this.#shape;
    const [next, list] = readArray(state, 2);
    const limit = Math.ceil(MAX_TIME_US / everyUs) + panes;
    const readIndex = (value: CborValue): number => readInteger(value, -limit, limit);
    this.#next = readNullable(next, readIndex);
    let before = (this.#next ?? limit) - panes;
    for (const item of readArray(list, { max: panes })) {
      const [index, aggregate] = readArray(item, 2);
      const pane = { index: readIndex(index), aggregate: readAggregate(aggregate, this.#parts) };
      if (pane.index <= before || pane.index > (this.#next ?? limit)) {
        throw stateError('panes of open windows, ascending', pane.index);
      }
      before = pane.index;
      this.#panes.push(pane);
    }
  }
}
