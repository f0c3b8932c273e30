/** Reads the kept raw readings while an agent may be writing them: results, one after the other, with all behind them. */

import { decodeEdgeResult } from '@fieldproof/protocol/edge-result';
import type { Disk } from '../disk.ts';
import { reasonOf } from '../errors.ts';
import { type KeptResult, RawReplay } from './raw-replay.ts';
import { readRawSegments } from './raw-store.ts';

/** A result that is kept, for a list. */
export interface KeptRow {
  readonly boot: number;
  readonly seq: number;
  /** Chunks, both ends included. */
  readonly from: number;
  readonly to: number;
  /** Unix ms of the first and the last raw reading, or null where the clock was not synchronised. */
  readonly firstMs: number | null;
  readonly lastMs: number | null;
  readonly streams: readonly string[];
  readonly readings: number;
  readonly results: number;
}

/**
 * All kept results, oldest first.
 *
 * @param onDamage - told of what cannot be read; the rest of that segment is left out.
 */
export async function* keptResults(
  folder: string,
  disk: Disk,
  onDamage: (reason: string) => void,
): AsyncGenerator<KeptResult> {
  for await (const records of readRawSegments(folder, disk)) {
    const replay = new RawReplay();
    for (const record of records) {
      let kept: KeptResult | undefined;
      try {
        kept = replay.apply(record);
      } catch (error) {
        onDamage(reasonOf(error));
        break;
      }
      if (kept !== undefined) yield kept;
    }
  }
}

export function rowOf({ record }: KeptResult): KeptRow {
  const { payload, bootCounter, seq, boundMs } = record;
  const { raw, streams, decoded } = decodeEdgeResult(payload);
  const first = Math.min(...streams.map(({ fromUs }) => fromUs));
  const last = Math.max(...streams.map(({ toUs }) => toUs));
  return {
    ...{ boot: bootCounter, seq, from: raw.from, to: raw.to },
    firstMs: boundMs === null ? null : first / 1000,
    lastMs: boundMs === null ? null : last / 1000,
    streams: streams.map(({ profile, metric }) => `${profile}/${metric}`),
    readings: streams.reduce((sum, { count }) => sum + count, 0),
    results: decoded.count,
  };
}
