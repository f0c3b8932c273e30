/**
 * Results of edge functions, content type 65002 of kind `result` (docs/spec/edge-results.md sections 1 and 2): what the
 * functions gave, and for each stream the definition, the raw instants it was made of, and its states before and after.
 *
 * Checks the shape. Whether the results follow from the raw chunks is the auditor's question (`compute/edge-audit`);
 * which functions there are is not known here.
 */

import { type CborValue, decode, encode } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { anything, bytes, type Decoder, integer, nullable, text, tuple, uint } from './fields.ts';
import {
  CONTENT_TYPE_COLUMNS,
  CONTENT_TYPE_SENML,
  decodeTelemetry,
  isAbsolute,
  type TelemetrySummary,
} from './readings-decode.ts';
import {
  type DecodedReadings,
  isMetric,
  isProfile,
  isReadingTime,
  type ReadingName,
  ReadingSink,
} from './readings-sink.ts';

export const CONTENT_TYPE_EDGE_RESULT = 65002;
/** Streams of one result. */
export const MAX_EDGE_STREAMS = 64;
/** Chunks of one result. */
export const MAX_EDGE_CHUNKS = 65_536;
/** Raw instants of one result: an auditor computes all of them again, and a chunk may hold thousands in few bytes. */
export const MAX_RAW_INSTANTS = 1_000_000;
/** Bytes of one definition (edge-functions.md 3). */
export const MAX_DEFINITION_BYTES = 4096;

/** What was done with one stream. */
export interface EdgeStream extends ReadingName {
  /** Deterministic CBOR of edge-functions.md 3.6. */
  readonly definition: Uint8Array;
  /** Times of the first and the last raw instant, whole µs: Unix time from 2^28 s on, else relative to sealing. */
  readonly fromUs: number;
  readonly toUs: number;
  /** Raw instants, at least 1. */
  readonly count: number;
  /** SHA-256 of the state before; null where the stream begins anew. */
  readonly before: Uint8Array | null;
  readonly after: Uint8Array;
}

/** The raw chunks that a result was made of, both ends included. */
export interface RawRange {
  readonly from: number;
  readonly to: number;
  /** RFC 9162 tree hash over the chunks. */
  readonly root: Uint8Array;
}

export interface EdgeResult {
  /** Content type of `readings`; 65001 where there are none. */
  readonly format: typeof CONTENT_TYPE_SENML | typeof CONTENT_TYPE_COLUMNS;
  /** A telemetry payload; empty where nothing came out. */
  readonly readings: Uint8Array;
  readonly raw: RawRange;
  readonly streams: readonly EdgeStream[];
}

const LIMITS = { maxDepth: 16, maxItems: 40_000, keepFloats: true } as const;
const MAX_FUNCTIONS = 8;
const FUNCTION_ID = /^[a-z][a-z0-9-]{0,31}$/;

const hash = bytes(32);
const message = tuple(anything, bytes({ max: 60_000 }), tuple(uint(), uint(), hash), anything);
const stream = tuple(
  text(97),
  bytes({ max: MAX_DEFINITION_BYTES }),
  integer,
  integer,
  uint(),
  nullable(hash),
  hash,
);

let shared: ReadingSink | undefined;

/**
 * Encodes a result.
 *
 * @throws {ProtocolError} as `decodeEdgeResult`: what cannot be read again is not written.
 */
export function encodeEdgeResult({ format, readings, raw, streams }: EdgeResult): Uint8Array {
  const rows = streams.map(
    ({ profile, metric, definition, fromUs, toUs, count, before, after }): CborValue => [
      `${profile}/${metric}`,
      ...[definition, fromUs, toUs, count, before, after],
    ],
  );
  const payload = encode([format, readings, [raw.from, raw.to, raw.root], rows]);
  checkEdgeResult(payload);
  return payload;
}

/**
 * Decodes a payload of content type 65002, with its readings.
 *
 * @param sink - reused when given; `decoded` is valid until it is used again.
 * @throws {ProtocolError} ERR_EDGE_RESULT_MALFORMED, ERR_SENML_MALFORMED or ERR_COLUMNS_MALFORMED, ERR_CBOR_….
 */
