/**
 * A second judge of envelopes, written from docs/spec/envelope.md, telemetry.md and messages.md apart from the gate:
 * its own CBOR, its own Ed25519 equation on the points of @noble/ed25519. edge-results.md has a judge of its own
 * (`edge-result-judge.ts`). Readings are read by the plain decoder of
 * SenML, which is not the one of the gate; columns and the maps of other kinds by the decoders of the protocol.
 */

import { createHash } from 'node:crypto';
import { decodeBirth, decodeEvent, decodeGap } from '@fieldproof/protocol/messages';
import { decodeTelemetry } from '@fieldproof/protocol/readings-decode';
import { decodeSenmlCbor } from '@fieldproof/protocol/senml-cbor';
import { readingsFromSenml } from '@fieldproof/protocol/senml-readings';
import type { UpKind } from '@fieldproof/protocol/topics';
import { Point } from '@noble/ed25519';
import { array, bstr, type Node, readStrict, tstr, writeNode } from './cbor-tree.ts';
import { type StrictEdgeResult, strictEdgeResult } from './edge-result-judge.ts';

/** What an envelope says where it is shaped like one. */
export interface StrictParts {
  readonly protectedBytes: Uint8Array;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
  readonly contentType: number;
  readonly kid: Uint8Array;
  readonly bootCounter: number;
  readonly bootSeed: Uint8Array;
  readonly seq: number;
  readonly boundMs: number | null;
}

export interface RetiredKey {
  readonly publicKey: Uint8Array;
  readonly endBoot: number;
  readonly until: number;
}

/** In the order of settlement.md 1.3. */
export type StrictVerdict = 'shape' | 'key' | 'signature' | 'payload' | 'good';

export interface StrictContext {
  readonly network: string;
  readonly kind: string;
  readonly publicKey: Uint8Array;
  /** The key that the device had before: of the boots below `endBoot`, for envelopes received before `until`. */
  readonly retired: RetiredKey | null;
  /** Receive time, Unix ms. */
  readonly at: number;
  /** Signatures that the fuzzer itself has made, as {@link signatureName}: they need no arithmetic. */
  readonly made: ReadonlySet<string>;
  /** Whether to calculate for the others too: a thousand a second. Else none of them is taken for good. */
  readonly calculates: boolean;
}

const L = Point.CURVE().n;
const MAX_BYTES = 60_000;
const MAX_RELAY_BYTES = 60_400;
const LEAF_KINDS = ['birth', 'telemetry', 'result', 'event', 'gap'] as const;

/** Judges an envelope, all but what depends on the log. */
export function strictVerdict(
  envelope: Uint8Array,
  context: StrictContext,
): { readonly verdict: StrictVerdict; readonly parts: StrictParts | null } {
  const maxBytes = context.kind === 'relay' ? MAX_RELAY_BYTES : MAX_BYTES;
  const parts = strictParts(envelope, maxBytes);
  if (parts === null) return { verdict: 'shape', parts };
  const publicKey = keyOf(parts, context);
  if (publicKey === null) return { verdict: 'key', parts };
  if (!isSigned(parts, { ...context, publicKey })) return { verdict: 'signature', parts };
  return { verdict: isPayload(parts, context) ? 'good' : 'payload', parts };
}

/** messages.md 6.1; null when the payload is not so. Items at the end are left out: topics.md section 4. */
export function strictRelay(
  payload: Uint8Array,
): { readonly leaf: string; readonly kind: UpKind; readonly envelope: Uint8Array } | null {
  const node = tryRead(payload);
  if (node === null || node.major !== 4 || node.items!.length < 3) return null;
  const [leaf, kind, envelope] = node.items as [Node, Node, Node];
  if (leaf.major !== 3 || kind.major !== 3 || envelope.major !== 2) return null;
  const text = ({ bytes }: Node) => Buffer.from(bytes!).toString('utf8');
  if (!/^z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/.test(text(leaf))) return null;
  const inside = LEAF_KINDS.find((each) => each === text(kind));
  if (inside === undefined || envelope.bytes!.length > MAX_BYTES) return null;
  return { leaf: text(leaf), kind: inside, envelope: envelope.bytes! };
}

