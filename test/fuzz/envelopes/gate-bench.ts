/** The real gate over the real evidence log, its files in memory: what the envelopes of thousands of cases go through. */

import { EvidenceLog } from '@fieldproof/broker/evidence/evidence-log';
import { type BootName, CloneWatch } from '@fieldproof/broker/gate/clones';
import { Counters } from '@fieldproof/broker/gate/counters';
import type { Evidence } from '@fieldproof/broker/gate/evidence';
import { Gate } from '@fieldproof/broker/gate/gate';
import { Receipts } from '@fieldproof/broker/gate/receipts';
import {
  type JudgeContext,
  type Judgement,
  judge,
  type Submission,
} from '@fieldproof/broker/gate/rules';
import type { DeviceKey, PublishDown } from '@fieldproof/broker/gate/session';
import type { Verifier } from '@fieldproof/broker/gate/verifier';
import type { Signer } from '@fieldproof/protocol/envelope';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, type EvidenceEntry } from '@fieldproof/protocol/log-entries';
import type { RelayProblem } from '@fieldproof/protocol/registry-device';
import { MemoryFiles } from '../../broker/evidence/memory-files.ts';
import { ORIGIN, sign } from '../../broker/evidence/open-log.ts';

/** Parts of the product that a test may exchange for broken ones. */
export interface GateParts {
  readonly judge: (submission: Submission, context: JudgeContext) => Judgement;
  readonly evidence: (real: Evidence) => Evidence;
  readonly gate: (real: Gate) => Pick<Gate, 'receive'>;
}

export const REAL_PARTS: GateParts = {
  judge,
  evidence: (real) => real,
  gate: (real) => real,
};

export interface Recorded {
  readonly entry: EvidenceEntry;
  readonly body: Uint8Array;
}

/** Cases share a log; each has a gate and a device of its own. */
export class GateBench {
  readonly log: EvidenceLog;
  private readonly parts: GateParts;
  private readonly durable = new Set<string>();
  private read = 0;

  private constructor(log: EvidenceLog, parts: GateParts) {
    this.log = log;
    this.parts = parts;
  }

  static async open(parts: GateParts): Promise<GateBench> {
    const settings = {
      ...{ commitIntervalMs: 0, publishIntervalMs: 1e9, retryMs: 0, probeMs: 1e9 },
      ...{ segmentBytes: 256 << 10, ringBytes: 1 << 20 },
    };
    const log = await EvidenceLog.open({
      ...{ folder: '/log', origin: ORIGIN, sign, files: new MemoryFiles(), settings },
    });
    return new GateBench(log, parts);
  }

  /** Whether an envelope is in the log, durably; by its digest in hexadecimal. */
  isDurable(digest: string): boolean {
    return this.durable.has(digest);
  }

  /** A gate with counters and clone watch of its own. */
  gate(options: {
    readonly network: string;
    readonly signer: Signer;
    readonly verify: JudgeContext['verify'];
    readonly deviceKey: (deviceId: string) => DeviceKey | null;
    readonly relayProblem: (leaf: string, gateway: string) => RelayProblem | null;
    readonly publishDown: PublishDown;
    readonly mayDiagnose: boolean;
    readonly now: number;
    /** Puts off a verifier's answer; null answers at once. */
    readonly later: ((answer: () => void) => void) | null;
    readonly digestOf: (envelope: Uint8Array) => Buffer;
  }): { readonly gate: Pick<Gate, 'receive'>; readonly counters: Counters } {
    const { network, signer, verify, deviceKey, publishDown, later, digestOf } = options;
    const counters = new Counters();
    const verifier: Verifier = {
      submit: (submission, done) => {
        const judgement = this.parts.judge(submission, { network, verify });
        const answer = () => done(judgement, digestOf(submission.envelope));
        if (later === null) answer();
        else later(answer);
      },
      stop: async () => {},
      waiting: 0,
      threads: 0,
    };
    const now = () => options.now;
    const evidence = this.parts.evidence(this.watched());
    const receipts = new Receipts({
      ...{ network, signer, evidence, publishDown, now, intervalMs: 0 },
      isOnline: () => false,
    });
    // In place of the registry: what is quarantined is so at once.
    const quarantined = new Map<string, BootName[]>();
    const quarantine = (device: string, boot: BootName) =>
      quarantined.set(device, [...(quarantined.get(device) ?? []), boot]);
    const clones = new CloneWatch({
      recordedBoots: () => [],
      rightsOf: (device) => ({ quarantined: quarantined.get(device) ?? [], released: [] }),
    });
    const gate = new Gate({
      ...{ network, signer, evidence, verifier, counters, receipts, publishDown, deviceKey, now },
      clones,
      rates: { take: () => null, refused: () => {} },
      relayProblem: options.relayProblem,
      suspendedUntil: () => null,
      mayDiagnose: () => options.mayDiagnose,
      onClone: (device, { boot }) => quarantine(device, boot),
      onFreshBirth: async (device, boot) => {
        const { clone } = clones.freshBirth(device, boot);
        if (clone !== null) quarantine(device, clone.boot);
      },
      onAccepted: () => {},
    });
    return { gate: this.parts.gate(gate), counters };
  }

  /** What was recorded since the last call. */
  async newEntries(): Promise<Recorded[]> {
    const reader = new FrameReader(this.read);
    for await (const chunk of this.log.tail(this.read, {
      live: false,
      signal: new AbortController().signal,
    })) {
      reader.push(chunk);
    }
    const entries: Recorded[] = [];
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      entries.push({ entry: decodeEvidenceEntry(frame.entry), body: Uint8Array.from(frame.body) });
      this.read += 1;
    }
    return entries;
  }

  async close(): Promise<void> {
    await this.log.close();
  }

  /** The log, which says here what is durable; not by way of a part that may be broken. */
  private watched(): Evidence {
    const { log, durable } = this;
    return {
      get isFull() {
        return log.isFull;
      },
      get isRefusing() {
        return log.isRefusing;
      },
      drained: () => log.drained(),
      judge: (key, digest) => log.judge(key, digest),
      appendBatch: (entry, body, onOutcome) => {
        log.appendBatch(entry, body, (outcome) => {
          if (outcome.kind === 'accepted') durable.add(Buffer.from(entry.digest).toString('hex'));
          onOutcome(outcome);
        });
      },
      append: (entry) => log.append(entry),
      settleReject: (reject) => log.settleReject(reject),
      receiptFor: (device) => log.receiptFor(device),
      bootsOf: (device) => log.bootsOf(device),
    };
  }
}
