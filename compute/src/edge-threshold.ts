/**
 * `threshold`: tells when numbers go beyond a level and when they come back behind another one, each only after it has
 * lasted (docs/spec/edge-functions.md 4.4).
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { type EdgeFunction, type Emit, edgeFunctionType, MAX_MAGNITUDE } from './edge-function.ts';
import { choice, duration, number, optional, type ParamsOf, positional } from './edge-param.ts';
import { readArray, readNullable, readTime, stateError } from './edge-state.ts';

const params = {
  side: positional(choice('above', 'below')),
  level: positional(number(MAX_MAGNITUDE)),
  release: optional('release', number(MAX_MAGNITUDE)),
  holdUs: optional('for', duration('1ms', '31d')),
  gapUs: optional('gap', duration('1ms', '31d')),
};

export const threshold = edgeFunctionType({
  id: 'threshold-1',
  word: 'threshold',
  params,
  check({ side, level, release = level }) {
    if (side === 'above' ? release <= level : release >= level) return undefined;
    return { param: 'release', expected: `a number not ${side} the level ${level}` };
  },
  fields: () => ['alarm'],
  units: () => [''],
  create: (given, state) => new Threshold(given, state),
});

class Threshold implements EdgeFunction {
  readonly #params: ParamsOf<typeof params>;
  #isUp = false;
  /** Since when the opposite of `#isUp` has lasted. */
  #sinceUs: number | null = null;
  #lastUs: number | null = null;

  constructor(given: ParamsOf<typeof params>, state?: CborValue) {
    this.#params = given;
    if (state === undefined) return;
    const [isUp, since, last] = readArray(state, 3);
    if (typeof isUp !== 'boolean') throw stateError('true or false', isUp);
    this.#isUp = isUp;
    this.#sinceUs = readNullable(since, readTime);
    this.#lastUs = readNullable(last, readTime);
    if (this.#sinceUs !== null && (this.#lastUs === null || this.#sinceUs > this.#lastUs)) {
      throw stateError('a time that has been', since);
    }
  }

  push(timeUs: number, value: number, emit: Emit): void {
    const { holdUs = 0, gapUs = Number.POSITIVE_INFINITY } = this.#params;
    if (this.#lastUs !== null && timeUs - this.#lastUs > gapUs) this.#sinceUs = null;
    this.#lastUs = timeUs;
    if (this.#isBeyond(value) === this.#isUp) {
      this.#sinceUs = null;
      return;
    }
    this.#sinceUs ??= timeUs;
    if (timeUs - this.#sinceUs < holdUs) return;
    this.#isUp = !this.#isUp;
    this.#sinceUs = null;
    emit(0, timeUs, this.#isUp ? 1 : 0);
  }

  advance(timeUs: number): number {
    return timeUs;
  }

  save(): CborValue {
    return [this.#isUp, this.#sinceUs, this.#lastUs];
  }

  /** Beyond the level, or while up beyond the release. */
  #isBeyond(value: number): boolean {
    const { side, level, release = level } = this.#params;
    const limit = this.#isUp ? release : level;
    return side === 'above' ? value > limit : value < limit;
  }
}
