/**
 * `order`: puts instants that come out of order into order, and keeps late and repeated ones out
 * (docs/spec/edge-functions.md 4.1).
 *
 * Every stream begins with one; where the configuration names none it waits for nothing. What has been passed on
 * is never followed by anything at or before its time.
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { type EdgeFunction, type Emit, edgeFunctionType } from './edge-function.ts';
import { duration, positional } from './edge-param.ts';
import {
  readArray,
  readInteger,
  readNullable,
  readNumber,
  readTime,
  saveNumber,
  stateError,
} from './edge-state.ts';

/** Instants that wait for earlier ones. When one more comes, the first goes on. */
export const MAX_WAITING = 4096;

const COUNTER_MAX = Number.MAX_SAFE_INTEGER;

export const order = edgeFunctionType({
  id: 'order-1',
  word: 'order',
  params: { waitUs: positional(duration('1ms', '1h')) },
  fields: () => [''],
  units: (_params, unit) => [unit],
  holds: () => MAX_WAITING,
  bursts: () => ({ times: MAX_WAITING + 1, hasEnd: false }),
  create: ({ waitUs }, state) => new Order(waitUs, state),
});

/** The function; unlike others it takes instants in any order. */
export class Order implements EdgeFunction {
  readonly #waitUs: number;
  #times: number[] = [];
  #values: number[] = [];
  /** What is earlier than this has been passed on, or is late. */
  #doneUs: number | null = null;
  #lastUs: number | null = null;
  /** Instants that came when later ones had been passed on. */
  late = 0;
  /** Instants at the time of another one; the first counts. */
  duplicate = 0;

  constructor(waitUs: number, state?: CborValue) {
    this.#waitUs = waitUs;
    if (state !== undefined) this.#load(state);
  }

  push(timeUs: number, value: number, emit: Emit): void {
    if (this.#doneUs !== null && timeUs < this.#doneUs) {
      if (timeUs === this.#lastUs) this.duplicate += 1;
      else this.late += 1;
      return;
    }
    const times = this.#times;
    let at = times.length;
    while (at > 0 && times[at - 1]! > timeUs) at -= 1;
    if (at > 0 && times[at - 1] === timeUs) {
      this.duplicate += 1;
      return;
    }
    times.splice(at, 0, timeUs);
    this.#values.splice(at, 0, value);
    if (times.length > MAX_WAITING) this.#release(times[0]!, emit);
    // The newest may just have been the first and only one, and gone.
    const newest = times.at(-1);
    if (newest !== undefined) this.#release(newest - this.#waitUs, emit);
  }

  advance(timeUs: number, emit: Emit): number {
    this.#release(timeUs - 1 - this.#waitUs, emit);
    return this.#doneUs!;
  }

  /** The latest time that was taken, null before the first. */
  get newestUs(): number | null {
    return this.#times.at(-1) ?? this.#lastUs;
  }

  save(): CborValue {
    const waiting = this.#times.flatMap((time, i) => [time, saveNumber(this.#values[i]!)]);
    return [this.#doneUs, this.#lastUs, this.late, this.duplicate, waiting];
  }

  /** Passes on what is not later than `timeUs`. */
  #release(timeUs: number, emit: Emit): void {
    let count = 0;
    while (count < this.#times.length && this.#times[count]! <= timeUs) count += 1;
    const times = this.#times.splice(0, count);
    const values = this.#values.splice(0, count);
    this.#lastUs = times.at(-1) ?? this.#lastUs;
    this.#doneUs = Math.max(this.#doneUs ?? timeUs + 1, timeUs + 1);
    for (let i = 0; i < count; i++) emit(0, times[i]!, values[i]!);
  }

  #load(state: CborValue): void {
    const [done, last, late, duplicate, waiting] = readArray(state, 5);
    // A bound may lie below the first time by the wait.
    this.#doneUs = readNullable(done, (value) => readInteger(value, -COUNTER_MAX, COUNTER_MAX));
    this.#lastUs = readNullable(last, readTime);
    this.late = readInteger(late, 0, COUNTER_MAX);
    this.duplicate = readInteger(duplicate, 0, COUNTER_MAX);
    const list = readArray(waiting, { max: 2 * MAX_WAITING });
    if (list.length % 2 !== 0) throw stateError('pairs of time and value', list);
    let before = this.#doneUs === null ? Number.NEGATIVE_INFINITY : this.#doneUs - 1;
    for (let i = 0; i < list.length; i += 2) {
      const time = readTime(list[i]);
      if (time <= before) throw stateError('ascending times', time);
      this.#times.push(time);
      this.#values.push(readNumber(list[i + 1]));
      before = time;
    }
  }
}
