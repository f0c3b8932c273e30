import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  auditEdgeResult,
  type EdgeEvidence,
  edgeStateDigest,
  verifyRawChunk,
} from '@fieldproof/compute/edge-audit';
import {
  decodeRawChunk,
  encodeRawChunks,
  MAX_CHUNK_BYTES,
  type RawRun,
} from '@fieldproof/compute/edge-chunk';
import { fromHex } from '@fieldproof/protocol/bytes';
import { type CborValue, encode } from '@fieldproof/protocol/cbor';
import { writeColumns } from '@fieldproof/protocol/columns-writer';
import {
  decodeEdgeResult,
  type EdgeResult,
  encodeEdgeResult,
} from '@fieldproof/protocol/edge-result';
import { portableHasher, rootFromLeafHashes } from '@fieldproof/protocol/merkle';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { REPOSITORY } from '../support/repository.ts';

interface Case {
  readonly name: string;
  readonly hex: string;
  readonly inputs: {
    readonly bootMs: number;
    readonly boundMs: number | null;
    readonly chunks: readonly string[];
    readonly before: string | null;
    readonly after: string;
  };
}
const file = resolve(REPOSITORY, 'compute/vectors/results.json');
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: Case[] };
const steps = cases.slice(0, 3);

function evidenceOf({ hex, inputs }: Case): EdgeEvidence {
  const result = fromHex(hex);
  const { from } = decodeEdgeResult(result).raw;
  const { bootMs, boundMs, chunks, before } = inputs;
  return {
    ...{ result, bootMs, boundMs },
    chunks: chunks.map((chunk, i) => ({ number: from + i, bytes: fromHex(chunk) })),
    states: new Map([['air/temp', before === null ? null : fromHex(before)]]),
  };
}
const [first, second, unsynced] = steps.map(evidenceOf) as [
  EdgeEvidence,
  EdgeEvidence,
  EdgeEvidence,
];

function differenceOf(evidence: EdgeEvidence): string | undefined {
  const verdict = auditEdgeResult(evidence);
  return verdict.ok ? undefined : verdict.difference;
}

/** What a result says, however it is written; undefined for what says nothing. */
function meaningOf(result: Uint8Array): string | undefined {
  try {
    const { decoded, raw, streams } = decodeEdgeResult(result);
    const { runs, count, timesUs, values } = decoded;
    const numbers = [timesUs, values].map((each) => [...each.subarray(0, count)].map(String));
    return JSON.stringify([runs, numbers, raw, streams]);
  } catch {
    return undefined;
  }
}

/** The evidence with another result, its root kept right for other chunks. */
function withResult(evidence: EdgeEvidence, changes: Partial<EdgeResult>): EdgeEvidence {
  const result = encodeEdgeResult({ ...decodeEdgeResult(evidence.result), ...changes });
  return { ...evidence, result };
}
function withStream(changes: Partial<EdgeResult['streams'][number]>): EdgeEvidence {
  const [stream] = decodeEdgeResult(first.result).streams;
  return withResult(first, { streams: [{ ...stream!, ...changes }] });
}
/** The evidence with other chunks and the root that they have. */
function withChunks(evidence: EdgeEvidence, chunks: readonly Uint8Array[]): EdgeEvidence {
  const { raw } = decodeEdgeResult(evidence.result);
  const root = rootFromLeafHashes(chunks.map((chunk) => portableHasher.leafHash(chunk)));
  const made = withResult(evidence, { raw: { ...raw, to: raw.from + chunks.length - 1, root } });
  return { ...made, chunks: chunks.map((bytes, i) => ({ number: raw.from + i, bytes })) };
}
const runsOf = (evidence: EdgeEvidence): RawRun[] =>
  evidence.chunks.flatMap(({ bytes }) => decodeRawChunk(bytes));

