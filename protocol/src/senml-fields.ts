/**
 * The SenML labels (RFC 8428 sections 4.1, 4.2 and 6) and the rules for one record on its own, shared by the JSON
 * and the CBOR representation. Rules that need the records before it are in `senml.ts`.
 */

import type { Decimal } from './decimal.ts';
import { ProtocolError } from './errors.ts';

/** An exact decimal, or a double that was given as a float and is added as one (telemetry.md 1.7). */
export type SenmlNumber = Decimal | number;

/** One record as written: nothing resolved. Labels that RFC 8428 does not define are not kept. */
export interface SenmlRecord {
  readonly bver?: number;
  readonly bn?: string;
  readonly bt?: SenmlNumber;
  readonly bu?: string;
  readonly bv?: SenmlNumber;
  readonly bs?: SenmlNumber;
  readonly n?: string;
  readonly u?: string;
  readonly v?: SenmlNumber;
  readonly vs?: string;
  readonly vb?: boolean;
  readonly vd?: Uint8Array;
  readonly s?: SenmlNumber;
  readonly t?: SenmlNumber;
  readonly ut?: SenmlNumber;
}

export type SenmlPack = readonly SenmlRecord[];
export type SenmlLabel = keyof SenmlRecord;
export type SenmlFieldKind = 'version' | 'number' | 'text' | 'boolean' | 'data';

/** The version of RFC 8428; a pack that states a greater one must not be used (section 4.4). */
export const SENML_VERSION = 10;

/** Label, CBOR key (RFC 8428 section 6, table 4) and type of every field. */
export const SENML_FIELDS: readonly {
  readonly label: SenmlLabel;
  readonly key: number;
  readonly kind: SenmlFieldKind;
}[] = [
  { label: 'bver', key: -1, kind: 'version' },
  { label: 'bn', key: -2, kind: 'text' },
  { label: 'bt', key: -3, kind: 'number' },
  { label: 'bu', key: -4, kind: 'text' },
  { label: 'bv', key: -5, kind: 'number' },
  { label: 'bs', key: -6, kind: 'number' },
  { label: 'n', key: 0, kind: 'text' },
  { label: 'u', key: 1, kind: 'text' },
  { label: 'v', key: 2, kind: 'number' },
  { label: 'vs', key: 3, kind: 'text' },
  { label: 'vb', key: 4, kind: 'boolean' },
  { label: 's', key: 5, kind: 'number' },
  { label: 't', key: 6, kind: 'number' },
  { label: 'ut', key: 7, kind: 'number' },
  { label: 'vd', key: 8, kind: 'data' },
];

export const SENML_FIELD_BY_LABEL: ReadonlyMap<string, (typeof SENML_FIELDS)[number]> = new Map(
  SENML_FIELDS.map((field) => [field.label, field]),
);
export const SENML_FIELD_BY_KEY: ReadonlyMap<unknown, (typeof SENML_FIELDS)[number]> = new Map(
  SENML_FIELDS.map((field) => [field.key, field]),
);

const REGULAR: readonly SenmlLabel[] = ['n', 'u', 'v', 'vs', 'vb', 'vd', 's', 't', 'ut'];
const VALUES: readonly SenmlLabel[] = ['v', 'vs', 'vb', 'vd'];

/** True for a record with base fields only: it sets them and yields no reading (RFC 8428 section 4.1). */
export function isBaseOnly(record: SenmlRecord): boolean {
  return REGULAR.every((label) => record[label] === undefined);
}

/** Which value the record states itself, if any. */
export function valueLabel(record: SenmlRecord): 'v' | 'vs' | 'vb' | 'vd' | undefined {
  return VALUES.find((label) => record[label] !== undefined) as
    | 'v'
    | 'vs'
    | 'vb'
    | 'vd'
    | undefined;
}

/**
 * Rules for a record by itself: some field is known, at most one value, a version we read.
 *
 * @throws {ProtocolError} ERR_SENML_MALFORMED.
 */
export function checkRecord(record: SenmlRecord, index: number): void {
  if (Object.keys(record).length === 0)
    throw malformed(index, 'expected at least one field, got none');
  // "Exactly one value field MUST appear" unless there is a sum (section 4.2).
  const values = VALUES.filter((label) => record[label] !== undefined);
  if (values.length > 1) throw malformed(index, `expected one value, got ${values.join(' and ')}`);
  const { bver } = record;
  if (bver !== undefined && !(Number.isInteger(bver) && bver >= 1 && bver <= SENML_VERSION)) {
    throw malformed(index, `bver: expected 1..${SENML_VERSION}, got ${bver}`);
  }
}

/** "labels that end with the "_" character ... MUST generate an error" where not understood (section 4.4). */
export function checkUnknownLabel(label: string, index: number): void {
  if (label.endsWith('_'))
    throw malformed(index, `label ${JSON.stringify(label)} must be understood`);
}

/** An ERR_SENML_MALFORMED that names the record. */
export function malformed(index: number, detail: string): ProtocolError {
  return new ProtocolError('ERR_SENML_MALFORMED', `senml: record ${index}: ${detail}`);
}
