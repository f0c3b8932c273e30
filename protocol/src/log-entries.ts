/**
 * The entries of the evidence log (evidence-log.md section 1) and of the ledger log (ledger-log.md): small
 * deterministic CBOR arrays whose first item is their type.
 *
 * What an entry carries is checked in form only: signatures inside `statement`, `descriptor`, `policy`, `grant`
 * and `job` are their own modules' business. Decoded byte strings are views of the input.
 */

import {
  type BatchEntry,
  decodeBatchEntry,
  encodeBatchEntry,
  isBatchEntry,
} from './batch-entry.ts';
import { type CborValue, decode, encode } from './cbor.ts';
import {
  bytes,
  type Field,
  type FieldValue,
  int,
  microCredits,
  orNull,
  pairs,
  text,
  textMap,
  uint,
} from './entry-fields.ts';
import { ProtocolError } from './errors.ts';

/** Entry bundles state lengths as uint16 (C2SP tlog-tiles). */
export const MAX_ENTRY_BYTES = 65_535;
const MAX_DEPTH = 16;
const MAX_ITEMS = 40_000;

const key = bytes(32);
const hash = bytes(32);
const blob = bytes();
const time = uint();

/** Type number and the fields behind it, in their order. `batch` is in `batch-entry.ts`. */
const EVIDENCE = {
  registry: [2, { at: time, action: text, subject: text, statement: blob }],
  'time-anchor': [
    3,
    {
      device: key,
      bootCounter: uint(0xffff_ffff),
      bootSeed: bytes(4),
      offsetMs: int,
      boundMs: time,
      at: time,
    },
  ],
  'reject-tally': [4, { fromMs: time, toMs: time, counts: pairs(text, uint(undefined, 1)) }],
  tombstone: [5, { at: time, index: uint(), digest: hash, reason: text }],
  generation: [6, { at: time, generation: uint(), size: uint(), root: hash, reason: text }],
  network: [7, { at: time, descriptor: blob }],
} as const;

const LEDGER = {
  policy: [1, { at: time, version: uint(), hash, policy: blob }],
  'data-grant': [2, { at: time, owner: key, grant: blob }],
  job: [3, { at: time, jobId: hash, job: blob }],
  decision: [4, { at: time, taskId: hash, verdict: text, digest: orNull(hash), detail: textMap }],
  account: [5, { at: time, reference: text, movements: pairs(text, microCredits) }],
  secret: [6, { at: time, epoch: uint(), commitment: orNull(hash), reveal: orNull(hash) }],
  header: [
    7,
    {
      at: time,
      epoch: uint(),
      evidenceSize: uint(),
      evidenceRoot: hash,
      policyHash: hash,
      pool: microCredits,
      status: text,
      rows: uint(),
      rewardRoot: hash,
    },
  ],
  row: [8, { epoch: uint(), device: orNull(key), microCredits, reasons: textMap }],
} as const;

type Layouts = Readonly<
  Record<string, readonly [number, Readonly<Record<string, Field<unknown>>>]>
>;
type EntriesOf<L extends Layouts> = {
  [T in keyof L & string]: { readonly type: T } & {
    readonly [F in keyof L[T][1]]: FieldValue<L[T][1][F]>;
  };
};

type EvidenceLayouts = EntriesOf<typeof EVIDENCE>;
type LedgerLayouts = EntriesOf<typeof LEDGER>;

export type { BatchEntry } from './batch-entry.ts';
export { decodeBatchEntry, encodeBatchEntry, isBatchEntry } from './batch-entry.ts';
export type RegistryEntry = EvidenceLayouts['registry'];
export type TimeAnchorEntry = EvidenceLayouts['time-anchor'];
export type RejectTallyEntry = EvidenceLayouts['reject-tally'];
export type TombstoneEntry = EvidenceLayouts['tombstone'];
export type GenerationEntry = EvidenceLayouts['generation'];
export type NetworkEntry = EvidenceLayouts['network'];
export type EvidenceEntry = BatchEntry | EvidenceLayouts[keyof EvidenceLayouts];

export type PolicyEntry = LedgerLayouts['policy'];
export type DataGrantEntry = LedgerLayouts['data-grant'];
export type JobEntry = LedgerLayouts['job'];
export type DecisionEntry = LedgerLayouts['decision'];
export type AccountEntry = LedgerLayouts['account'];
export type SecretEntry = LedgerLayouts['secret'];
export type HeaderEntry = LedgerLayouts['header'];
export type RowEntry = LedgerLayouts['row'];
export type LedgerEntry = LedgerLayouts[keyof LedgerLayouts];

/**
 * The bytes of an evidence entry.
 *
 * @throws {ProtocolError} ERR_ENTRY_MALFORMED naming the field that is not allowed.
 */
