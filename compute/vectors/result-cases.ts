/** Examples of docs/spec/edge-results.md: a stream from its beginning, the result after it, and one without a clock. */

import { toHex } from '@fieldproof/protocol/bytes';
import { writeColumns } from '@fieldproof/protocol/columns-writer';
import { type EdgeStream, encodeEdgeResult } from '@fieldproof/protocol/edge-result';
import { CONTENT_TYPES, seal, upAad } from '@fieldproof/protocol/envelope';
import { portableHasher, rootFromLeafHashes } from '@fieldproof/protocol/merkle';
import { stampOf } from '../../protocol/vectors/cases/envelope.ts';
import { network } from '../../protocol/vectors/cases/identity.ts';
import { device, NOON } from '../../protocol/vectors/cases/people.ts';
import {
  cborCase,
  type VectorCase,
  type VectorFile,
} from '../../protocol/vectors/cases/vector-file.ts';
import { edgeStateDigest } from '../src/edge-audit.ts';
import { encodeRawChunks, type RawRun } from '../src/edge-chunk.ts';
import { edgeOutputs, encodeEdgeDefinition, parseEdgeDefinition } from '../src/edge-definition.ts';
import { EdgePipeline } from '../src/edge-pipeline.ts';

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;
const TEXT = 'window 1m mean,max | deadband 0.2';
const definition = parseEdgeDefinition(TEXT);

const temperatures = (startUs: number, values: readonly number[]): RawRun => ({
  ...{ profile: 'air', metric: 'temp', unit: 'Cel', values },
  timesUs: values.map((_, i) => startUs + 20 * i * SECOND),
});

interface Step {
  readonly name: string;
  readonly about: string;
  readonly from: number;
  /** The readings of each chunk. */
  readonly runs: readonly RawRun[];
  readonly before: Uint8Array | null;
  /** Null while the clock is not synchronised. */
  readonly boundMs: number | null;
}

/** A result, with everything that an auditor needs, and the state after it. */
function step({ name, about, from, runs, before, boundMs }: Step): {
  readonly example: VectorCase;
  readonly payload: Uint8Array;
  readonly after: Uint8Array;
} {
  const { bootMs } = stampOf(0);
  const shiftUs = boundMs === null ? -1000 * bootMs : 0;
  const pipeline = new EdgePipeline(definition, before ?? undefined);
  const outputs = edgeOutputs(definition, 'Cel').map(({ suffix, unit }) => {
    const [timesUs, values]: [number[], number[]] = [[], []];
    return { profile: 'air', metric: `temp.${suffix}`, unit, timesUs, values };
  });
  const timesUs = runs.flatMap((run) => run.timesUs);
  for (const run of runs) {
    for (const [i, time] of run.timesUs.entries()) {
      pipeline.push(time, run.values[i]!, (output, atUs, value) => {
        outputs[output]!.timesUs.push(atUs + shiftUs);
        outputs[output]!.values.push(value);
      });
    }
  }
  const given = outputs.filter((output) => output.timesUs.length > 0);
  const chunks = runs.flatMap((run) => encodeRawChunks([run]));
  const leaves = chunks.map((chunk) => portableHasher.leafHash(chunk));
  const after = pipeline.save();
  const stream: EdgeStream = {
    ...{ profile: 'air', metric: 'temp', definition: encodeEdgeDefinition(definition) },
    fromUs: Math.min(...timesUs) + shiftUs,
    toUs: Math.max(...timesUs) + shiftUs,
    count: timesUs.length,
    before: before && edgeStateDigest(before),
    after: edgeStateDigest(after),
  };
  const payload = encodeEdgeResult({
    format: 65001,
    readings: given.length === 0 ? new Uint8Array() : writeColumns(given),
    raw: { from, to: from + chunks.length - 1, root: rootFromLeafHashes(leaves) },
    streams: [stream],
  });
  const inputs = {
    ...{ text: TEXT, bootMs, boundMs },
    chunks: chunks.map(toHex),
    before: before && toHex(before),
    after: toHex(after),
  };
  return { example: cborCase({ name, about, inputs }, payload), payload, after };
}

export function resultVectors(): VectorFile {
  const noonUs = NOON * 1000;
  const first = step({
    name: 'first result',
    about: 'Chunks 0 and 1 of a stream that begins: six readings, one window.',
    from: 0,
    runs: [
      temperatures(noonUs - 2 * MINUTE, [21.5, 21.53, 21.48]),
      temperatures(noonUs - MINUTE, [21.6, 21.61, 21.63]),
    ],
    before: null,
    boundMs: 20,
  });
  const second = step({
    name: 'result without readings',
    about: 'Chunk 2: the window that ends is within the deadband.',
    from: 2,
    runs: [temperatures(noonUs, [21.6, 21.62])],
    before: first.after,
    boundMs: 20,
  });
  const unsynced = step({
    name: 'result of an unsynchronised clock',
    about: 'Chunk 3, in boot time; times in the result are relative to its sealing.',
    from: 3,
    runs: [temperatures(5 * SECOND, [21.5, 21.53, 21.48])],
    before: null,
    boundMs: null,
  });
  const envelope = seal({
    contentType: CONTENT_TYPES.edgeResult,
    payload: first.payload,
    stamp: stampOf(6),
    externalAad: upAad(network, 'result'),
    signer: device,
  });
  return {
    spec: 'docs/spec/edge-results.md',
    cases: [
      ...[first, second, unsynced].map(({ example }) => example),
      cborCase(
        { name: 'result envelope', about: 'The first result, sealed with seq 6.' },
        envelope,
      ),
    ],
  };
}