describe('the audit', () => {
  test.each(steps)('$name: it follows, and leads to the state after', (each) => {
    const verdict = auditEdgeResult(evidenceOf(each));
    const after = fromHex(each.inputs.after);
    expect(verdict).toEqual({ ok: true, after: new Map([['air/temp', after]]) });
  });

  test('results of one stream are a chain', () => {
    const [before] = decodeEdgeResult(second.result).streams;
    const verdict = auditEdgeResult(first);
    expect(verdict.ok && edgeStateDigest(verdict.after.get('air/temp')!)).toEqual(before!.before);
  });

  test.each(steps)('$name: no byte of the result can change', (each) => {
    const good = evidenceOf(each);
    const meaning = meaningOf(good.result);
    let changed = 0;
    for (let i = 0; i < good.result.length; i++) {
      for (const bit of [1, 4, 0x80]) {
        const result = Uint8Array.from(good.result);
        result[i]! ^= bit;
        // The same said with another typed array is the same.
        if (meaningOf(result) === meaning) continue;
        expect(differenceOf({ ...good, result })).toBeDefined();
        changed += 1;
      }
    }
    expect(changed).toBeGreaterThan(3 * good.result.length - 10);
  });

  test.each(steps)('$name: no byte of a chunk or a state can change', (each) => {
    const good = evidenceOf(each);
    for (const [place, chunk] of good.chunks.entries()) {
      for (let i = 0; i < chunk.bytes.length; i++) {
        const bytes = Uint8Array.from(chunk.bytes);
        bytes[i]! ^= 1;
        const chunks = good.chunks.map((old, at) => (at === place ? { ...old, bytes } : old));
        expect(differenceOf({ ...good, chunks })).toBe('root');
      }
    }
    const state = good.states.get('air/temp') ?? new Uint8Array();
    for (let i = 0; i < state.length; i++) {
      const bytes = Uint8Array.from(state);
      bytes[i]! ^= 1;
      expect(differenceOf({ ...good, states: new Map([['air/temp', bytes]]) })).toBe('before');
    }
  });

  test('finds other raw readings under a right root', () => {
    const [one, two] = runsOf(first) as [RawRun, RawRun];
    const shift = (run: RawRun): RawRun => ({ ...run, values: run.values.map((v) => v + 1) });
    const code = (runs: readonly RawRun[]) =>
      differenceOf(
        withChunks(
          first,
          runs.map((run) => writeColumns([run])),
        ),
      );
    expect(code([one, two])).toBeUndefined();
    expect(code([shift(one), two])).toBe('readings');
    // Nothing came of the last ones yet: the state has them.
    expect(code([one, shift(two)])).toBe('after');
    expect(code([one, { ...two, unit: 'K' }])).toBe('chunk');
    expect(
      code([
        { ...one, unit: 'K' },
        { ...two, unit: 'K' },
      ]),
    ).toBe('readings');
    expect(code([one])).toBe('count');
    expect(code([one, two, { ...one, metric: 'rh' }])).toBe('streams');
    expect(code([{ ...one, timesUs: one.timesUs.map((t) => t - 1) }, two])).toBe('from');
    expect(code([one, { ...two, timesUs: two.timesUs.map((t) => t + 1) }])).toBe('to');
    expect(code([one, { ...two, timesUs: two.timesUs.map((t) => t % 1e14) }])).toBe('chunk');
  });

  test('finds every part of a stream that is claimed wrongly', () => {
    const [stream] = decodeEdgeResult(first.result).streams;
    const { fromUs, toUs, after } = stream!;
    const other = encode([['deadband-1', { band: 0 }]]);
    const loose = encode([
      [
        'deadband-1',
        new Map<string, CborValue>([
          ['band', 0.1],
          ['x', 1],
        ]),
      ],
    ]);
    expect(differenceOf(withStream({ count: 5 }))).toBe('count');
    expect(differenceOf(withStream({ fromUs: fromUs + 1 }))).toBe('from');
    expect(differenceOf(withStream({ toUs: toUs - 1 }))).toBe('to');
    expect(differenceOf(withStream({ before: after }))).toBe('before');
    expect(differenceOf(withStream({ after: new Uint8Array(32) }))).toBe('after');
    expect(differenceOf(withStream({ definition: other }))).toBe('readings');
    expect(differenceOf(withStream({ definition: loose }))).toBe('definition');
    expect(differenceOf(withResult(first, { format: 65001, readings: new Uint8Array() }))).toBe(
      'readings',
    );
  });

  test('finds chunks that are missing, surplus, of other numbers or in another order', () => {
    const { chunks } = first;
    const code = (changed: EdgeEvidence['chunks']) => differenceOf({ ...first, chunks: changed });
    expect(code(chunks.slice(1))).toBe('chunks');
    expect(code([...chunks, { ...chunks[1]!, number: 2 }])).toBe('chunks');
    expect(code(chunks.map(({ number, bytes }) => ({ number: number + 1, bytes })))).toBe('chunks');
    expect(code([...chunks].reverse())).toBe('chunks');
    const swapped = chunks.map(({ number }, i) => ({ number, bytes: chunks[1 - i]!.bytes }));
    expect(code(swapped)).toBe('root');
    const { raw } = decodeEdgeResult(first.result);
    const renumbered = withResult(first, { raw: { ...raw, from: 1, to: 2 } });
    expect(differenceOf(renumbered)).toBe('chunks');
  });

  test('finds a state that is missing or of another stream, and a stamp that is not the one', () => {
    expect(differenceOf({ ...second, states: new Map() })).toBe('before');
    expect(differenceOf({ ...second, states: new Map([['air/temp', null]]) })).toBe('before');
    expect(differenceOf({ ...first, boundMs: null })).toBe('chunk');
    expect(differenceOf({ ...unsynced, bootMs: unsynced.bootMs + 1 })).toBe('from');
    expect(differenceOf({ ...unsynced, boundMs: 20 })).toBe('chunk');
  });

  test('takes no more instants than a result may have, and shows no escape sequences', () => {
    const fromUs = 1_795_262_400_000_000;
    const timesUs = Array.from({ length: 5000 }, (_, i) => fromUs + i * 20_000);
    const name = { profile: 'air', metric: 'temp', unit: '\u009b2J\u202e' };
    const chunk = writeColumns([{ ...name, timesUs, values: timesUs.map(() => 1) }]);
    /** So many equal chunks, from which nothing is said to come out. */
    const messageOf = (length: number): string | undefined => {
      const chunks = Array.from({ length }, (_, number) => ({ number, bytes: chunk }));
      const leaf = nativeHasher.leafHash(chunk);
      const root = rootFromLeafHashes(Array<Uint8Array>(length).fill(leaf), nativeHasher);
      const stream = {
        ...decodeEdgeResult(first.result).streams[0]!,
        ...{ fromUs, toUs: timesUs.at(-1)!, before: null, count: Math.min(5000 * length, 1e6) },
      };
      const result = encodeEdgeResult({
        ...{ format: 65_001, readings: new Uint8Array(), streams: [stream] },
        raw: { from: 0, to: length - 1, root },
      });
      const states = new Map([['air/temp', null]]);
      const evidence = { result, bootMs: 0, boundMs: 20, chunks, states };
      const verdict = auditEdgeResult(evidence, nativeHasher);
      return verdict.ok ? undefined : verdict.message;
    };
    expect(messageOf(201)).toBe('chunk 200: more than 1000000 instants');
    expect(messageOf(1)).toMatch(
      /^air\/temp\.mean "\ufffd2J\ufffd" at \d+ µs: expected 1, got none$/,
    );
  });

  test('shows one chunk to be in the range without the others', () => {
    const result = decodeEdgeResult(first.result);
    const [a, b] = first.chunks as [EdgeEvidence['chunks'][0], EdgeEvidence['chunks'][0]];
    const proof = [portableHasher.leafHash(a.bytes)];
    verifyRawChunk(result, { ...b, proof });
    const invalid = expect.objectContaining({ code: 'ERR_PROOF_INVALID' });
    expect(() => verifyRawChunk(result, { ...b, number: 0, proof })).toThrow(invalid);
    expect(() => verifyRawChunk(result, { ...b, number: 2, proof })).toThrow(invalid);
    expect(() => verifyRawChunk(result, { ...a, number: 1, proof })).toThrow(invalid);
    expect(() => verifyRawChunk(result, { ...b, proof: [] })).toThrow(invalid);
  });
});

