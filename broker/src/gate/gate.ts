/**
 * The gate: every PUBLISH of a device gets one verdict, in its order, and is acknowledged when that is settled.
 * docs/spec/settlement.md section 1.
 *
 * Verification runs elsewhere and in parallel; what it answers is put back into the order of each session before the
 * log is asked, and acknowledgements leave in that order too [MQTT-4.6.0-2].
 */

import { createHash } from 'node:crypto';
import {
  MAX_ENVELOPE_BYTES,
  MAX_RELAY_BYTES,
  parseEnvelope,
  type Signer,
} from '@fieldproof/protocol/envelope';
import type { TimeAnchorEntry } from '@fieldproof/protocol/log-entries';
import { decodeBirth } from '@fieldproof/protocol/messages';
import type { RelayProblem } from '@fieldproof/protocol/registry-device';
import type { UpKind } from '@fieldproof/protocol/topics';
import type { BootName, Clone, CloneWatch } from './clones.ts';
import type { Counters } from './counters.ts';
import type { EnvelopeKey, Evidence, Known } from './evidence.ts';
import type { Rates } from './rates.ts';
import type { Receipts } from './receipts.ts';
import { isPermanent, isSendersFault, sealReject } from './rejects.ts';
import { openRelay } from './relay.ts';
import { type Fault, type Judgement, seedBytes, type VerifiedStamp } from './rules.ts';
import type { DeviceKey, PublishDown, Session, Slot } from './session.ts';
import { judgeTopic, type Publish, type TopicVerdict } from './topic-rules.ts';
import type { Verifier } from './verifier.ts';

export interface GateOptions {
  readonly network: string;
  /** Role key `log`. */
  readonly signer: Signer;
  readonly evidence: Evidence;
  readonly verifier: Verifier;
  readonly rates: Pick<Rates, 'take' | 'refused'>;
  readonly counters: Counters;
  readonly clones: CloneWatch;
  readonly receipts: Receipts;
  readonly publishDown: PublishDown;
  /** Keys and standing of a device, or null when it is not enrolled any more. */
  readonly deviceKey: (deviceId: string) => DeviceKey | null;
  /** Why a gateway may not relay for a leaf now; null when it may. */
  readonly relayProblem: (leaf: string, gateway: string) => RelayProblem | null;
  /** When the suspension of a device ends, Unix ms, or null. */
  readonly suspendedUntil: (deviceId: string) => number | null;
  /** Whether another failed signature may be tried under the other kinds. */
  readonly mayDiagnose: () => boolean;
  /** A boot is a clone for its counter: to be quarantined. */
  readonly onClone: (deviceId: string, clone: Clone) => void;
  /** A fresh birth is recorded, with its time anchor at an index; resolves when what it shows is in force. */
  readonly onFreshBirth: (deviceId: string, boot: BootName, index: number) => Promise<void>;
  /** An envelope was rejected. */
  readonly onRejected?: (deviceId: string, fault: Fault) => void;
  /** An envelope was recorded; `birth` is its payload when it is one. */
  readonly onAccepted: (deviceId: string, at: number, birth: Uint8Array | null) => void;
  readonly now: () => number;
}

const UNKNOWN_KEY: Fault = { code: 'ERR_KEY_UNKNOWN', message: 'device: not enrolled' };
const LOG_FULL: Fault = { code: 'ERR_LOG_FULL', message: 'evidence log: cannot be written' };

export class Gate {
  private readonly options: GateOptions;

  constructor(options: GateOptions) {
    this.options = options;
  }

  /**
   * Takes a PUBLISH of a session.
   *
   * @param envelope - the payload; the gate keeps it until the verdict.
   * @param done - called once when it is settled, after those before it.
   */
  receive(
    session: Session,
    publish: Publish & { readonly envelope: Uint8Array },
    done: () => void,
  ): void {
    const { counters, now, deviceKey, verifier, rates } = this.options;
    counters.countReceived();
    const { envelope } = publish;
    const tooMany = rates.take(session, envelope.length);
    const topic = this.judgeTopic(session, publish);
    const slot: Slot = {
      kind: topic.ok ? topic.kind : null,
      envelope,
      at: now(),
      judgement: null,
      digest: null,
      settled: false,
      done,
    };
    session.slots.push(slot);
    const fault = tooMany ?? (topic.ok ? sizeFault(envelope, topic.kind) : topic);
    const key = deviceKey(session.deviceId);
    if (!topic.ok || fault !== null || key === null) {
      slot.digest = createHash('sha256').update(envelope).digest();
      slot.judgement = { stamp: null, fault: fault ?? UNKNOWN_KEY };
      this.judgeInOrder(session);
      return;
    }
    const { publicKey, kid, history, standing } = key;
    const { kind } = topic;
    const { at } = slot;
    verifier.submit(
      { envelope, kind, publicKey, kid, history, standing, at, diagnose: false },
      (judgement, digest) => {
        slot.digest = digest;
        // Only what fails is tried under the other kinds, and that is rationed.
        if (judgement.fault?.code === 'ERR_SIGNATURE_INVALID' && this.options.mayDiagnose()) {
          verifier.submit(
            { envelope, kind, publicKey, kid, history, standing, at, diagnose: true },
            (diagnosis) => {
              slot.judgement = diagnosis;
              this.judgeInOrder(session);
            },
          );
        } else if (kind === 'relay' && judgement.fault === null) {
          this.judgeInside(session, slot, judgement);
        } else {
          slot.judgement = judgement;
          this.judgeInOrder(session);
        }
      },
    );
  }

