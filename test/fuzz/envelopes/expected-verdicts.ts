/** What the verdict on each submission has to be, from docs/spec/settlement.md sections 1 and 2, one after the other. */

import { createHash } from 'node:crypto';
import type { UpKind } from '@fieldproof/protocol/topics';
import type { Submitted } from './hostile-envelopes.ts';
import {
  isOfTheDevice,
  type StrictContext,
  type StrictParts,
  type StrictVerdict,
  strictRelay,
  strictVerdict,
} from './strict-judge.ts';

export type Expected = 'accepted' | 'duplicate' | 'rejected';

export interface ExpectedVerdict {
  readonly outcome: Expected;
  /** Codes of which a reject has one; empty when it is none. */
  readonly codes: readonly string[];
  readonly parts: StrictParts | null;
  readonly digest: string;
  /** A birth of the live session, accepted: a time anchor follows. */
  readonly isFresh: boolean;
  /** Of a relay: what is inside, where that has a verdict of its own. */
  readonly inside?: Submitted & ExpectedVerdict;
}

/** A device that may have named this one as its gateway. */
export interface ExpectedLeaf {
  readonly id: string;
  /** registry.md section 8; `unknown`: it is not enrolled. */
  readonly delegation: 'in force' | 'not named' | 'expired' | 'unknown';
  readonly verdicts: ExpectedVerdicts;
}

const SHAPE = [
  ...['ERR_CBOR_MALFORMED', 'ERR_CBOR_NOT_DETERMINISTIC', 'ERR_CBOR_LIMIT'],
  ...['ERR_COSE_MALFORMED', 'ERR_COSE_ALGORITHM', 'ERR_ENVELOPE_HEADER'],
];
const PAYLOAD = [
  ...['ERR_CBOR_MALFORMED', 'ERR_CBOR_NOT_DETERMINISTIC', 'ERR_CBOR_LIMIT'],
  ...['ERR_SENML_MALFORMED', 'ERR_COLUMNS_MALFORMED', 'ERR_MESSAGE_MALFORMED'],
  ...['ERR_EDGE_RESULT_MALFORMED', 'ERR_TIME_UNSYNCED'],
  ...['ERR_TIME_RELATIVE', 'ERR_TIME_FUTURE'],
];
const MAX_ENVELOPE_BYTES = 60_000;
const MAX_RELAY_BYTES = 60_400;

/** One device's part of the log and of the clone watch, as the specification has them. */
export class ExpectedVerdicts {
  private readonly context: Omit<StrictContext, 'kind'>;
  /** Null for a leaf: what is relayed is never fresh. */
  private readonly nonce: Uint8Array | null;
  private readonly leaf: ExpectedLeaf | null;
  /** Boot and seq to the digest that is recorded. */
  private readonly recorded = new Map<string, string>();
  /** Counter to the seed that was recorded first. */
  private readonly seeds = new Map<number, string>();
  private readonly quarantined = new Set<string>();
  /** Boots of fresh births, each time another one came. */
  private births: string[] = [];

  constructor(
    context: Omit<StrictContext, 'kind'>,
    { nonce, leaf }: { readonly nonce: Uint8Array | null; readonly leaf: ExpectedLeaf | null },
  ) {
    this.context = context;
    this.nonce = nonce;
    this.leaf = leaf;
  }

  /** The verdict on the next submission of the device. */
  next(submitted: Submitted): ExpectedVerdict {
    const { envelope, kind } = submitted;
    const digest = digestOf(envelope);
    const rejected = (codes: readonly string[]) => rejectedFor(codes, null, digest);
    const topic = topicCodes(submitted);
    if (topic.length > 0) return rejected(topic);
    const maxBytes = kind === 'relay' ? MAX_RELAY_BYTES : MAX_ENVELOPE_BYTES;
    if (envelope.length > maxBytes) return rejected(['ERR_TOO_LARGE']);
    const { verdict, parts } = strictVerdict(envelope, { ...this.context, kind });
    if (verdict === 'shape') return rejected(SHAPE);
    if (verdict === 'key') return rejected(['ERR_KEY_UNKNOWN', 'ERR_KEY_RETIRED']);
    if (verdict === 'signature') return rejected(['ERR_SIGNATURE_INVALID', 'ERR_WRONG_KIND']);
    return this.authentic(submitted, { verdict, parts: parts! });
  }

  /** The verdict on what a gateway brings as this device's; null when it is not this device's. messages.md 6.3. */
  private relayed(submitted: Submitted): ExpectedVerdict | null {
    const { envelope, kind } = submitted;
    const context = { ...this.context, kind };
    const { verdict, parts } = strictVerdict(envelope, context);
    if (verdict === 'shape' || verdict === 'signature') return null;
    if (verdict !== 'key') return this.authentic(submitted, { verdict, parts: parts! });
    if (!isOfTheDevice(parts!, context)) return null;
    return rejectedFor(['ERR_KEY_RETIRED'], null, digestOf(envelope));
  }

