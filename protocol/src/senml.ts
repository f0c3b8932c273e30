/**
 * SenML (RFC 8428): resolving a pack into records that stand for themselves.
 *
 * Representations: `senml-json.ts` (section 5), `senml-cbor.ts` (section 6), and `senml-walker.ts`, the fast reader
 * of our envelopes. Left out: SenSML streams (section 5.2), XML (section 7) and EXI (section 8).
 *
 * Where the RFC leaves room, this is what we do:
 * - A record without value and sum takes the base value in force as its value ("missing fields are considered to
 *   have a value of zero", 4.5.4), else the base sum as its sum; where neither is in force it is refused. A record
 *   that states another kind of value, or only a sum, takes no base value.
 * - A record with base fields only yields nothing. A record without any known field is refused, as is an empty pack.
 * - `bver` below 10 is read (section 4.4 forbids greater ones only); all records must agree on it.
 * - Base value and value are added as decimals where both are, else as doubles; same for times and sums.
 */

import { addDecimals, type Decimal, decimalToNumber } from './decimal.ts';
import { ProtocolError } from './errors.ts';
import {
  checkRecord,
  isBaseOnly,
  malformed,
  SENML_VERSION,
  type SenmlNumber,
  type SenmlPack,
  type SenmlRecord,
  valueLabel,
} from './senml-fields.ts';

/** Times below this are relative to now (RFC 8428 section 4.5.3), in seconds. */
export const RELATIVE_TIME_LIMIT = 2 ** 28;

/** A record that stands for itself (RFC 8428 section 4.6). */
export interface ResolvedRecord {
  readonly n: string;
  readonly u?: string;
  /** Seconds; absent when the pack says nothing about time and no `now` was given. */
  readonly t?: number;
  readonly v?: number;
  readonly vs?: string;
  readonly vb?: boolean;
  readonly vd?: Uint8Array;
  readonly s?: number;
  readonly ut?: number;
}

/** A resolved record whose numbers have not been rounded. */
export interface ExactRecord extends Omit<ResolvedRecord, 't' | 'v' | 's' | 'ut'> {
  readonly t?: SenmlNumber;
  readonly v?: SenmlNumber;
  readonly s?: SenmlNumber;
  readonly ut?: SenmlNumber;
}

export interface ResolveOptions {
  /** Unix time in seconds that relative times are added to; without it they stay relative. */
  readonly now?: number;
  /** `time` (the default, section 4.6) sorts by time and keeps the pack's order within one instant. */
  readonly order?: 'time' | 'pack';
}

// "MUST consist only of characters out of the set ... MUST start with a character out of A-Z a-z 0-9" (4.5.1)
const NAME = /^[A-Za-z0-9][-A-Za-z0-9:./_]*$/;

/**
 * Applies the base fields of a pack. RFC 8428 sections 4.1 to 4.6.
 *
 * @param pack - from `parseSenmlJson`, `decodeSenmlCbor` or made by hand.
 * @throws {ProtocolError} ERR_SENML_MALFORMED, naming the record.
 */
export function resolve(pack: SenmlPack, options: ResolveOptions = {}): ResolvedRecord[] {
  const { now, order = 'time' } = options;
  const records = resolveExact(pack).map(({ t, v, s, ut, ...rest }) => ({
    ...rest,
    ...timeField(t, now),
    ...(v === undefined ? {} : { v: senmlToNumber(v) }),
    ...(s === undefined ? {} : { s: senmlToNumber(s) }),
    ...(ut === undefined ? {} : { ut: senmlToNumber(ut) }),
  }));
  if (order === 'time') records.sort((a, b) => (a.t ?? 0) - (b.t ?? 0));
  return records;
}

/** As `resolve`, in the pack's order, with relative times kept and nothing rounded. */
export function resolveExact(pack: SenmlPack): ExactRecord[] {
  if (!Array.isArray(pack) || pack.length === 0) {
    throw new ProtocolError(
      'ERR_SENML_MALFORMED',
      'senml: expected an array of at least one record',
    );
  }
  let base: SenmlRecord = {};
  let version: number | undefined;
  const resolved: ExactRecord[] = [];
  for (const [index, record] of (pack as SenmlPack).entries()) {
    checkRecord(record, index);
    // "all SenML Records in a Pack MUST have the same version number" (section 4.4)
    if (record.bver !== undefined || index === 0) {
      const stated = record.bver ?? SENML_VERSION;
      if (version !== undefined && stated !== version) {
        throw malformed(index, `bver: expected ${version} as before, got ${stated}`);
      }
      version = stated;
    }
    base = { ...base, ...record };
    if (!isBaseOnly(record)) resolved.push(resolveRecord(record, base, index));
  }
  return resolved;
}

/** The double that a SenML number means. */
export function senmlToNumber(value: SenmlNumber): number {
  return typeof value === 'number' ? value : decimalToNumber(value);
}

/** a + b: exact where both are decimals, else the sum of the doubles (telemetry.md 1.7). */
export function addSenml(a: SenmlNumber, b: SenmlNumber): SenmlNumber {
  return typeof a === 'object' && typeof b === 'object'
    ? addDecimals(a, b)
    : senmlToNumber(a) + senmlToNumber(b);
}

function resolveRecord(record: SenmlRecord, base: SenmlRecord, index: number): ExactRecord {
  const n = `${base.bn ?? ''}${record.n ?? ''}`;
  if (!NAME.test(n)) {
    throw malformed(index, `name: expected A-Z a-z 0-9 - : . / _, got ${JSON.stringify(n)}`);
  }
  const label = valueLabel(record);
  const s = sum(base.bs, record.s, 's', index);
  const v =
    label === 'v' || (label === undefined && record.s === undefined)
      ? sum(base.bv, record.v, 'v', index)
      : undefined;
  if (label === undefined && v === undefined && s === undefined) {
    throw malformed(index, 'expected a value (v, vs, vb or vd) or a sum (s), got neither');
  }
  const u = record.u ?? base.bu;
  const t = sum(base.bt, record.t, 't', index);
  return {
    n,
    ...(u ? { u } : {}),
    ...(t === undefined ? {} : { t }),
    ...(v === undefined ? {} : { v }),
    ...(label === 'vs' ? { vs: record.vs! } : {}),
    ...(label === 'vb' ? { vb: record.vb! } : {}),
    ...(label === 'vd' ? { vd: record.vd! } : {}),
    ...(s === undefined ? {} : { s }),
    ...(record.ut === undefined ? {} : { ut: record.ut }),
  };
}

/** Base plus own field; a missing one counts as zero, both missing give nothing (sections 4.5.3 and 4.5.4). */
function sum(
  base: SenmlNumber | undefined,
  own: SenmlNumber | undefined,
  label: string,
  index: number,
): SenmlNumber | undefined {
  if (base === undefined || own === undefined) return base ?? own;
  const total = addSenml(base, own);
  if (!Number.isFinite(senmlToNumber(total)))
    throw malformed(index, `${label}: the sum is not finite`);
  return total;
}

function timeField(t: SenmlNumber | undefined, now: number | undefined): { t?: number } {
  if (t === undefined) return now === undefined ? {} : { t: now };
  const seconds = senmlToNumber(t);
  if (now === undefined || seconds >= RELATIVE_TIME_LIMIT) return { t: seconds };
  return { t: senmlToNumber(addSenml(t, exactOf(now))) };
}

/** An integer number as a decimal, so that adding it does not round twice. */
function exactOf(value: number): Decimal | number {
  return Number.isSafeInteger(value) ? { mantissa: value, exponent: 0 } : value;
}