  /** What a gateway carries is judged before its turn, as its wrapping is; and has its verdict in its turn, before that. */
  private judgeInside(session: Session, slot: Slot, judgement: Judgement): void {
    openRelay(session, slot, {
      ...this.options,
      onSettled: (inner) => {
        const { refused } = inner;
        // What the broker could not do is asked for again, with its wrapping.
        const again = refused?.code === 'ERR_LOG_FULL' || refused?.code === 'ERR_INTERNAL';
        if (again) this.reject(session, slot, refused);
        else this.append(session, slot);
      },
      done: (fault, inside) => {
        slot.judgement = { stamp: judgement.stamp, fault };
        if (inside !== null) slot.inside = inside;
        this.judgeInOrder(session);
      },
    });
  }

  /** A session sends nearly everything to one topic. */
  private judgeTopic(session: Session, publish: Publish): TopicVerdict {
    const { topic: last, deviceId } = session;
    if (last?.name === publish.topic && !publish.retain && publish.qos <= 1) {
      return { ok: true, kind: last.kind };
    }
    const verdict = judgeTopic(publish, { network: this.options.network, deviceId });
    if (verdict.ok) session.topic = { name: publish.topic, kind: verdict.kind };
    return verdict;
  }

  private judgeInOrder(session: Session): void {
    for (;;) {
      const slot = session.slots[session.judged];
      if (!slot?.judgement) return;
      session.judged += 1;
      this.judge(session, slot);
    }
  }

  private judge(session: Session, slot: Slot): void {
    const { evidence } = this.options;
    const { stamp, fault } = slot.judgement!;
    if (stamp === null) {
      this.reject(session, slot, fault!);
      return;
    }
    const refused = this.cloned(session, stamp) ?? fault;
    const isBirth = slot.kind === 'birth';
    if (refused === null && slot.inside !== undefined) {
      const { leaf, slot: inner } = slot.inside;
      // It is received once it is known to be the leaf's.
      this.options.counters.countReceived();
      leaf.slots.push(inner);
      this.judgeInOrder(leaf);
      return;
    }
    if (refused === null && !isBirth) {
      this.append(session, slot);
      return;
    }
    const key = keyOf(session, stamp);
    const decide = (known: Known) => {
      if (known === 'duplicate') this.duplicate(session, slot);
      else if (known === 'equivocation') this.reject(session, slot, equivocation(stamp));
      else if (refused !== null) this.rejectAuthentic(session, slot, refused);
      else this.append(session, slot);
    };
    const known = evidence.judge(key, slot.digest!);
    // A promise only when it is on its way to the disk or long recorded: then order does not matter.
    if (typeof known === 'string') decide(known);
    else known.then(decide, () => this.reject(session, slot, LOG_FULL));
  }

  private cloned(session: Session, stamp: VerifiedStamp): Fault | null {
    if (!this.options.clones.isCloned(session.deviceId, stamp)) return null;
    return { code: 'ERR_BOOT_CLONED', message: `boot ${stamp.bootCounter}: quarantined` };
  }

  /** Hands an envelope to the log, which knows it or records it. */
  private append(session: Session, slot: Slot): void {
    const { evidence, clones, counters, receipts } = this.options;
    const stamp = slot.judgement!.stamp!;
    const kind = slot.kind!;
    const { device, bootCounter, bootSeed, seq } = keyOf(session, stamp);
    const entry = {
      type: 'batch' as const,
      device,
      bootCounter,
      bootSeed,
      seq,
      kind,
      gateway: session.gateway ?? null,
      at: slot.at,
      size: slot.envelope.length,
      digest: slot.digest!,
    };
    let anchored: Promise<unknown> | null = null;
    evidence.appendBatch(entry, slot.envelope, (outcome) => {
      if (outcome.kind === 'duplicate') this.duplicate(session, slot);
      else if (outcome.kind === 'equivocation') this.reject(session, slot, equivocation(stamp));
      else if (outcome.kind === 'refused') this.reject(session, slot, LOG_FULL);
      else {
        counters.countAccepted();
        const clone = clones.recorded(session.deviceId, stamp);
        if (clone !== null) this.options.onClone(session.deviceId, clone);
        const birth = kind === 'birth' ? parseEnvelope(slot.envelope).payload : null;
        this.options.onAccepted(session.deviceId, slot.at, birth);
        if (birth === null) {
          receipts.soon(session);
          this.settle(session, slot);
          return;
        }
        // A fresh birth is settled with its time anchor, which follows it in the same commit.
        const settle = () => {
          receipts.atOnce(session);
          this.settle(session, slot);
        };
        if (anchored === null) settle();
        else anchored.then(settle, settle);
      }
    });
    if (kind === 'birth' && this.isFresh(session, slot)) {
      anchored = evidence
        .append(this.timeAnchor(session, slot))
        .then(({ index }) => this.options.onFreshBirth(session.deviceId, bootOf(stamp), index));
      anchored.catch(() => {});
    }
  }

