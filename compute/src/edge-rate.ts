/** `rate`: the change from one instant to the next, for each second (docs/spec/edge-functions.md 4.5). */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { type EdgeFunction, type Emit, edgeFunctionType } from './edge-function.ts';
import { duration, optional } from './edge-param.ts';
import { readArray, readNumber, readTime, saveNumber } from './edge-state.ts';

/** SenML units (RFC 8428 section 12.1) that are another one per second. */
const PER_SECOND: ReadonlyMap<string, string> = new Map([
  ['', '1/s'],
  ['count', '1/s'],
  ['m', 'm/s'],
  ['m/s', 'm/s2'],
  ['rad', 'rad/s'],
  ['l', 'l/s'],
  ['m3', 'm3/s'],
  ['kg', 'kg/s'],
  ['bit', 'bit/s'],
  ['B', 'B/s'],
  ['J', 'W'],
  ['C', 'A'],
]);

export const rate = edgeFunctionType({
  id: 'rate-1',
  word: 'rate',
  params: { gapUs: optional('gap', duration('1ms', '31d')) },
  fields: () => ['rate'],
  units: (_params, unit) => [PER_SECOND.get(unit) ?? ''],
  create: ({ gapUs }, state) => new Rate(gapUs, state),
});

class Rate implements EdgeFunction {
  readonly #gapUs: number;
  #last: { readonly timeUs: number; readonly value: number } | null = null;

  constructor(gapUs: number | undefined, state?: CborValue) {
    this.#gapUs = gapUs ?? Number.POSITIVE_INFINITY;
    if (state === undefined || state === null) return;
    const [time, value] = readArray(state, 2);
    this.#last = { timeUs: readTime(time), value: readNumber(value) };
  }

  push(timeUs: number, value: number, emit: Emit): void {
    const last = this.#last;
    this.#last = { timeUs, value };
    if (last === null) return;
    const distanceUs = timeUs - last.timeUs;
    if (distanceUs <= this.#gapUs) emit(0, timeUs, ((value - last.value) * 1e6) / distanceUs);
  }

  advance(timeUs: number): number {
    return timeUs;
  }

  save(): CborValue {
    return this.#last === null ? null : [this.#last.timeUs, saveNumber(this.#last.value)];
  }
}
