/**
 * Segments of the raw store as bytes: a magic line, then frames `length u32 ‖ crc32c u32 ‖ body`, little-endian, the sum
 * over length and body. A body is one record in CBOR.
 */

import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import { crc32c, extendCrc32c } from '@fieldproof/protocol/crc32c';
import { FieldproofError } from '@fieldproof/protocol/errors';
import { anything, array, bytes, nullable, text, tuple, uint } from '@fieldproof/protocol/fields';
import { AgentError } from '../errors.ts';

/** First bytes of a segment: name and version of the format. */
export const RAW_MAGIC = new TextEncoder().encode('fieldproof raw 1\n');

const HEADER_BYTES = 8;
/** States of sliding windows with quantiles are the largest. */
const MAX_BODY_BYTES = 2 ** 26;
const LIMITS = { maxDepth: 16, maxItems: 100_000 } as const;

/** Times since 1970, or since the boot began. */
export type TimeLine = 'unix' | 'boot';

/** A stream and what its functions remember. */
export interface KeptState {
  /** `<profile>/<metric>` */
  readonly of: string;
  readonly definition: Uint8Array;
  readonly unit: string;
  readonly state: Uint8Array;
}

export type RawRecord =
  /** What the streams remember from here on; streams that are not named begin anew. First in every segment. */
  | { readonly type: 'states'; readonly line: TimeLine; readonly states: readonly KeptState[] }
  | {
      readonly type: 'chunk';
      readonly number: number;
      /** Unix ms by a clock that was believed, or null. */
      readonly unixMs: number | null;
      readonly bytes: Uint8Array;
      /** `[of, definition]` of streams that begin with it. */
      readonly begins: readonly (readonly [string, Uint8Array])[];
    }
  /** A result that was sealed, of the chunks before it. */
  | {
      readonly type: 'result';
      readonly bootCounter: number;
      readonly bootSeed: Uint8Array;
      readonly seq: number;
      readonly bootMs: number;
      readonly boundMs: number | null;
      readonly payload: Uint8Array;
    };

const blob = bytes({ max: MAX_BODY_BYTES });
const states = tuple(uint(1), array(tuple(text(97), blob, text(1024), blob), 1024));
const chunk = tuple(uint(), nullable(uint()), blob, array(tuple(text(97), blob), 1024));
const result = tuple(uint(), bytes(4), uint(), uint(), nullable(uint()), blob);
const record = tuple(uint(2), anything);

/** A record as a frame. @throws {AgentError} ERR_AGENT_RAW for one that could not be read again */
export function encodeRawFrame(made: RawRecord): Uint8Array {
  const body = encode(itemsOf(made));
  if (body.length + HEADER_BYTES > MAX_BODY_BYTES) {
    const [expected, got] = [`at most ${MAX_BODY_BYTES} bytes`, body.length + HEADER_BYTES];
    throw new AgentError('ERR_AGENT_RAW', `${made.type}: expected ${expected}, got ${got}`);
  }
  const frame = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, body.length, true);
  frame.set(body, HEADER_BYTES);
  view.setUint32(4, extendCrc32c(crc32c(frame, 0, 4), body), true);
  return frame;
}

/** The records of a segment up to its end, or up to the first that is torn or damaged. */
export function readSegment(segment: Uint8Array): {
  readonly records: readonly RawRecord[];
  /** Bytes that are good. */
  readonly length: number;
} {
  if (Buffer.compare(segment.subarray(0, RAW_MAGIC.length), RAW_MAGIC) !== 0) {
    return { records: [], length: 0 };
  }
  const records: RawRecord[] = [];
  const view = new DataView(segment.buffer, segment.byteOffset, segment.byteLength);
  let at = RAW_MAGIC.length;
  while (at + HEADER_BYTES <= segment.length) {
    const end = at + HEADER_BYTES + view.getUint32(at, true);
    if (end > segment.length || end - at > MAX_BODY_BYTES) break;
    const body = segment.subarray(at + HEADER_BYTES, end);
    if (extendCrc32c(crc32c(segment, at, at + 4), body) !== view.getUint32(at + 4, true)) break;
    const read = readRecord(body);
    if (read === undefined) break;
    records.push(read);
    at = end;
  }
  return { records, length: at };
}

function itemsOf(made: RawRecord): CborValue {
  switch (made.type) {
    case 'states': {
      const rows = made.states.map(({ of, definition, unit, state }) => [
        of,
        definition,
        unit,
        state,
      ]);
      return [0, [made.line === 'unix' ? 1 : 0, rows]];
    }
    case 'chunk': {
      const { number, unixMs, begins } = made;
      return [1, [number, unixMs, made.bytes, begins.map((each) => [...each])]];
    }
    case 'result': {
      const { bootCounter, bootSeed, seq, bootMs, boundMs, payload } = made;
      return [2, [bootCounter, bootSeed, seq, bootMs, boundMs, payload]];
    }
  }
}

function readRecord(body: Uint8Array): RawRecord | undefined {
  try {
    const [type, items] = record(decode(body, LIMITS), 'record');
    if (type === 0) {
      const [line, rows] = states(items, 'states');
      const kept = rows.map(([of, definition, unit, state]) => ({ of, definition, unit, state }));
      return { type: 'states', line: line === 1 ? 'unix' : 'boot', states: kept };
    }
    if (type === 1) {
      const [number, unixMs, made, begins] = chunk(items, 'chunk');
      return { type: 'chunk', number, unixMs, bytes: made, begins };
    }
    const [bootCounter, bootSeed, seq, bootMs, boundMs, payload] = result(items, 'result');
    return { type: 'result', bootCounter, bootSeed, seq, bootMs, boundMs, payload };
  } catch (error) {
    if (error instanceof FieldproofError) return undefined;
    throw error;
  }
}