/** Whether it is signed by a key of the device, be it one that does not sign this boot, or none any more. */
export function isOfTheDevice(parts: StrictParts, context: StrictContext): boolean {
  const { publicKey, retired } = context;
  const keys = [publicKey, ...(retired === null ? [] : [retired.publicKey])];
  const key = keys.find((each) => namesKey(parts.kid, each));
  return key !== undefined && isSigned(parts, { ...context, publicKey: key });
}

function namesKey(kid: Uint8Array, key: Uint8Array): boolean {
  return createHash('sha256').update(key).digest().subarray(0, 8).equals(kid);
}

/** The key that signs the boot: registry.md 3.2. */
function keyOf({ kid, bootCounter }: StrictParts, context: StrictContext): Uint8Array | null {
  const names = (key: Uint8Array) => namesKey(kid, key);
  const { publicKey, retired, at } = context;
  if (names(publicKey))
    return retired === null || bootCounter >= retired.endBoot ? publicKey : null;
  if (retired === null || !names(retired.publicKey)) return null;
  return bootCounter < retired.endBoot && at < retired.until ? retired.publicKey : null;
}

/** Sections 1 to 3 of envelope.md; null when any of it is not so. */
export function strictParts(envelope: Uint8Array, maxBytes = MAX_BYTES): StrictParts | null {
  if (envelope.length > maxBytes) return null;
  const message = tryRead(envelope);
  if (message === null || message.major !== 6 || message.argument !== 18n) return null;
  const body = message.items![0]!;
  if (body.major !== 4 || body.items!.length !== 4) return null;
  const [head, unprotected, payload, signature] = body.items as [Node, Node, Node, Node];
  if (head.major !== 2 || payload.major !== 2 || signature.major !== 2) return null;
  if (unprotected.major !== 5 || unprotected.argument !== 0n) return null;
  if (signature.bytes!.length !== 64) return null;
  const header = tryRead(head.bytes!);
  if (header === null || header.major !== 5) return null;
  const labels = new Map<bigint, Node>();
  for (let i = 0; i < header.items!.length; i += 2) {
    const key = header.items![i]!;
    if (key.major > 1) return null;
    labels.set(key.major === 0 ? key.argument : -1n - key.argument, header.items![i + 1]!);
  }
  const [alg, type, kid, stamp] = [1n, 3n, 4n, -65_537n].map((label) => labels.get(label));
  if (labels.size !== 4 || !alg || !type || !kid || !stamp) return null;
  if (alg.major !== 1 || (alg.argument !== 18n && alg.argument !== 7n)) return null;
  if (type.major !== 0 || ![60n, 61n, 112n, 65_001n, 65_002n].includes(type.argument)) return null;
  if (kid.major !== 2 || kid.bytes!.length !== 8) return null;
  if (stamp.major !== 4 || stamp.items!.length !== 5) return null;
  const [counter, seed, seq, bootMs, bound] = stamp.items as [Node, Node, Node, Node, Node];
  const safe = BigInt(Number.MAX_SAFE_INTEGER);
  const isUint = (node: Node, max: bigint) => node.major === 0 && node.argument <= max;
  if (!isUint(counter, 0xffff_ffffn) || !isUint(seq, safe) || !isUint(bootMs, safe)) return null;
  if (seed.major !== 2 || seed.bytes!.length !== 4) return null;
  const isNull = bound.major === 7 && bound.width === 0 && bound.argument === 22n;
  if (!isNull && !isUint(bound, 86_400_000n)) return null;
  return {
    protectedBytes: head.bytes!,
    payload: payload.bytes!,
    signature: signature.bytes!,
    contentType: Number(type.argument),
    kid: kid.bytes!,
    bootCounter: Number(counter.argument),
    bootSeed: seed.bytes!,
    seq: Number(seq.argument),
    boundMs: isNull ? null : Number(bound.argument),
  };
}

