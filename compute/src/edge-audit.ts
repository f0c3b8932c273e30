/**
 * The audit of a result of edge functions: whether it follows from the raw chunks and the states that it names
 * (docs/spec/edge-results.md section 4). Pure; everything comes from the device that is audited, so nothing is trusted.
 */

import { equalBytes } from '@fieldproof/protocol/bytes';
import {
  decodeEdgeResult,
  type EdgeResult,
  type EdgeStream,
  MAX_RAW_INSTANTS,
} from '@fieldproof/protocol/edge-result';
import {
  type Hasher,
  portableHasher,
  portableSha256,
  rootFromLeafHashes,
} from '@fieldproof/protocol/merkle';
import { verifyInclusion } from '@fieldproof/protocol/merkle-proof';
import { isAbsolute } from '@fieldproof/protocol/readings-decode';
import type { DecodedReadings } from '@fieldproof/protocol/readings-sink';
import { decodeRawChunk, type RawRun } from './edge-chunk.ts';
import {
  decodeEdgeDefinition,
  type EdgeDefinition,
  edgeOutputs,
  encodeEdgeDefinition,
} from './edge-definition.ts';
import { EdgePipeline } from './edge-pipeline.ts';

/** A chunk as its device has numbered it. */
export interface RawChunk {
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** What there is to a result. */
export interface EdgeEvidence {
  /** Payload of content type 65002. */
  readonly result: Uint8Array;
  /** Of the envelope's stamp. */
  readonly bootMs: number;
  readonly boundMs: number | null;
  /** All chunks of the range, in order of their numbers. */
  readonly chunks: readonly RawChunk[];
  /** State before, by `<profile>/<metric>`; null where the stream begins anew. */
  readonly states: ReadonlyMap<string, Uint8Array | null>;
}

/** The first thing that does not fit, in the order in which they are checked. */
export type EdgeDifference =
  /** The result cannot be read. */
  | 'result'
  /** Not the chunks of the range. */
  | 'chunks'
  /** The chunks have another root. */
  | 'root'
  /** A chunk cannot be read, or is on another time line than the result. */
  | 'chunk'
  /** The chunks hold other streams than the result. */
  | 'streams'
  | 'definition'
  | 'count'
  | 'from'
  | 'to'
  | 'before'
  | 'readings'
  | 'after';

export type EdgeVerdict =
  | { readonly ok: true; readonly after: ReadonlyMap<string, Uint8Array> }
  | { readonly ok: false; readonly difference: EdgeDifference; readonly message: string };

/** One chunk of the range of a result. */
export interface ChunkClaim extends RawChunk {
  /** RFC 9162 inclusion proof. */
  readonly proof: readonly Uint8Array[];
}

class Difference extends Error {
  readonly difference: EdgeDifference;

