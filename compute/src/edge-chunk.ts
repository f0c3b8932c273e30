/**
 * Raw chunks: the readings that edge functions were given, as a device keeps them for its auditors
 * (docs/spec/edge-results.md section 3). Each is a columns payload whose times lie on the time line of its streams.
 */

import { decodeColumns } from '@fieldproof/protocol/columns';
import { type ColumnRun, writeColumns } from '@fieldproof/protocol/columns-writer';
import { ReadingSink } from '@fieldproof/protocol/readings-sink';

/** Readings of one chunk that stay below the limits of a payload however they lie. */
export const MAX_CHUNK_READINGS = 2500;
/** A chunk fits into an envelope. */
export const MAX_CHUNK_BYTES = 59_000;

/** The instants of one stream, in strictly ascending time. */
export type RawRun = ColumnRun;

/**
 * The chunks of some readings, as few as the limits allow; none for no readings. The instants of a stream come in the
 * order of the chunks.
 */
export function encodeRawChunks(runs: readonly RawRun[]): Uint8Array[] {
  const count = runs.reduce((sum, { timesUs }) => sum + timesUs.length, 0);
  if (count === 0) return [];
  if (count <= MAX_CHUNK_READINGS) {
    const payload = writeColumns(runs);
    if (payload.length <= MAX_CHUNK_BYTES || count === 1) return [payload];
  }
  const half = count >> 1;
  return [...encodeRawChunks(part(runs, 0, half)), ...encodeRawChunks(part(runs, half, count))];
}

/**
 * The readings of a chunk, one run for each stream, in the order in which its streams appear.
 *
 * @throws {ProtocolError} ERR_COLUMNS_MALFORMED, ERR_CBOR_….
 */
export function decodeRawChunk(bytes: Uint8Array, sink = new ReadingSink()): RawRun[] {
  const { runs, timesUs, values } = decodeColumns(bytes, sink);
  const streams = new Map<string, RawRun & { readonly instants: [number, number][] }>();
  for (const { profile, metric, unit, start, end } of runs) {
    const key = `${profile}/${metric}/${unit}`;
    let stream = streams.get(key);
    if (stream === undefined) {
      stream = { profile, metric, unit, timesUs: [], values: [], instants: [] };
      streams.set(key, stream);
    }
    for (let i = start; i < end; i++) stream.instants.push([timesUs[i]!, values[i]!]);
  }
  return [...streams.values()].map(({ instants, ...stream }) => {
    instants.sort(([a], [b]) => a - b);
    return {
      ...stream,
      timesUs: instants.map(([time]) => time),
      values: instants.map(([, value]) => value),
    };
  });
}

/** The readings from place `from` to before place `to`, counted through all runs. */
function part(runs: readonly RawRun[], from: number, to: number): RawRun[] {
  let place = 0;
  return runs.flatMap((run) => {
    const begin = Math.max(0, from - place);
    const end = Math.min(run.timesUs.length, to - place);
    place += run.timesUs.length;
    if (begin >= end) return [];
    const { timesUs, values } = run;
    return [{ ...run, timesUs: timesUs.slice(begin, end), values: values.slice(begin, end) }];
  });
}
