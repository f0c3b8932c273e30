/**
 * Jobs between the gate and its verifying threads: many envelopes in one transferred buffer each way, since a
 * message per envelope costs a fifth of the throughput, and numbers in typed arrays, since cloning an object for
 * each envelope costs as much as hashing it.
 */

import type { KeyHistory } from '@fieldproof/protocol/key-ring';
import { putDigest } from '@fieldproof/protocol/merkle-node';
import { UP_KINDS, upKindFromNumber } from '@fieldproof/protocol/topics';
import {
  type Fault,
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
/** Numbers of each item of a job: length of the envelope, kind, standing, receive time, whether to diagnose. */
const ITEM_NUMBERS = 5;
/** Numbers of each item of a result: whether there is a stamp, then boot counter, boot seed, seq, boot time. */
const STAMP_NUMBERS = 5;
const STANDINGS: readonly Standing[] = ['good', 'suspended', 'expired'];

export interface VerifyJob {
  readonly id: number;
  /** Key, key id and envelope of each item, one after the other. */
  readonly bytes: Uint8Array;
  /** ITEM_NUMBERS for each item. */
  readonly items: Float64Array;
  /** By item, those whose device has replaced keys; null when there are none. */
  readonly histories: ReadonlyMap<number, KeyHistory> | null;
}

export interface VerifyResult {
  readonly id: number;
  /** STAMP_NUMBERS for each item. */
  readonly stamps: Float64Array;
  /** By item, those that have one. */
  readonly faults: ReadonlyMap<number, Fault>;
  /** SHA-256 of each envelope, one after the other. */
  readonly digests: Uint8Array;
}

/** Packs submissions; the envelopes are copied. */
export function packJob(id: number, submissions: readonly Submission[]): VerifyJob {
  let total = 0;
  for (const { envelope } of submissions) total += HEAD_BYTES + envelope.length;
  const bytes = new Uint8Array(total);
  const items = new Float64Array(submissions.length * ITEM_NUMBERS);
  let at = 0;
  let next = 0;
  let histories: Map<number, KeyHistory> | null = null;
  for (const submission of submissions) {
    const { envelope, history } = submission;
    if (history !== null) {
      histories ??= new Map();
      histories.set(next / ITEM_NUMBERS, history);
    }
    bytes.set(submission.publicKey, at);
    bytes.set(submission.kid, at + KEY_BYTES);
    bytes.set(envelope, at + HEAD_BYTES);
    at += HEAD_BYTES + envelope.length;
    items[next++] = envelope.length;
    items[next++] = UP_KINDS[submission.kind];
    items[next++] = STANDINGS.indexOf(submission.standing);
    items[next++] = submission.at;
    items[next++] = submission.diagnose ? 1 : 0;
  }
  return { id, bytes, items, histories };
}

/** Judges every envelope of a job. */
export function runJob(job: VerifyJob, context: JudgeContext): VerifyResult {
  const { id, bytes, items, histories } = job;
  const count = items.length / ITEM_NUMBERS;
  const stamps = new Float64Array(count * STAMP_NUMBERS);
  const digests = new Uint8Array(count * DIGEST_BYTES);
  const faults = new Map<number, Fault>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const item = i * ITEM_NUMBERS;
    const end = at + HEAD_BYTES + items[item]!;
    const envelope = bytes.subarray(at + HEAD_BYTES, end);
    const submission: Submission = {
      publicKey: bytes.subarray(at, at + KEY_BYTES),
      kid: bytes.subarray(at + KEY_BYTES, at + HEAD_BYTES),
      history: histories?.get(i) ?? null,
      envelope,
      kind: upKindFromNumber(items[item + 1]!)!,
      standing: STANDINGS[items[item + 2]!]!,
      at: items[item + 3]!,
      diagnose: items[item + 4] === 1,
    };
    at = end;
    putDigest(envelope, digests, i * DIGEST_BYTES);
    const { stamp, fault } = judge(submission, context);
    if (fault !== null) faults.set(i, fault);
    if (stamp !== null) {
      const place = i * STAMP_NUMBERS;
      stamps[place] = 1;
      stamps[place + 1] = stamp.bootCounter;
      stamps[place + 2] = stamp.bootSeed;
      stamps[place + 3] = stamp.seq;
      stamps[place + 4] = stamp.bootMs;
    }
  }
  return { id, stamps, faults, digests };
}

/** The judgement of one item. */
export function judgementOf({ stamps, faults }: VerifyResult, item: number): Judgement {
  const at = item * STAMP_NUMBERS;
  const stamp =
    stamps[at] === 0
      ? null
      : {
          bootCounter: stamps[at + 1]!,
          bootSeed: stamps[at + 2]!,
          seq: stamps[at + 3]!,
          bootMs: stamps[at + 4]!,
        };
  return { stamp, fault: faults.get(item) ?? null };
}

/** The SHA-256 of the envelope of one item. */
export function digestOf({ digests }: VerifyResult, item: number): Uint8Array {
  return digests.slice(item * DIGEST_BYTES, (item + 1) * DIGEST_BYTES);
}
