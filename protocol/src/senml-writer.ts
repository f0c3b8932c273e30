/**
 * Writes readings as a short SenML pack (docs/spec/telemetry.md 2.4): one base time, one run per metric, each value
 * as the shortest exact number, and a base value where it makes the run shorter.
 *
 * Every number is exact: what a reader resolves is the double that was given (telemetry.md 1.7).
 */

import { numberToHalf } from './cbor-float.ts';
import { type Decimal, MAX_EXACT, numberToDecimal, POWERS_OF_TEN } from './decimal.ts';
import { splitName } from './readings-sink.ts';
import { encodeSenmlCbor } from './senml-cbor.ts';
import type { SenmlNumber, SenmlRecord } from './senml-fields.ts';
import { MAX_DECIMAL_EXPONENT } from './senml-json.ts';

/** The readings of one metric, to be written next to each other. */
export interface WriterRun {
  readonly profile: string;
  readonly metric: string;
  readonly unit: string;
  /** Whole µs within ±2^53. */
  readonly timesUs: readonly number[];
  /** All numbers, all strings or all booleans; numbers are finite. */
  readonly values: readonly number[] | readonly string[] | readonly boolean[];
}

interface EncodedValues {
  readonly base: Decimal | undefined;
  readonly values: readonly SenmlNumber[];
}

/** Tag 4, the array head and the exponent. */
const DECIMAL_FRACTION_BYTES = 3;
/** A run is tried with so many base values at most. */
const MAX_BASE_CANDIDATES = 24;

/** The payload of some runs; at least one, none empty. */
export function writeSenml(runs: readonly WriterRun[]): Uint8Array {
  const encoded = runs.map((run) => ({ run, ...encodeValues(run) }));
  // A base value stays in force, and -0 would not survive adding one: runs without a base go first.
  encoded.sort((a, b) => Number(a.base !== undefined) - Number(b.base !== undefined));
  const baseTime = chooseBaseTime(runs);
  const records: SenmlRecord[] = [];
  let unit = '';
  for (const { run, base, values } of encoded) {
    for (const [i, timeUs] of run.timesUs.entries()) {
      const isFirst = i === 0;
      records.push({
        ...(records.length === 0 && baseTime !== 0 ? { bt: microsToDecimal(baseTime) } : {}),
        ...(isFirst ? { bn: senmlName(run) } : {}),
        ...(isFirst && run.unit !== unit ? { bu: run.unit } : {}),
        ...(isFirst && base !== undefined ? { bv: base } : {}),
        ...valueField(run, values, i),
        ...(timeUs === baseTime ? {} : { t: microsToDecimal(timeUs - baseTime) }),
      });
    }
    unit = run.unit;
  }
  return encodeSenmlCbor(records);
}

/** The shortest SenML name of a metric: its profile is left out where it is the default (telemetry.md 1.1). */
export function senmlName({ profile, metric }: { profile: string; metric: string }): string {
  const alone = splitName(metric);
  const isDefault = profile === alone?.profile && metric === alone.metric;
  return isDefault ? metric : `${profile}/${metric}`;
}

/** Whole µs as the shortest decimal number of seconds. */
export function microsToDecimal(micros: number): Decimal {
  let mantissa = micros;
  let exponent = -6;
  while (exponent < 0 && mantissa % 10 === 0) {
    mantissa /= 10;
    exponent++;
  }
  return { mantissa, exponent: mantissa === 0 ? 0 : exponent };
}

/**
 * The doubles as integers times one power of ten; undefined where one has no such exact decimal within ±2^53.
 * Of all exponents the greatest, so that the integers are smallest.
 */
export function commonDecimals(
  values: readonly number[],
): { readonly mantissas: readonly number[]; readonly exponent: number } | undefined {
  const decimals: Decimal[] = [];
  let exponent = MAX_DECIMAL_EXPONENT;
  for (const value of values) {
    const decimal = numberToDecimal(value);
    if (decimal === undefined || typeof decimal.mantissa !== 'number') return undefined;
    if (decimal.exponent < -MAX_DECIMAL_EXPONENT) return undefined;
    if (decimal.mantissa !== 0) exponent = Math.min(exponent, decimal.exponent);
    decimals.push(decimal);
  }
  const mantissas: number[] = [];
  for (const decimal of decimals) {
    const power = decimal.mantissa === 0 ? 1 : POWERS_OF_TEN[decimal.exponent - exponent];
    const mantissa = Number(decimal.mantissa) * (power ?? Number.POSITIVE_INFINITY);
    if (!(Math.abs(mantissa) < MAX_EXACT)) return undefined;
    mantissas.push(mantissa);
  }
  return { mantissas, exponent: mantissas.every((mantissa) => mantissa === 0) ? 0 : exponent };
}

function valueField(run: WriterRun, numbers: readonly SenmlNumber[], i: number): SenmlRecord {
  const value = run.values[i]!;
  if (typeof value === 'string') return { vs: value };
  if (typeof value === 'boolean') return { vb: value };
  return { v: numbers[i]! };
}