  private duplicate(session: Session, slot: Slot): void {
    this.options.counters.countDuplicate();
    this.options.receipts.atOnce(session);
    this.settle(session, slot);
  }

  /** docs/spec/messages.md 1.1: a birth whose nonce is that of the live session is fresh; a relayed one has none. */
  private isFresh(session: Session, slot: Slot): boolean {
    if (session.gateway !== undefined) return false;
    const { nonce } = decodeBirth(parseEnvelope(slot.envelope).payload);
    return nonce !== null && Buffer.from(nonce).toString('latin1') === session.nonce;
  }

  /** docs/spec/evidence-log.md section 1.2. */
  private timeAnchor(session: Session, slot: Slot): TimeAnchorEntry {
    const { seq: _, ...boot } = keyOf(session, slot.judgement!.stamp!);
    return {
      type: 'time-anchor',
      ...boot,
      offsetMs: slot.at - slot.judgement!.stamp!.bootMs,
      boundMs: Math.max(0, slot.at - session.nonceIssuedAt),
      at: slot.at,
    };
  }

  /** Sections 1.4, 1.5: a permanent reject after the signature check settles the seq, durably before it is sent. */
  private rejectAuthentic(session: Session, slot: Slot, fault: Fault): void {
    if (!isPermanent(fault.code)) {
      this.reject(session, slot, fault);
      return;
    }
    const stamp = slot.judgement!.stamp!;
    if (fault.code === 'ERR_BOOT_CLONED') {
      const clone = this.options.clones.conflict(session.deviceId, bootOf(stamp));
      if (clone !== null) this.options.onClone(session.deviceId, clone);
    }
    const key = keyOf(session, stamp);
    this.options.evidence.settleReject({ ...key, code: fault.code }).then(
      (isSettled) => {
        if (isSettled) this.options.receipts.soon(session);
        else this.options.counters.countUnsettled();
        this.reject(session, slot, fault, isSettled);
      },
      () => this.reject(session, slot, LOG_FULL),
    );
  }

  /** A refusal is settled when its signed notice is published; one that leaves a hole does not name the seq. */
  private reject(session: Session, slot: Slot, fault: Fault, isSettled = true): void {
    const { counters, publishDown, network, signer, rates } = this.options;
    counters.countRejected(fault.code);
    slot.refused = fault;
    // A gateway can repeat what a leaf was refused for as often as it likes: the leaf does not pay for that.
    if (isSendersFault(fault.code) && session.gateway === undefined) rates.refused(session);
    const { deviceId } = session;
    this.options.onRejected?.(deviceId, fault);
    const stamp = isSettled ? slot.judgement!.stamp : null;
    const subject = { digest: slot.digest!, stamp };
    const told = fault.code === 'ERR_SUSPENDED' ? this.untilResumed(deviceId, fault) : fault;
    const envelope = sealReject(told, subject, { network, deviceId, signer });
    publishDown(deviceId, 'reject', { envelope, done: () => this.settle(session, slot) });
  }

  private untilResumed(deviceId: string, fault: Fault): Fault {
    const until = this.options.suspendedUntil(deviceId);
    if (until === null) return fault;
    return { ...fault, retryAfterMs: Math.max(1, until - this.options.now()) };
  }

  private settle(session: Session, slot: Slot): void {
    slot.settled = true;
    const { slots } = session;
    while (slots[0]?.settled) {
      const { done } = slots.shift()!;
      // Before: what is acknowledged may bring the next message with it, which is received within.
      session.judged -= 1;
      done();
    }
  }
}

function keyOf(session: Session, stamp: VerifiedStamp): EnvelopeKey {
  const { bootCounter, bootSeed: number, seq } = stamp;
  if (session.seed?.number !== number) session.seed = { number, bytes: seedBytes(number) };
  return { device: session.deviceKey, bootCounter, bootSeed: session.seed.bytes, seq };
}

function bootOf({ bootCounter, bootSeed }: VerifiedStamp): BootName {
  return { bootCounter, bootSeed };
}

function sizeFault(envelope: Uint8Array, kind: UpKind): Fault | null {
  const maxBytes = kind === 'relay' ? MAX_RELAY_BYTES : MAX_ENVELOPE_BYTES;
  if (envelope.length <= maxBytes) return null;
  const message = `envelope: expected at most ${maxBytes} bytes, got ${envelope.length}`;
  return { code: 'ERR_TOO_LARGE', message };
}

function equivocation(stamp: VerifiedStamp): Fault {
  const message = `seq ${stamp.seq} of boot ${stamp.bootCounter}: recorded with another digest`;
  return { code: 'ERR_EQUIVOCATION', message };
}
