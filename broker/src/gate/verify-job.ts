/**
 * Jobs between the gate and its verifying threads: many envelopes in one transferred buffer each way, since a
 * message per envelope costs a fifth of the throughput.
 */

import { createHash } from 'node:crypto';
import { UP_KINDS, upKindFromNumber } from '@fieldproof/protocol/topics';
import {
  type JudgeContext,
  type Judgement,
  judge,
  type Standing,
  type Submission,
} from './rules.ts';

const KEY_BYTES = 32;
const KID_BYTES = 8;
/** What stands before each envelope. */
const HEAD_BYTES = KEY_BYTES + KID_BYTES;
export const DIGEST_BYTES = 32;

export interface VerifyJob {
  readonly id: number;
  /** Key, key id and envelope of each item, one after the other. */
  readonly bytes: Uint8Array;
  readonly items: readonly VerifyItem[];
}

interface VerifyItem {
  readonly length: number;
  readonly kind: number;
  readonly standing: Standing;
  readonly at: number;
  readonly diagnose: boolean;
}

export interface VerifyResult {
  readonly id: number;
  readonly judgements: readonly Judgement[];
  /** SHA-256 of each envelope, one after the other. */
  readonly digests: Uint8Array;
}

/** Packs submissions; the envelopes are copied. */
export function packJob(id: number, submissions: readonly Submission[]): VerifyJob {
  let total = 0;
  for (const { envelope } of submissions) total += HEAD_BYTES + envelope.length;
  const bytes = new Uint8Array(total);
  let at = 0;
  const items = submissions.map((submission) => {
    bytes.set(submission.publicKey, at);
    bytes.set(submission.kid, at + KEY_BYTES);
    bytes.set(submission.envelope, at + HEAD_BYTES);
    at += HEAD_BYTES + submission.envelope.length;
    return {
      length: submission.envelope.length,
      kind: UP_KINDS[submission.kind],
      standing: submission.standing,
      at: submission.at,
      diagnose: submission.diagnose,
    };
  });
  return { id, bytes, items };
}

/** Judges every envelope of a job. */
export function runJob(job: VerifyJob, context: JudgeContext): VerifyResult {
  const digests = new Uint8Array(job.items.length * DIGEST_BYTES);
  let at = 0;
  const judgements = job.items.map((item, i) => {
    const publicKey = job.bytes.subarray(at, at + KEY_BYTES);
    const kid = job.bytes.subarray(at + KEY_BYTES, at + HEAD_BYTES);
    at += HEAD_BYTES + item.length;
    const envelope = job.bytes.subarray(at - item.length, at);
    digests.set(createHash('sha256').update(envelope).digest(), i * DIGEST_BYTES);
    const kind = upKindFromNumber(item.kind)!;
    return judge({ ...item, kind, publicKey, kid, envelope }, context);
  });
  return { id: job.id, judgements, digests };
}
