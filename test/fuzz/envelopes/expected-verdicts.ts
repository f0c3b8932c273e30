/** What the verdict on each submission has to be, from docs/spec/settlement.md sections 1 and 2, one after the other. */

import { createHash } from 'node:crypto';
import type { UpKind } from '@fieldproof/protocol/topics';
import type { Submitted } from './hostile-envelopes.ts';
import { type StrictContext, type StrictParts, strictVerdict } from './strict-judge.ts';

export type Expected = 'accepted' | 'duplicate' | 'rejected';

export interface ExpectedVerdict {
  readonly outcome: Expected;
  /** Codes of which a reject has one; empty when it is none. */
  readonly codes: readonly string[];
  readonly parts: StrictParts | null;
  readonly digest: string;
  /** A birth of the live session, accepted: a time anchor follows. */
  readonly isFresh: boolean;
}

const SHAPE = [
  ...['ERR_CBOR_MALFORMED', 'ERR_CBOR_NOT_DETERMINISTIC', 'ERR_CBOR_LIMIT'],
  ...['ERR_COSE_MALFORMED', 'ERR_COSE_ALGORITHM', 'ERR_ENVELOPE_HEADER'],
];
const PAYLOAD = [
  ...['ERR_CBOR_MALFORMED', 'ERR_CBOR_NOT_DETERMINISTIC', 'ERR_CBOR_LIMIT'],
  ...['ERR_SENML_MALFORMED', 'ERR_COLUMNS_MALFORMED', 'ERR_MESSAGE_MALFORMED'],
  ...['ERR_EDGE_RESULT_MALFORMED', 'ERR_TIME_UNSYNCED'],
  ...['ERR_TIME_RELATIVE', 'ERR_TIME_FUTURE', 'ERR_RELAY_NOT_NAMED'],
];
const MAX_ENVELOPE_BYTES = 60_000;
const MAX_RELAY_BYTES = 60_400;

/** One device's part of the log and of the clone watch, as the specification has them. */
export class ExpectedVerdicts {
  private readonly context: Omit<StrictContext, 'kind'>;
  private readonly nonce: Uint8Array;
  /** Boot and seq to the digest that is recorded. */
  private readonly recorded = new Map<string, string>();
  /** Counter to the seed that was recorded first. */
  private readonly seeds = new Map<number, string>();
  private readonly quarantined = new Set<string>();
  /** Boots of fresh births, each time another one came. */
  private births: string[] = [];

  constructor(context: Omit<StrictContext, 'kind'>, nonce: Uint8Array) {
    this.context = context;
    this.nonce = nonce;
  }

  /** The verdict on the next submission of the device. */
  next(submitted: Submitted): ExpectedVerdict {
    const { envelope, kind } = submitted;
    const digest = createHash('sha256').update(envelope).digest('hex');
    const rejected = (codes: readonly string[], parts: StrictParts | null = null) =>
      ({ outcome: 'rejected', codes, parts, digest, isFresh: false }) as const;
    const topic = topicCodes(submitted);
    if (topic.length > 0) return rejected(topic);
    const maxBytes = kind === 'relay' ? MAX_RELAY_BYTES : MAX_ENVELOPE_BYTES;
    if (envelope.length > maxBytes) return rejected(['ERR_TOO_LARGE']);
    const { verdict, parts } = strictVerdict(envelope, { ...this.context, kind });
    if (verdict === 'shape') return rejected(SHAPE);
    if (verdict === 'key') return rejected(['ERR_KEY_UNKNOWN', 'ERR_KEY_RETIRED']);
    if (verdict === 'signature') return rejected(['ERR_SIGNATURE_INVALID', 'ERR_WRONG_KIND']);
    const { bootCounter, bootSeed, seq } = parts!;
    const seed = Buffer.from(bootSeed).toString('hex');
    const boot = `${bootCounter}.${seed}`;
    const known = this.recorded.get(`${boot}.${seq}`);
    if (known === digest) {
      return { outcome: 'duplicate', codes: [], parts, digest, isFresh: false };
    }
    if (known !== undefined) return rejected(['ERR_EQUIVOCATION'], parts);
    const first = this.seeds.get(bootCounter);
    if (this.quarantined.has(boot) || (first !== undefined && first !== seed)) {
      return rejected(['ERR_BOOT_CLONED'], parts);
    }
    if (verdict === 'payload') return rejected(PAYLOAD, parts);
    this.recorded.set(`${boot}.${seq}`, digest);
    if (first === undefined) this.seeds.set(bootCounter, seed);
    const isFresh = kind === 'birth' && holds(parts!.payload, this.nonce);
    if (isFresh) this.freshBirth(boot);
    return { outcome: 'accepted', codes: [], parts, digest, isFresh };
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