/** What is signed: section 4. */
export function toBeSigned(
  parts: Pick<StrictParts, 'protectedBytes' | 'payload'>,
  { network, kind }: { readonly network: string; readonly kind: string },
): Uint8Array {
  const aad = writeNode(array(tstr(network), tstr(kind)));
  const { protectedBytes, payload } = parts;
  return writeNode(array(tstr('Signature1'), bstr(protectedBytes), bstr(aad), bstr(payload)));
}

/** A signature of a key over a message, as text. */
export function signatureName(
  signature: Uint8Array,
  message: Uint8Array,
  publicKey: Uint8Array,
): string {
  return createHash('sha256').update(signature).update(publicKey).update(message).digest('hex');
}

function isSigned(parts: StrictParts, context: StrictContext): boolean {
  const { signature } = parts;
  const message = toBeSigned(parts, context);
  const { publicKey, made, calculates } = context;
  return (
    made.has(signatureName(signature, message, publicKey)) ||
    (calculates && verifyStrictly(signature, message, publicKey))
  );
}

/** Section 5, by its four sentences. */
function verifyStrictly(
  signature: Uint8Array,
  message: Uint8Array,
  publicKey: Uint8Array,
): boolean {
  try {
    const a = Point.fromBytes(publicKey, false);
    Point.fromBytes(signature.slice(0, 32), false);
    if (a.isSmallOrder()) return false;
    const s = littleEndian(signature.slice(32));
    if (s >= L) return false;
    const k = createHash('sha512').update(signature.slice(0, 32)).update(publicKey).update(message);
    const left = Point.BASE.multiply(s, false);
    const right = a.multiply(littleEndian(k.digest()) % L, false);
    return Buffer.from(left.subtract(right).toBytes()).equals(signature.slice(0, 32));
  } catch {
    return false;
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
}

function isPayload(parts: StrictParts, { kind, at }: StrictContext): boolean {
  const { contentType, payload } = parts;
  try {
    if (kind === 'result' && contentType === 65_002) {
      const result = strictEdgeResult(payload);
      const { boundMs } = parts;
      return (
        result !== null &&
        areTimes(result.timesUs, boundMs, at) &&
        (result.readings.length === 0 ||
          areReadings(
            { contentType: result.format, payload: result.readings, boundMs },
            at,
            result,
          ))
      );
    }
    if (kind === 'telemetry' || (kind === 'result' && contentType !== 60)) {
      return areReadings(parts, at);
    }
    if (contentType !== 60) return false;
    // Whether it may be relayed is for who knows the leaf and its delegation.
    if (kind === 'relay') return strictRelay(payload) !== null;
    if (kind === 'birth') decodeBirth(payload);
    else if (kind === 'event') decodeEvent(payload);
    else if (kind === 'gap') decodeGap(payload);
    else if (kind !== 'result') return false;
    // Of results nothing is said but that they are a map.
    return kind === 'result' ? readStrict(payload).major === 5 : true;
  } catch {
    return false;
  }
}

/** telemetry.md 1.3 to 1.5. Those of a result are numbers of its streams. */
function areReadings(
  { contentType, payload, boundMs }: Pick<StrictParts, 'contentType' | 'payload' | 'boundMs'>,
  at: number,
  result?: StrictEdgeResult,
): boolean {
  if (contentType !== 112 && contentType !== 65_001) return false;
  const { count, timesUs, runs } =
    contentType === 112
      ? readingsFromSenml(decodeSenmlCbor(payload, { strict: true }))
      : decodeTelemetry(payload, contentType);
  if (result !== undefined && !runs.every((run) => result.owns(run))) return false;
  return areTimes([...timesUs.subarray(0, count)], boundMs, at);
}

function areTimes(timesUs: readonly number[], boundMs: number | null, at: number): boolean {
  for (const timeUs of timesUs) {
    const seconds = timeUs / 1e6;
    const isAbsolute = seconds >= 2 ** 28;
    if (isAbsolute !== (boundMs !== null)) return false;
    if (boundMs !== null && seconds * 1000 > at + boundMs + 5000) return false;
  }
  return true;
}

function tryRead(bytes: Uint8Array): Node | null {
  try {
    return readStrict(bytes);
  } catch {
    return null;
  }
}
