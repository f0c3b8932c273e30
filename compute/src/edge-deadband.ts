/**
 * `deadband`: passes on what differs from the last number that was passed on, and something after a long silence
 * (docs/spec/edge-functions.md 4.3).
 */

import type { CborValue } from '@fieldproof/protocol/cbor';
import { type EdgeFunction, type Emit, edgeFunctionType, MAX_MAGNITUDE } from './edge-function.ts';
import { duration, optional, type ParamKind, parseNumber, positional } from './edge-param.ts';
import { readArray, readNumber, readTime, saveNumber } from './edge-state.ts';

/** An absolute difference, or `['%', percent of the last number]`. */
export type Band = number | readonly ['%', number];

const band: ParamKind<Band> = {
  expects: 'a difference of 0 or more, such as 0.2, or a percentage up to 1000%, such as 5%',
  parse(text) {
    if (!text.endsWith('%')) return parseNumber(text);
    const percent = parseNumber(text.slice(0, -1));
    return percent === undefined ? undefined : ['%', percent];
  },
  format: (value) => (typeof value === 'number' ? String(value) : `${value[1]}%`),
  isValid(value): value is Band {
    if (!Array.isArray(value)) return isAmount(value, MAX_MAGNITUDE);
    return value.length === 2 && value[0] === '%' && isAmount(value[1], 1000);
  },
};

export const deadband = edgeFunctionType({
  id: 'deadband-1',
  word: 'deadband',
  params: {
    band: positional(band),
    silenceUs: optional('max', duration('1ms', '31d')),
  },
  fields: () => [''],
  units: (_params, unit) => [unit],
  create: ({ band, silenceUs }, state) => new Deadband(band, silenceUs, state),
});

class Deadband implements EdgeFunction {
  readonly #band: Band;
  readonly #silenceUs: number;
  #sent: { readonly timeUs: number; readonly value: number } | null = null;

  constructor(band: Band, silenceUs: number | undefined, state?: CborValue) {
    this.#band = band;
    this.#silenceUs = silenceUs ?? Number.POSITIVE_INFINITY;
    if (state === undefined || state === null) return;
    const [time, value] = readArray(state, 2);
    this.#sent = { timeUs: readTime(time), value: readNumber(value) };
  }

  push(timeUs: number, value: number, emit: Emit): void {
    if (this.#sent !== null && !this.#passes(timeUs, value, this.#sent)) return;
    this.#sent = { timeUs, value };
    emit(0, timeUs, value);
  }

  advance(timeUs: number): number {
    return timeUs;
  }

  save(): CborValue {
    return this.#sent === null ? null : [this.#sent.timeUs, saveNumber(this.#sent.value)];
  }

  #passes(
    timeUs: number,
    value: number,
    sent: { readonly timeUs: number; readonly value: number },
  ): boolean {
    if (timeUs - sent.timeUs >= this.#silenceUs) return true;
    const band = this.#band;
    const width = typeof band === 'number' ? band : (band[1] * Math.abs(sent.value)) / 100;
    return Math.abs(value - sent.value) > width;
  }
}

function isAmount(value: CborValue, max: number): value is number {
  return typeof value === 'number' && value >= 0 && value <= max && !Object.is(value, -0);
}
