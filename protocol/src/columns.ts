/**
 * Columns, the short telemetry content type 65001 (docs/spec/telemetry.md section 3): decoding, and the mapping to
 * SenML. Writing is in `columns-writer.ts`.
 */

import { type CborValue, decode, Tagged } from './cbor.ts';
import { readTypedArray, typedArrayTag } from './columns-typed-array.ts';
import {
  addDecimals,
  type Decimal,
  decimalToMicros,
  MAX_EXACT,
  microsToSeconds,
  POWERS_OF_TEN,
  scaleToMicros,
  scaleToNumber,
} from './decimal.ts';
import { ProtocolError } from './errors.ts';
import {
  type DecodedReadings,
  isMetric,
  isProfile,
  isReadingTime,
  MAX_READINGS,
  ReadingSink,
} from './readings-sink.ts';
import type { ResolvedRecord } from './senml.ts';
import { MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_ITEMS, numberFromCbor } from './senml-cbor.ts';
import { MAX_DECIMAL_EXPONENT } from './senml-json.ts';

/** Elements of the array read last. A payload holds at most MAX_READINGS instants in all. */
const elements = new Float64Array(MAX_READINGS);
const instants = new Float64Array(MAX_READINGS);

/**
 * Decodes a columns payload.
 *
 * @param sink - reused when given; valid until it is used again.
 * @throws {ProtocolError} ERR_COLUMNS_MALFORMED naming block and column, ERR_CBOR_MALFORMED,
 * ERR_CBOR_NOT_DETERMINISTIC, ERR_CBOR_LIMIT.
 */
export function decodeColumns(payload: Uint8Array, sink = new ReadingSink()): ReadingSink {
  sink.reset();
  const value = decode(payload, {
    keepFloats: true,
    maxDepth: MAX_PAYLOAD_DEPTH,
    maxItems: MAX_PAYLOAD_ITEMS,
  });
  if (!Array.isArray(value) || value.length === 0) {
    throw refuse('columns', 'an array of at least one block', value);
  }
  const seen: SeenInstants = new Map();
  for (const [index, block] of value.entries()) decodeBlock(block, index, { sink, seen });
  return sink;
}

/** The resolved SenML records that a decoded columns payload stands for (telemetry.md 3.5). */
export function columnsToSenml(readings: DecodedReadings): ResolvedRecord[] {
  const records: ResolvedRecord[] = [];
  for (const { profile, metric, unit, start, end } of readings.runs) {
    for (let i = start; i < end; i++) {
      const t = microsToSeconds(readings.timesUs[i]!);
      const n = `${profile}/${metric}`;
      records.push({ n, ...(unit ? { u: unit } : {}), t, v: readings.values[i]! });
    }
  }
  return records;
}

/** For each name the readings of the first block with it, or from the second block on all its instants. */
type SeenInstants = Map<string, { readonly start: number; readonly end: number } | Set<number>>;

interface Target {
  readonly sink: ReadingSink;
  readonly seen: SeenInstants;
}

function decodeBlock(block: CborValue, index: number, target: Target): void {
  const where = `block ${index}`;
  if (!Array.isArray(block) || block.length !== 4) {
    throw refuse(where, '[profile, start, times, columns]', block);
  }
  const [profile, start, times, columns] = block as readonly CborValue[];
  if (typeof profile !== 'string' || !isProfile(profile)) {
    throw refuse(`${where}: profile`, '[a-z][a-z0-9_-]{0,31}', profile);
  }
  const count = decodeTimes(decimalOf(start, `${where}: start`), times, `${where}: times`);
  if (!Array.isArray(columns) || columns.length === 0) {
    throw refuse(`${where}: columns`, 'an array of at least one column', columns);
  }
  if (columns.length * count > MAX_READINGS - target.sink.count) {
    throw refuse(where, `at most ${MAX_READINGS} readings in all`, columns.length * count);
  }
  const { sink, seen } = target;
  for (let i = 0; i < columns.length; i++) {
    decodeColumn(columns[i], { sink, seen, profile, count, where: `${where}, column ${i}` });
  }
}

/** Fills `instants` and returns how many there are. */
function decodeTimes(start: Decimal, times: CborValue, where: string): number {
  let count: number;
  if (times instanceof Tagged) {
    const type = typedArrayTag(times.tag);
    if (type?.kind !== 'unsigned') throw refuse(where, 'a typed array of unsigned integers', times);
    count = decodeArray(times, where);
    if (count === 0) throw refuse(where, 'at least one instant', count);
    fillInstants(start, { mantissa: 1, exponent: -3 }, count);
  } else {
    if (!Array.isArray(times) || times.length !== 2) {
      throw refuse(where, '[step, count] or a typed array', times);
    }
    const [stepItem, countItem] = times as readonly CborValue[];
    const step = decimalOf(stepItem, `${where}: step`);
    if (step.mantissa < 0) throw refuse(`${where}: step`, '0 or more', step.mantissa);
    if (typeof countItem !== 'number' || countItem < 1 || countItem > MAX_READINGS) {
      throw refuse(`${where}: count`, `1..${MAX_READINGS}`, countItem);
    }
    count = countItem;
    for (let i = 0; i < count; i++) elements[i] = i;
    fillInstants(start, step, count);
  }
  let ascending = true;
  for (let i = 0; i < count; i++) {
    if (!isReadingTime(instants[i]!))
      throw refuse(where, 'relative or up to year 9999', instants[i]);
    if (i > 0 && instants[i]! <= instants[i - 1]!) ascending = false;
  }
  if (!ascending && new Set(instants.subarray(0, count)).size !== count) {
    throw refuse(where, 'each instant once', times);
  }
  return count;
}