export function encodeEvidenceEntry(entry: EvidenceEntry): Uint8Array {
  return entry.type === 'batch' ? encodeBatchEntry(entry) : encodeBy(EVIDENCE, entry);
}

/**
 * Reads an evidence entry.
 *
 * @throws {ProtocolError} ERR_ENTRY_MALFORMED: not deterministic CBOR, unknown type, wrong number of items, or a
 *   field that is not allowed.
 */
export function decodeEvidenceEntry(bytes: Uint8Array): EvidenceEntry {
  if (isBatchEntry(bytes)) return decodeBatchEntry(bytes);
  return decodeBy(EVIDENCE, bytes) as EvidenceEntry;
}

/**
 * The bytes of a ledger entry.
 *
 * @throws {ProtocolError} ERR_ENTRY_MALFORMED naming the field that is not allowed.
 */
export function encodeLedgerEntry(entry: LedgerEntry): Uint8Array {
  return encodeBy(LEDGER, entry);
}

/**
 * Reads a ledger entry.
 *
 * @throws {ProtocolError} as {@link decodeEvidenceEntry}.
 */
export function decodeLedgerEntry(bytes: Uint8Array): LedgerEntry {
  return decodeBy(LEDGER, bytes) as LedgerEntry;
}

function encodeBy(layouts: Layouts, entry: { readonly type: string }): Uint8Array {
  const layout = Object.hasOwn(layouts, entry.type) ? layouts[entry.type] : undefined;
  if (layout === undefined) {
    throw malformed('type', Object.keys(layouts).join(', '), entry.type);
  }
  const [number, fields] = layout;
  const items: CborValue[] = [number];
  for (const [name, field] of Object.entries(fields)) {
    const value = (entry as Readonly<Record<string, unknown>>)[name];
    const item = field.write(value);
    if (item === undefined) throw malformed(`${entry.type} ${name}`, field.expected, value);
    items.push(item);
  }
  checkWhole(entry);
  const encoded = encode(items);
  if (encoded.length > MAX_ENTRY_BYTES) {
    throw malformed(entry.type, `at most ${MAX_ENTRY_BYTES} bytes`, encoded.length);
  }
  return encoded;
}

function decodeBy(layouts: Layouts, bytes: Uint8Array): { readonly type: string } {
  if (bytes.length > MAX_ENTRY_BYTES) {
    throw malformed('entry', `at most ${MAX_ENTRY_BYTES} bytes`, bytes.length);
  }
  const items = decodeArray(bytes);
  for (const [type, [number, fields]] of Object.entries(layouts)) {
    if (items[0] !== number) continue;
    const names = Object.entries(fields);
    if (items.length !== names.length + 1) {
      throw malformed(type, `${names.length + 1} items`, items.length);
    }
    const entry: { type: string; [name: string]: unknown } = { type };
    for (const [at, [name, field]] of names.entries()) {
      const value = field.read(items[at + 1]);
      if (value === undefined) throw malformed(`${type} ${name}`, field.expected, items[at + 1]);
      entry[name] = value;
    }
    checkWhole(entry);
    return entry;
  }
  const known = Object.entries(layouts).map(([type, [number]]) => `${number} (${type})`);
  throw malformed('type', known.join(', '), items[0]);
}

function decodeArray(bytes: Uint8Array): readonly CborValue[] {
  let value: CborValue;
  try {
    value = decode(bytes, { maxDepth: MAX_DEPTH, maxItems: MAX_ITEMS });
  } catch (cause) {
    throw new ProtocolError('ERR_ENTRY_MALFORMED', 'log entry: expected deterministic CBOR', {
      cause,
    });
  }
  if (!Array.isArray(value)) throw malformed('entry', 'an array', value);
  return value;
}

/** What no single field can show. */
function checkWhole(entry: { readonly type: string }): void {
  if (entry.type === 'reject-tally') {
    const { fromMs, toMs, counts } = entry as RejectTallyEntry;
    if (toMs < fromMs) throw malformed('reject-tally toMs', `at least ${fromMs}`, toMs);
    const codes = new Set(counts.map(([code]) => code));
    if (codes.size < counts.length) throw malformed('reject-tally', 'each code once', 'repetition');
  }
  if (entry.type === 'account') {
    const { movements } = entry as AccountEntry;
    const sum = movements.reduce((total, [, amount]) => total + amount, 0n);
    // "the amounts sum to 0"
    if (sum !== 0n) throw malformed('account movements', 'a sum of 0', sum);
  }
}

function malformed(name: string, expected: string, got: unknown): ProtocolError {
  return new ProtocolError(
    'ERR_ENTRY_MALFORMED',
    `log entry, ${name}: expected ${expected}, got ${describe(got)}`,
  );
}

function describe(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof Map) return `a map of ${value.size}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 64));
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