  /** What depends on the log, and the payload. */
  private authentic(
    { envelope, kind }: Submitted,
    { verdict, parts }: { readonly verdict: StrictVerdict; readonly parts: StrictParts },
  ): ExpectedVerdict {
    const digest = digestOf(envelope);
    const rejected = (codes: readonly string[]) => rejectedFor(codes, parts, digest);
    const { bootCounter, bootSeed, seq } = parts;
    const seed = Buffer.from(bootSeed).toString('hex');
    const boot = `${bootCounter}.${seed}`;
    const first = this.seeds.get(bootCounter);
    const isCloned = this.quarantined.has(boot) || (first !== undefined && first !== seed);
    // What is inside has its verdict whether the seq of the gateway is known or not.
    const carried =
      kind === 'relay' && verdict === 'good' && !isCloned ? this.carried(parts.payload) : null;
    const inside = carried !== null && 'inside' in carried ? { inside: carried.inside } : {};
    const known = this.recorded.get(`${boot}.${seq}`);
    if (known === digest) {
      return { outcome: 'duplicate', codes: [], parts, digest, isFresh: false, ...inside };
    }
    if (known !== undefined) return { ...rejected(['ERR_EQUIVOCATION']), ...inside };
    if (isCloned) return rejected(['ERR_BOOT_CLONED']);
    if (verdict === 'payload') return rejected(PAYLOAD);
    if (carried !== null && 'codes' in carried) return rejected(carried.codes);
    this.recorded.set(`${boot}.${seq}`, digest);
    if (first === undefined) this.seeds.set(bootCounter, seed);
    const { nonce } = this;
    const isFresh = kind === 'birth' && nonce !== null && holds(parts.payload, nonce);
    if (isFresh) this.freshBirth(boot);
    return { outcome: 'accepted', codes: [], parts, digest, isFresh, ...inside };
  }

  /** What a relay brings of the leaf, or the code for bringing it. */
  private carried(
    payload: Uint8Array,
  ): { readonly inside: Submitted & ExpectedVerdict } | { readonly codes: readonly string[] } {
    const { leaf: of, kind, envelope } = strictRelay(payload)!;
    const { leaf } = this;
    if (leaf === null || leaf.id !== of) return { codes: ['ERR_RELAY_NOT_NAMED'] };
    if (leaf.delegation === 'expired') return { codes: ['ERR_RELAY_EXPIRED'] };
    if (leaf.delegation !== 'in force') return { codes: ['ERR_RELAY_NOT_NAMED'] };
    const submitted = {
      ...({ envelope, kind, topic: 'own', retain: false, qos: 1, how: 'inside' } as const),
    };
    const verdict = leaf.verdicts.relayed(submitted);
    if (verdict === null) return { codes: ['ERR_RELAY_ENVELOPE'] };
    return { inside: { ...submitted, ...verdict } };
  }

  /** Section 2.2: of A, B, A it is B that is out. After that the births count from that A on. */
  private freshBirth(boot: string): void {
    if (this.births.at(-1) === boot) return;
    this.births.push(boot);
    const [before, between] = this.births.slice(-3);
    if (this.births.length < 3 || before !== boot) return;
    this.quarantined.add(between!);
    this.births = [boot];
  }
}

function rejectedFor(
  codes: readonly string[],
  parts: StrictParts | null,
  digest: string,
): ExpectedVerdict {
  return { outcome: 'rejected', codes, parts, digest, isFresh: false };
}

function digestOf(envelope: Uint8Array): string {
  return createHash('sha256').update(envelope).digest('hex');
}

function topicCodes({ topic, retain, qos }: Submitted): readonly string[] {
  if (topic === 'other network') return ['ERR_WRONG_NETWORK'];
  if (topic !== 'own') return ['ERR_TOPIC_FORBIDDEN'];
  if (retain) return ['ERR_RETAINED'];
  return qos > 1 ? ['ERR_QOS'] : [];
}

/** Whether a birth carries the nonce of the session: the only byte string of 32 behind the key `nonce`. */
function holds(payload: Uint8Array, nonce: Uint8Array): boolean {
  const wanted = Buffer.concat([
    Buffer.from([0x65]),
    Buffer.from('nonce'),
    Buffer.of(0x58, 32),
    nonce,
  ]);
  return Buffer.from(payload).includes(wanted);
}

/** The topic that a submission goes to. */
export function topicOf(
  { topic, kind }: { readonly topic: Submitted['topic']; readonly kind: UpKind },
  self: { readonly network: string; readonly deviceId: string; readonly otherId: string },
): string {
  const { network, deviceId, otherId } = self;
  if (topic === 'other device') return `fp/1/${network}/d/${otherId}/${kind}`;
  if (topic === 'other network') return `fp/1/other/d/${deviceId}/${kind}`;
  if (topic === 'no kind') return `fp/1/${network}/d/${deviceId}/receipt`;
  if (topic === 'junk') return `fp/1/${network}/d/${deviceId}/${kind}/more`;
  return `fp/1/${network}/d/${deviceId}/${kind}`;
}
