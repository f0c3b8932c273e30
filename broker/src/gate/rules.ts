/**
 * The verdict on one envelope, as far as it follows from the envelope, the device's keys and the receive time: shape, key,
 * standing, signature, payload. docs/spec/settlement.md section 1.3.
 *
 * Pure, and run in worker threads. What depends on the log (duplicate, equivocation, clones) comes between the
 * signature and the payload in the order of checks; so a payload's fault is reported beside the stamp, for the
 * gate to apply after those.
 */

import {
  MAX_RELAY_BYTES,
  parseEnvelope,
  type UnverifiedEnvelope,
  upAad,
  type Verify,
  verifyEnvelope,
} from '@fieldproof/protocol/envelope';
import { FieldproofError } from '@fieldproof/protocol/errors';
import { type KeyRing, keyFor } from '@fieldproof/protocol/key-ring';
import { UP_KINDS, type UpKind } from '@fieldproof/protocol/topics';
import { BrokerError } from '../errors.ts';
import { checkPayload } from './payload-rules.ts';

/** Whether the device may send at present. */
export type Standing = 'good' | 'suspended' | 'expired';

/** With the keys of the device. */
export interface Submission extends KeyRing {
  readonly envelope: Uint8Array;
  readonly kind: UpKind;
  readonly standing: Standing;
  /** When the broker received it, Unix ms. */
  readonly at: number;
  /** Try the other kinds when the signature fails: five more verifications, so the gate rations it. */
  readonly diagnose: boolean;
}

export interface Fault {
  readonly code: string;
  readonly message: string;
  /** When to send again, of a fault that passes; else as long as its code says. */
  readonly retryAfterMs?: number;
}

/** A stamp as it travels between threads. */
export interface VerifiedStamp {
  readonly bootCounter: number;
  /** The boot seed as a big-endian uint32. */
  readonly bootSeed: number;
  readonly seq: number;
  readonly bootMs: number;
}

/** `fault` without `stamp`: not authentic. With it: authentic, but the payload is at fault. */
export interface Judgement {
  readonly stamp: VerifiedStamp | null;
  readonly fault: Fault | null;
}

export interface JudgeContext {
  readonly network: string;
  readonly verify: Verify;
}

/** Judges one envelope; never throws for what a device can send. */
export function judge(submission: Submission, context: JudgeContext): Judgement {
  let stamp: VerifiedStamp | null = null;
  try {
    const maxBytes = submission.kind === 'relay' ? MAX_RELAY_BYTES : undefined;
    const envelope = parseEnvelope(submission.envelope, maxBytes);
    const parsed = requireStamp(envelope);
    const { bootCounter, seq, bootMs } = parsed;
    const publicKey = requireKey(submission, { kid: envelope.kid, bootCounter });
    checkStanding(submission.standing);
    checkSignature(envelope, { submission, publicKey }, context);
    stamp = { bootCounter, bootSeed: seedNumber(parsed.bootSeed), seq, bootMs };
    const { contentType, kid, payload } = envelope;
    checkPayload(submission.kind, { contentType, kid, payload, stamp: parsed }, submission.at);
    return { stamp, fault: null };
  } catch (error) {
    return { stamp, fault: faultOf(error) };
  }
}

/** The four bytes of a boot seed as an unsigned number. */
export function seedNumber(seed: Uint8Array): number {
  return ((seed[0]! << 24) | (seed[1]! << 16) | (seed[2]! << 8) | seed[3]!) >>> 0;
}

/** The four bytes of a boot seed. */
export function seedBytes(seed: number): Uint8Array {
  return Uint8Array.of(seed >>> 24, seed >>> 16, seed >>> 8, seed);
}

function requireStamp(envelope: UnverifiedEnvelope) {
  if (envelope.stamp !== null) return envelope.stamp;
  throw protocolFault('ERR_ENVELOPE_HEADER', 'stamp: expected one in an up envelope');
}

/** The key that signs the boot. docs/spec/registry.md section 3.2. */
function requireKey(
  submission: Submission,
  envelope: { readonly kid: Uint8Array; readonly bootCounter: number },
): Uint8Array {
  const key = keyFor(submission, envelope, submission.at);
  if (key === 'unknown') {
    throw new BrokerError('ERR_KEY_UNKNOWN', 'kid: expected that of a key of the device');
  }
  if (key === 'retired') {
    const message = `kid: its key signs other boots than ${envelope.bootCounter}, or none any more`;
    throw new BrokerError('ERR_KEY_RETIRED', message);
  }
  return key;
}

function checkStanding(standing: Standing): void {
  if (standing === 'suspended') throw new BrokerError('ERR_SUSPENDED', 'device: suspended');
  if (standing === 'expired') {
    throw new BrokerError('ERR_CREDENTIAL_EXPIRED', 'credential: expired');
  }
}

function checkSignature(
  envelope: UnverifiedEnvelope,
  { submission, publicKey }: { readonly submission: Submission; readonly publicKey: Uint8Array },
  context: JudgeContext,
): void {
  const { kind, diagnose } = submission;
  if (verifies(envelope, { as: kind, publicKey, context })) return;
  if (diagnose) {
    for (const other of Object.keys(UP_KINDS) as UpKind[]) {
      if (other === kind || !verifies(envelope, { as: other, publicKey, context })) continue;
      throw new BrokerError('ERR_WRONG_KIND', `kind: signed as ${other}, published as ${kind}`);
    }
  }
  throw protocolFault(
    'ERR_SIGNATURE_INVALID',
    'signature: does not verify under the device’s key, this network and kind',
  );
}

function verifies(
  envelope: UnverifiedEnvelope,
  {
    as,
    publicKey,
    context,
  }: { readonly as: UpKind; readonly publicKey: Uint8Array; readonly context: JudgeContext },
): boolean {
  const { network, verify } = context;
  return verifyEnvelope(envelope, { externalAad: aadOf(network, as), publicKey, verify });
}

/** By network, then by kind. */
const aads = new Map<string, Map<UpKind, Uint8Array>>();

function aadOf(network: string, kind: UpKind): Uint8Array {
  let ofNetwork = aads.get(network);
  if (ofNetwork === undefined) {
    ofNetwork = new Map();
    aads.set(network, ofNetwork);
  }
  let aad = ofNetwork.get(kind);
  if (aad === undefined) {
    aad = upAad(network, kind);
    ofNetwork.set(kind, aad);
  }
  return aad;
}

function protocolFault(code: string, message: string): FieldproofError {
  return new FieldproofError(code, message);
}

/** Whatever else goes wrong is our fault, not the sender's: transient, and seen in the counters. */
export function faultOf(error: unknown): Fault {
  if (error instanceof FieldproofError) return { code: error.code, message: error.message };
  return { code: 'ERR_INTERNAL', message: String(error) };
}