describe('raw chunks', () => {
  const runs = fc.uniqueArray(
    fc.record({
      profile: fc.constantFrom('air', 'soil'),
      metric: fc.constantFrom('temp', 'rh', 'x'),
      unit: fc.constant('Cel'),
      points: fc.uniqueArray(
        fc.tuple(
          fc.integer({ min: 0, max: 1e9 }),
          fc.double({ noNaN: true, noDefaultInfinity: true }),
        ),
        { minLength: 1, maxLength: 12, selector: ([time]) => time },
      ),
    }),
    { selector: ({ profile, metric }) => `${profile}/${metric}`, maxLength: 6 },
  );

  test('hold each stream with its instants in ascending time, to the bit', () => {
    fc.assert(
      fc.property(runs, (list) => {
        const given = list.map(({ points, ...run }): RawRun => {
          const sorted = [...points].sort(([a], [b]) => a - b);
          return { ...run, timesUs: sorted.map(([t]) => t), values: sorted.map(([, v]) => v) };
        });
        const chunks = encodeRawChunks(given);
        expect(chunks.length).toBe(given.length === 0 ? 0 : 1);
        const byName = (a: RawRun, b: RawRun): number =>
          `${a.profile}/${a.metric}` < `${b.profile}/${b.metric}` ? -1 : 1;
        const read = chunks.flatMap((chunk) => decodeRawChunk(chunk));
        expect(read.sort(byName)).toEqual(given.sort(byName));
      }),
      { numRuns: 100 },
    );
  });

  test('are cut to a size that an envelope can hold', () => {
    // Uneven µs: every instant is a block of its own.
    const timesUs = Array.from({ length: 6000 }, (_, i) => i * 1001 + ((i * i) % 7));
    const values = timesUs.map((time) => Math.sqrt(time));
    const chunks = encodeRawChunks([
      { profile: 'air', metric: 'temp', unit: 'Cel', timesUs, values },
    ]);
    expect(chunks.every(({ length }) => length <= MAX_CHUNK_BYTES)).toBe(true);
    const parts = chunks.flatMap((chunk) => decodeRawChunk(chunk));
    expect(parts.flatMap((part) => part.timesUs)).toEqual(timesUs);
    expect(parts.flatMap((part) => part.values)).toEqual(values);
  });
});