/** instants[i] = start + elements[i] · unit in µs, rounded once. */
function fillInstants(start: Decimal, unit: Decimal, count: number): void {
  const exponent = Math.min(start.exponent, unit.exponent);
  const first = Number(start.mantissa) * tenTo(start.exponent - exponent);
  const step = Number(unit.mantissa) * tenTo(unit.exponent - exponent);
  for (let i = 0; i < count; i++) {
    const factor = elements[i]!;
    // Whole numbers below 2^53 multiply and add exactly.
    if (Math.abs(first) + step * factor < MAX_EXACT) {
      instants[i] = scaleToMicros(first + step * factor, exponent);
    } else {
      const mantissa = BigInt(unit.mantissa) * BigInt(factor);
      instants[i] = decimalToMicros(addDecimals(start, { mantissa, exponent: unit.exponent }));
    }
  }
}

function tenTo(power: number): number {
  return POWERS_OF_TEN[power] ?? Number.POSITIVE_INFINITY;
}

function decodeColumn(
  column: CborValue,
  context: Target & { readonly profile: string; readonly count: number; readonly where: string },
): void {
  const { sink, profile, count, where } = context;
  if (!Array.isArray(column) || column.length !== 5) {
    throw refuse(where, '[metric, unit, exponent, base, array]', column);
  }
  const [metric, unit, exponent, baseItem, array] = column as readonly CborValue[];
  if (typeof metric !== 'string' || !isMetric(metric)) {
    throw refuse(`${where}: metric`, '[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}', metric);
  }
  if (typeof unit !== 'string') throw refuse(`${where}: unit`, 'a text', unit);
  if (exponent !== null && !(typeof exponent === 'number' && isExponent(exponent))) {
    throw refuse(`${where}: exponent`, `null or in ±${MAX_DECIMAL_EXPONENT}`, exponent);
  }
  const isInteger = typeof baseItem === 'number' || typeof baseItem === 'bigint';
  if (!isInteger || baseItem > MAX_EXACT || baseItem < -MAX_EXACT) {
    throw refuse(`${where}: base`, 'an integer within ±2^53', baseItem);
  }
  const base = Number(baseItem);
  if (exponent === null && base !== 0)
    throw refuse(`${where}: base`, '0 beside exponent null', base);
  const kind = array instanceof Tagged ? typedArrayTag(array.tag)?.kind : undefined;
  if (kind === undefined || (kind === 'float') !== (exponent === null)) {
    const wanted = exponent === null ? 'a typed array of float64' : 'a typed array of integers';
    throw refuse(`${where}: array`, wanted, array);
  }
  const length = decodeArray(array as Tagged, `${where}: array`);
  if (length !== count) throw refuse(`${where}: array`, `${count} elements`, length);
  const first = sink.count;
  sink.run({ profile, metric }, unit, 'number', 'ERR_COLUMNS_MALFORMED');
  for (let i = 0; i < count; i++) {
    const element = elements[i]!;
    const sum = base + element;
    if (exponent === null ? !Number.isFinite(element) : !isExactSum(sum, base, element)) {
      throw refuse(where, exponent === null ? 'finite values' : 'values within ±2^53', sum);
    }
    sink.add(instants[i]!, exponent === null ? element : scaleToNumber(sum, exponent));
  }
  noteInstants(`${profile}/${metric}`, { start: first, end: sink.count }, context);
}

function isExponent(value: number): boolean {
  return Math.abs(value) <= MAX_DECIMAL_EXPONENT;
}

/** Whether `sum` = fl(base + element) lies within ±2^53, where it is exact. */
function isExactSum(sum: number, base: number, element: number): boolean {
  return Math.abs(sum) <= MAX_EXACT && sum - base === element;
}

/** Fills `elements` and returns how many there are. */
function decodeArray({ tag, value }: Tagged, where: string): number {
  const type = typedArrayTag(tag)!;
  if (!(value instanceof Uint8Array)) throw refuse(where, 'a byte string', value);
  const count = value.length / type.bytes;
  if (!Number.isInteger(count)) {
    throw refuse(where, `a whole number of ${type.bytes}-byte elements`, value.length);
  }
  if (count > MAX_READINGS) throw refuse(where, `at most ${MAX_READINGS} elements`, count);
  readTypedArray(type, value, elements);
  return count;
}

/** "A metric MUST NOT appear twice at one instant of one profile" (3.3). */
function noteInstants(
  name: string,
  range: { readonly start: number; readonly end: number },
  { sink, seen, where }: Target & { readonly where: string },
): void {
  const before = seen.get(name);
  if (before === undefined) {
    // Within one block the instants differ already.
    seen.set(name, range);
    return;
  }
  const all =
    before instanceof Set ? before : new Set(sink.timesUs.subarray(before.start, before.end));
  for (let i = range.start; i < range.end; i++) {
    const instant = sink.timesUs[i]!;
    if (all.has(instant))
      throw refuse(`${where}: ${name}`, 'each instant once', `${instant} µs again`);
    all.add(instant);
  }
  seen.set(name, all);
}

function decimalOf(value: CborValue, where: string): Decimal {
  const number = numberFromCbor(value);
  if (typeof number !== 'object') throw refuse(where, 'an integer or a decimal fraction', value);
  return number;
}

function refuse(where: string, expected: string, got: unknown): ProtocolError {
  return new ProtocolError(
    'ERR_COLUMNS_MALFORMED',
    `${where}: expected ${expected}, got ${show(got)}`,
  );
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 80));
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (value instanceof Tagged) return `tag ${value.tag}`;
  return typeof value === 'object' && value !== null ? value.constructor.name : `${value}`;
}
