/**
 * Audit files (docs/spec/edge-results.md section 5): one result with the raw chunks, their proofs and the states that it
 * was made of, for whoever wants to compute it again.
 */

import { auditEdgeResult, verifyRawChunk } from '@fieldproof/compute/edge-audit';
import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import { decodeEdgeResult } from '@fieldproof/protocol/edge-result';
import { FieldproofError } from '@fieldproof/protocol/errors';
import {
  array,
  bytes,
  type Decoded,
  dictionary,
  nullable,
  record,
  tuple,
  uint,
} from '@fieldproof/protocol/fields';
import { rootFromLeafHashes } from '@fieldproof/protocol/merkle';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { AgentError } from '../errors.ts';
import type { KeptResult } from './raw-replay.ts';

/** Of a file; states of many windows with quantiles are the largest. */
export const MAX_AUDIT_BYTES = 2 ** 28;
const LIMITS = { maxDepth: 8, maxItems: 5_000_000 } as const;

const blob = bytes({ max: MAX_AUDIT_BYTES });
const auditFile = record({
  result: blob,
  boot: tuple(uint(0xffff_ffff), bytes(4)),
  seq: uint(),
  bootMs: uint(),
  boundMs: nullable(uint()),
  chunks: array(tuple(uint(), blob, array(bytes(32), 64)), 65_536),
  states: dictionary(nullable(blob), 64),
});

export type AuditFile = Decoded<typeof auditFile>;

/** What an audit file shows. */
export interface AuditFileSummary {
  readonly boot: number;
  readonly seq: number;
  readonly streams: readonly string[];
  readonly raw: number;
  readonly results: number;
}

export function encodeAuditFile({ record: kept, chunks, states }: KeptResult): Uint8Array {
  const { bootCounter, bootSeed, seq, bootMs, boundMs, payload } = kept;
  const leaves = chunks.map((chunk) => nativeHasher.leafHash(chunk.bytes));
  const file = {
    ...{ result: payload, boot: [bootCounter, bootSeed], seq, bootMs, boundMs },
    chunks: chunks.map(({ number, bytes: chunk }, i) => [number, chunk, proofOf(leaves, i)]),
    states: new Map<string, CborValue>(states),
  };
  return encode(file as CborValue);
}

/**
 * Computes the result of an audit file again.
 *
 * @throws {AgentError} ERR_AGENT_RAW_CONTRADICTED with the first difference; also for what is no audit file.
 */
export function verifyAuditFile(content: Uint8Array): AuditFileSummary {
  const file = readAuditFile(content);
  try {
    const chunks = file.chunks.map(([number, chunk]) => ({ number, bytes: chunk }));
    const { result, bootMs, boundMs, boot, seq } = file;
    const states = new Map(Object.entries(file.states));
    const verdict = auditEdgeResult({ result, bootMs, boundMs, chunks, states }, nativeHasher);
    if (!verdict.ok) throw new FieldproofError('', `${verdict.difference}: ${verdict.message}`);
    const { streams, decoded, raw } = decodeEdgeResult(result);
    for (const [number, chunk, proof] of file.chunks) {
      verifyRawChunk({ raw }, { number, bytes: chunk, proof }, nativeHasher);
    }
    return {
      boot: boot[0],
      seq,
      streams: streams.map(({ profile, metric }) => `${profile}/${metric}`),
      raw: streams.reduce((sum, { count }) => sum + count, 0),
      results: decoded.count,
    };
  } catch (cause) {
    if (!(cause instanceof FieldproofError)) throw cause;
    throw new AgentError('ERR_AGENT_RAW_CONTRADICTED', cause.message, { cause });
  }
}

function readAuditFile(content: Uint8Array): AuditFile {
  try {
    return auditFile(decode(content, LIMITS), '');
  } catch (cause) {
    if (!(cause instanceof FieldproofError)) throw cause;
    const message = `expected an audit file as \`raw export\` writes it, got something else (${cause.message})`;
    throw new AgentError('ERR_AGENT_RAW_CONTRADICTED', message, { cause });
  }
}

/** RFC 9162 section 2.1.3.1. */
function proofOf(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  const n = leaves.length;
  if (n <= 1) return [];
  let k = 1;
  while (2 * k < n) k *= 2;
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)];
  return index < k
    ? [...proofOf(left, index), rootFromLeafHashes(right, nativeHasher)]
    : [...proofOf(right, index - k), rootFromLeafHashes(left, nativeHasher)];
}