export function decodeEdgeResult(
  payload: Uint8Array,
  sink = new ReadingSink(),
): EdgeResult & { readonly decoded: DecodedReadings } {
  const value = decode(payload, LIMITS);
  const [format, readings, [from, to, root], rows] = shaped(message, value, 'result');
  if (format !== CONTENT_TYPE_SENML && format !== CONTENT_TYPE_COLUMNS) {
    throw malformed(`format: expected 112 or 65001, got ${String(format)}`);
  }
  if (readings.length === 0 && format !== CONTENT_TYPE_COLUMNS) {
    throw malformed(`format: expected 65001 where there are no readings, got ${format}`);
  }
  if (from > to || to - from >= MAX_EDGE_CHUNKS) {
    throw malformed(`raw: expected 1 to ${MAX_EDGE_CHUNKS} chunks, got ${from}..${to}`);
  }
  if (!Array.isArray(rows) || rows.length < 1 || rows.length > MAX_EDGE_STREAMS) {
    throw malformed(`streams: expected an array of 1 to ${MAX_EDGE_STREAMS}`);
  }
  const streams = rows.map((row, i) => decodeStream(row, `streams[${i}]`));
  const names = new Set(streams.map(({ profile, metric }) => `${profile}/${metric}`));
  if (names.size < streams.length) throw malformed('streams: expected each stream once');
  const instants = streams.reduce((sum, { count }) => sum + count, 0);
  if (instants > MAX_RAW_INSTANTS) {
    throw malformed(`streams: expected at most ${MAX_RAW_INSTANTS} raw instants, got ${instants}`);
  }
  sink.reset();
  if (readings.length > 0) decodeTelemetry(readings, format, sink);
  checkNames(sink, streams);
  return { format, readings, raw: { from, to, root }, streams, decoded: sink };
}

/**
 * Validates a payload and says what a gate needs to know about its times, those of the raw instants included. Keeps
 * nothing.
 *
 * @throws {ProtocolError} as `decodeEdgeResult`.
 */
export function checkEdgeResult(payload: Uint8Array): TelemetrySummary {
  shared ??= new ReadingSink();
  return summarizeEdgeResult(decodeEdgeResult(payload, shared));
}

/** The summary of the times of results and raw instants. */
export function summarizeEdgeResult(result: {
  readonly streams: readonly EdgeStream[];
  readonly decoded: DecodedReadings;
}): TelemetrySummary {
  const { count, timesUs } = result.decoded;
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let [absolute, relative] = [false, false];
  const take = (timeUs: number): void => {
    min = Math.min(min, timeUs);
    max = Math.max(max, timeUs);
    if (isAbsolute(timeUs)) absolute = true;
    else relative = true;
  };
  for (let i = 0; i < count; i++) take(timesUs[i]!);
  for (const { fromUs, toUs } of result.streams) {
    take(fromUs);
    take(toUs);
  }
  return { readings: count, minTimeMs: min / 1000, maxTimeMs: max / 1000, absolute, relative };
}

function decodeStream(row: CborValue, path: string): EdgeStream {
  const [of, definition, fromUs, toUs, count, before, after] = shaped(stream, row, path);
  const slash = of.indexOf('/');
  const [profile, metric] = [of.slice(0, Math.max(slash, 0)), of.slice(slash + 1)];
  if (!isProfile(profile) || !isMetric(metric)) {
    throw malformed(`${path}: expected <profile>/<metric>, got ${JSON.stringify(of)}`);
  }
  checkDefinition(definition, path);
  if (!isReadingTime(fromUs) || !isReadingTime(toUs) || fromUs > toUs) {
    throw malformed(`${path}: expected times of raw instants, got ${fromUs} to ${toUs}`);
  }
  if (count < 1) throw malformed(`${path}: expected at least one raw instant, got ${count}`);
  return { profile, metric, definition, fromUs, toUs, count, before, after };
}

/** edge-functions.md 3.6, whichever functions there are. */
function checkDefinition(definition: Uint8Array, path: string): void {
  const list = decode(definition, LIMITS);
  const isOne = (item: CborValue): boolean => {
    if (!Array.isArray(item) || item.length !== 2) return false;
    const [id, parameters] = item as readonly CborValue[];
    if (typeof id !== 'string' || !FUNCTION_ID.test(id)) return false;
    if (!(parameters instanceof Map)) return false;
    return [...parameters.keys()].every((key) => typeof key === 'string');
  };
  const isList = Array.isArray(list) && list.length >= 1 && list.length <= MAX_FUNCTIONS;
  if (!isList || !list.every(isOne)) {
    throw malformed(`${path}: expected 1 to ${MAX_FUNCTIONS} functions [id, parameters]`);
  }
}

/** Every reading is a number of one of the streams: its name, or its name, a dot and more. */
function checkNames({ runs }: DecodedReadings, streams: readonly EdgeStream[]): void {
  for (const { profile, metric, type } of runs) {
    const isOf = (each: EdgeStream): boolean =>
      each.profile === profile && (metric === each.metric || metric.startsWith(`${each.metric}.`));
    if (type !== 'number' || !streams.some(isOf)) {
      throw malformed(`readings: expected numbers of the streams, got ${profile}/${metric}`);
    }
  }
}

function shaped<T>(decoder: Decoder<T>, value: CborValue, path: string): T {
  try {
    return decoder(value, path);
  } catch (cause) {
    throw malformed((cause as Error).message, cause);
  }
}

function malformed(reason: string, cause?: unknown): ProtocolError {
  return new ProtocolError('ERR_EDGE_RESULT_MALFORMED', reason, { cause });
}