function encodeValues({ values }: WriterRun): EncodedValues {
  if (typeof values[0] !== 'number') return { base: undefined, values: [] };
  const numbers = values as readonly number[];
  const plain = numbers.map(shortestNumber);
  const common = numbers.length > 1 ? commonDecimals(numbers) : undefined;
  if (common === undefined) return { base: undefined, values: plain };
  const { mantissas, exponent } = common;
  let bestBytes = plain.reduce<number>((sum, value) => sum + numberBytes(value), 0);
  let best: number | undefined;
  for (const candidate of baseCandidates(mantissas, exponent)) {
    // One for the label bv.
    let bytes = 1 + numberBytes(shortDecimal(candidate, exponent));
    for (const mantissa of mantissas) {
      bytes += numberBytes(shortDecimal(mantissa - candidate, exponent));
      if (bytes >= bestBytes) break;
    }
    if (bytes < bestBytes) {
      bestBytes = bytes;
      best = candidate;
    }
  }
  if (best === undefined) return { base: undefined, values: plain };
  const base = best;
  return {
    base: shortDecimal(base, exponent),
    values: mantissas.map((mantissa) => shortDecimal(mantissa - base, exponent)),
  };
}

/** Base mantissas worth a try: those that leave most differences in one byte, quantiles, and whole numbers near. */
function baseCandidates(mantissas: readonly number[], exponent: number): number[] {
  const sorted = [...mantissas].sort((a, b) => a - b);
  const candidates = new Set<number>();
  // -24 to 23 are the integers of one byte.
  let bestCount = 0;
  let bestStart = 0;
  for (let start = 0, end = 0; start < sorted.length; start++) {
    while (end < sorted.length && sorted[end]! - sorted[start]! <= 47) end++;
    if (end - start > bestCount) {
      bestCount = end - start;
      bestStart = sorted[start]!;
      // Any base from here on keeps the same values in one byte; a value itself leaves a zero, the shortest.
      candidates.add(bestStart + 24);
      for (let i = start; i < end && candidates.size < MAX_BASE_CANDIDATES; i++) {
        if (sorted[i]! >= sorted[end - 1]! - 23 && sorted[i]! <= bestStart + 24) {
          candidates.add(sorted[i]!);
        }
      }
    }
  }
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    candidates.add(sorted[Math.round(part * (sorted.length - 1))]!);
  }
  const unit = POWERS_OF_TEN[-exponent];
  if (unit !== undefined) {
    for (const candidate of [...candidates]) candidates.add(Math.round(candidate / unit) * unit);
  }
  const reach = (base: number) => Math.max(sorted.at(-1)! - base, base - sorted[0]!);
  return [...candidates].filter((base) => Math.abs(base) < MAX_EXACT && reach(base) < MAX_EXACT);
}

/** Integer, decimal fraction or float: the shortest that means exactly this double. */
function shortestNumber(value: number): SenmlNumber {
  const decimal = numberToDecimal(value);
  if (decimal === undefined || typeof decimal.mantissa !== 'number') return value;
  if (Math.abs(decimal.exponent) > MAX_DECIMAL_EXPONENT) return value;
  const short = shortDecimal(decimal.mantissa, decimal.exponent);
  return numberBytes(short) <= numberBytes(value) ? short : value;
}

/** mantissa · 10^exponent with trailing zeros taken off, as an integer where it is one and that is shorter. */
function shortDecimal(mantissa: number, exponent: number): Decimal {
  if (mantissa === 0) return { mantissa: 0, exponent: 0 };
  let short = mantissa;
  let power = exponent;
  while (short % 10 === 0 && power < MAX_DECIMAL_EXPONENT) {
    short /= 10;
    power++;
  }
  if (power <= 0) return { mantissa: short, exponent: power };
  const whole = { mantissa: short * POWERS_OF_TEN[power]!, exponent: 0 };
  const fraction = { mantissa: short, exponent: power };
  if (Math.abs(whole.mantissa) >= MAX_EXACT) return fraction;
  return numberBytes(whole) <= numberBytes(fraction) ? whole : fraction;
}

/** Bytes of a number in deterministic CBOR. */
function numberBytes(value: SenmlNumber): number {
  if (typeof value === 'object') {
    const bytes = integerBytes(Number(value.mantissa));
    return value.exponent === 0 ? bytes : DECIMAL_FRACTION_BYTES + bytes;
  }
  if (numberToHalf(value) >= 0) return 3;
  return Math.fround(value) === value ? 5 : 9;
}

/** Bytes of an integer in deterministic CBOR. */
export function integerBytes(value: number): number {
  const argument = value < 0 ? -1 - value : value;
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x10000) return 3;
  return argument < 0x100000000 ? 5 : 9;
}

/** The base time that makes the offsets shortest, among the first, the middle and the last instant. */
function chooseBaseTime(runs: readonly WriterRun[]): number {
  const sorted = [...new Set(runs.flatMap(({ timesUs }) => timesUs))].sort((a, b) => a - b);
  const candidates = [
    sorted[0]!,
    sorted[sorted.length >> 1]!,
    sorted[Math.min(24, sorted.length - 1)]!,
  ];
  let best = candidates[0]!;
  let bestBytes = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    let bytes = numberBytes(microsToDecimal(candidate));
    for (const { timesUs } of runs) {
      for (const time of timesUs) {
        if (time !== candidate) bytes += 1 + numberBytes(microsToDecimal(time - candidate));
      }
    }
    if (bytes < bestBytes) {
      bestBytes = bytes;
      best = candidate;
    }
  }
  return best;
}