  constructor(difference: EdgeDifference, message: string) {
    // Units are texts of the device that is audited.
    super(message.replace(/[\p{Cc}\p{Cf}]/gu, '\uFFFD'));
    this.difference = difference;
  }
}

/** SHA-256 of a saved state, as results name it. */
export function edgeStateDigest(state: Uint8Array): Uint8Array {
  return portableSha256(state);
}

/**
 * Computes a result again, from the chunks and the states before it.
 *
 * @returns what comes first of all that does not fit; or the states after it, for the result that follows.
 */
export function auditEdgeResult(
  evidence: EdgeEvidence,
  hasher: Hasher = portableHasher,
): EdgeVerdict {
  try {
    return { ok: true, after: audit(evidence, hasher) };
  } catch (error) {
    if (!(error instanceof Difference)) throw error;
    return { ok: false, difference: error.difference, message: error.message };
  }
}

/**
 * Verifies that one chunk is among those of a result, without the others.
 *
 * @throws {ProtocolError} ERR_PROOF_INVALID
 */
export function verifyRawChunk(
  { raw }: Pick<EdgeResult, 'raw'>,
  { number, bytes, proof }: ChunkClaim,
  hasher: Hasher = portableHasher,
): void {
  const { from, to, root } = raw;
  const leafHash = hasher.leafHash(bytes);
  verifyInclusion({ leafHash, index: number - from, size: to - from + 1, root, proof }, hasher);
}

function audit(evidence: EdgeEvidence, hasher: Hasher): ReadonlyMap<string, Uint8Array> {
  const result = attempt('result', () => decodeEdgeResult(evidence.result));
  const { raw, streams, decoded } = result;
  const { chunks, states } = evidence;
  const numbers = chunks.map(({ number }) => number);
  expectThat('chunks', raw.to - raw.from + 1, chunks.length);
  if (numbers.some((number, i) => number !== raw.from + i)) {
    throw new Difference('chunks', `chunks: expected ${raw.from} to ${raw.to}, got others`);
  }
  const root = rootFromLeafHashes(chunks.map(({ bytes }) => hasher.leafHash(bytes)));
  if (!equalBytes(root, raw.root))
    throw new Difference('root', 'root: the chunks have another one');
  // Times of a result without a clock bound count from its sealing.
  const shiftUs = evidence.boundMs === null ? -1000 * evidence.bootMs : 0;
  const spans = spansOf(chunks, evidence);
  expectThat('streams', namesOf(streams), [...spans.keys()].sort().join(', '));
  const running = new Map<string, { pipeline: EdgePipeline; names: readonly [string, string][] }>();
  for (const stream of streams) {
    const name = nameOf(stream);
    const { unit, count, firstUs, lastUs } = spans.get(name)!;
    const definition = readDefinition(stream, name);
    expectThat('count', count, stream.count, name);
    expectThat('from', firstUs + shiftUs, stream.fromUs, name);
    expectThat('to', lastUs + shiftUs, stream.toUs, name);
    const names = edgeOutputs(definition, unit).map((output): [string, string] => [
      output.suffix === '' ? name : `${name}.${output.suffix}`,
      output.unit,
    ]);
    running.set(name, { pipeline: openPipeline(stream, definition, states.get(name)), names });
  }
  const claimed = claimedReadings(decoded);
  for (const run of runsOf(chunks)) {
    const { pipeline, names } = running.get(nameOf(run))!;
    for (const [i, timeUs] of run.timesUs.entries()) {
      pipeline.push(timeUs, run.values[i]!, (output, atUs, value) => {
        const key = readingKey(...names[output]!, atUs + shiftUs);
        const got = claimed.get(key);
        if (!Object.is(got, value)) {
          throw new Difference('readings', `${key}: expected ${value}, got ${got ?? 'none'}`);
        }
        claimed.delete(key);
      });
    }
  }
  for (const [key, value] of claimed) {
    throw new Difference('readings', `${key}: expected none, got ${value}`);
  }
  const after = new Map([...running].map(([name, { pipeline }]) => [name, pipeline.save()]));
  for (const stream of streams) {
    const name = nameOf(stream);
    if (!equalBytes(edgeStateDigest(after.get(name)!), stream.after)) {
      throw new Difference('after', `${name}: the state after is another one`);
    }
  }
  return after;
}

/** What all chunks hold of a stream. */
interface Span {
  readonly unit: string;
  count: number;
  /** Least and greatest time; chunks are each in order, but a later one may begin before. */
  firstUs: number;
  lastUs: number;
}

/** By name. The instants themselves are not kept: whoever hands out chunks may hand out many. */
function spansOf(
  chunks: readonly RawChunk[],
  { boundMs }: Pick<EdgeEvidence, 'boundMs'>,
): ReadonlyMap<string, Span> {
  const spans = new Map<string, Span>();
  let instants = 0;
  for (const run of runsOf(chunks)) {
    const name = nameOf(run);
    instants += run.timesUs.length;
    if (instants > MAX_RAW_INSTANTS) {
      throw new Difference('chunk', `chunk ${run.number}: more than ${MAX_RAW_INSTANTS} instants`);
    }
    if (run.timesUs.some((time) => isAbsolute(time) !== (boundMs !== null))) {
      throw new Difference('chunk', `chunk ${run.number}: its times are on another time line`);
    }
    let span = spans.get(name);
    if (span === undefined) {
      span = { unit: run.unit, count: 0, firstUs: run.timesUs[0]!, lastUs: run.timesUs[0]! };
      spans.set(name, span);
    } else if (span.unit !== run.unit) {
      throw new Difference('chunk', `chunk ${run.number}: ${name} has two units`);
    }
    span.count += run.timesUs.length;
    span.firstUs = Math.min(span.firstUs, run.timesUs[0]!);
    span.lastUs = Math.max(span.lastUs, run.timesUs.at(-1)!);
  }
  return spans;
}

function* runsOf(chunks: readonly RawChunk[]): Generator<RawRun & { readonly number: number }> {
  for (const { number, bytes } of chunks) {
    for (const run of attempt('chunk', () => decodeRawChunk(bytes))) yield { ...run, number };
  }
}

function readDefinition({ definition }: EdgeStream, name: string): EdgeDefinition {
  const read = attempt('definition', () => decodeEdgeDefinition(definition));
  // The same functions in other bytes would have other states.
  if (!equalBytes(encodeEdgeDefinition(read), definition)) {
    throw new Difference('definition', `${name}: the definition is not in its canonical form`);
  }
  return read;
}

function openPipeline(
  stream: EdgeStream,
  definition: EdgeDefinition,
  state: Uint8Array | null | undefined,
): EdgePipeline {
  const name = nameOf(stream);
  if (state === undefined) throw new Difference('before', `${name}: its state before is missing`);
  const isFit =
    state === null || stream.before === null
      ? state === stream.before
      : equalBytes(edgeStateDigest(state), stream.before);
  if (!isFit) throw new Difference('before', `${name}: the state before is another one`);
  return attempt('before', () => new EdgePipeline(definition, state ?? undefined));
}

/** What the result says came out, by name, unit and time. */
function claimedReadings({ runs, timesUs, values }: DecodedReadings): Map<string, number> {
  const claimed = new Map<string, number>();
  for (const run of runs) {
    for (let i = run.start; i < run.end; i++) {
      const key = readingKey(nameOf(run), run.unit, timesUs[i]!);
      if (claimed.has(key)) throw new Difference('readings', `${key}: expected once, got twice`);
      claimed.set(key, values[i] as number);
    }
  }
  return claimed;
}

function readingKey(name: string, unit: string, timeUs: number): string {
  return `${name} ${JSON.stringify(unit)} at ${timeUs} µs`;
}

function nameOf({
  profile,
  metric,
}: {
  readonly profile: string;
  readonly metric: string;
}): string {
  return `${profile}/${metric}`;
}

function namesOf(
  streams: readonly { readonly profile: string; readonly metric: string }[],
): string {
  return streams.map(nameOf).sort().join(', ');
}

function expectThat<T extends number | string>(
  difference: EdgeDifference,
  expected: T,
  got: T,
  name = 'result',
): void {
  if (expected === got) return;
  throw new Difference(difference, `${name}: ${difference}: expected ${expected}, got ${got}`);
}

function attempt<T>(difference: EdgeDifference, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Difference(difference, (error as Error).message);
  }
}
