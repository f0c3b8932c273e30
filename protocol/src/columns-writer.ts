/**
 * Writes numbers as a columns payload (docs/spec/telemetry.md section 3): metrics with the same instants share a
 * block, each column is the narrowest exact typed array over the shortest base.
 */

import { type CborValue, encode, Tagged } from './cbor.ts';
import { integerTypedArray, typedArrayTag, writeTypedArray } from './columns-typed-array.ts';
import { numberToCbor } from './senml-cbor.ts';
import { commonDecimals, integerBytes, microsToDecimal } from './senml-writer.ts';

const FLOAT64_TAG = 82;
const MAX_UINT32 = 2 ** 32 - 1;

/** The numbers of one metric, at ascending instants. */
export interface ColumnRun {
  readonly profile: string;
  readonly metric: string;
  readonly unit: string;
  /** Whole µs within ±2^53, strictly ascending. */
  readonly timesUs: readonly number[];
  /** Finite. */
  readonly values: readonly number[];
}

/** The payload of some runs; at least one, none empty, no metric of a profile twice at one instant. */
export function writeColumns(runs: readonly ColumnRun[]): Uint8Array {
  const blocks = new Map<string, ColumnRun[]>();
  for (const run of runs.flatMap(splitTimes)) {
    const key = `${run.profile} ${run.timesUs.join(' ')}`;
    const block = blocks.get(key);
    if (block === undefined) blocks.set(key, [run]);
    else block.push(run);
  }
  return encode([...blocks.values()].map(writeBlock));
}

/** Cuts a run so that each part has one step, or instants whole milliseconds apart. */
function splitTimes(run: ColumnRun): ColumnRun[] {
  const { timesUs } = run;
  const parts: ColumnRun[] = [];
  for (let start = 0; start < timesUs.length; ) {
    const end = Math.max(stepEnd(timesUs, start), millisecondsEnd(timesUs, start));
    parts.push({
      ...run,
      timesUs: timesUs.slice(start, end),
      values: run.values.slice(start, end),
    });
    start = end;
  }
  return parts;
}

function stepEnd(timesUs: readonly number[], start: number): number {
  let end = Math.min(start + 2, timesUs.length);
  const step = timesUs[end - 1]! - timesUs[start]!;
  while (end < timesUs.length && timesUs[end]! - timesUs[end - 1]! === step) end++;
  return end;
}

function millisecondsEnd(timesUs: readonly number[], start: number): number {
  let end = start + 1;
  while (end < timesUs.length) {
    const offset = timesUs[end]! - timesUs[start]!;
    if (offset % 1000 !== 0 || offset / 1000 > MAX_UINT32) break;
    end++;
  }
  return end;
}

function writeBlock(runs: readonly ColumnRun[]): CborValue {
  const { profile, timesUs } = runs[0]!;
  const start = numberToCbor(microsToDecimal(timesUs[0]!));
  return [profile, start, writeTimes(timesUs), runs.map(writeColumn)];
}

function writeTimes(timesUs: readonly number[]): CborValue {
  if (stepEnd(timesUs, 0) === timesUs.length) {
    const step = timesUs.length > 1 ? timesUs[1]! - timesUs[0]! : 0;
    return [numberToCbor(microsToDecimal(step)), timesUs.length];
  }
  const offsets = timesUs.map((time) => (time - timesUs[0]!) / 1000);
  const type = integerTypedArray(0, offsets.at(-1)!)!;
  return new Tagged(type.tag, writeTypedArray(type, offsets));
}

function writeColumn({ metric, unit, values }: ColumnRun): CborValue {
  const common = commonDecimals(values);
  if (common !== undefined) {
    const { mantissas, exponent } = common;
    const min = mantissas.reduce((a, b) => Math.min(a, b));
    const max = mantissas.reduce((a, b) => Math.max(a, b));
    const fitted = fit(min, max);
    if (fitted !== undefined) {
      const { type, base } = fitted;
      const elements = mantissas.map((mantissa) => mantissa - base);
      return [metric, unit, exponent, base, new Tagged(type.tag, writeTypedArray(type, elements))];
    }
  }
  const type = typedArrayTag(FLOAT64_TAG)!;
  return [metric, unit, null, 0, new Tagged(type.tag, writeTypedArray(type, values))];
}

/** The narrowest array for min..max, and the shortest base that it allows. */
function fit(min: number, max: number) {
  // Unsigned above `min`, or signed around a base: the widths are the same, the bases are not.
  const unsigned = integerTypedArray(0, max - min);
  if (unsigned === undefined) return undefined;
  const range = 2 ** (8 * unsigned.bytes);
  // Base 0 for unsigned or signed elements, then any base in [max - range + 1, min].
  const without = integerTypedArray(min, max);
  if (without !== undefined && without.bytes === unsigned.bytes) return { type: without, base: 0 };
  const lowest = max - range + 1;
  const candidates = [min, lowest, 23, -24, 255, -256, 65535, -65536].filter(
    (base) => base >= lowest && base <= min,
  );
  const base = candidates.reduce((a, b) => (integerBytes(b) < integerBytes(a) ? b : a));
  return { type: unsigned, base };
}
