/**
 * The verdict of every (device, boot, seq), from the evidence log and the reject log: recorded, rejected, declared
 * dropped, or nothing. Pure.
 *
 * What files can prove. *Accepted* is a batch entry. *Rejected* is a record of the reject log, for the rejects that
 * settle a seq; `reject-tally` entries count all refusals, those of unauthentic and transient ones too, but what was
 * refused since the last tally is lost with a killed broker. A *duplicate* leaves no trace, by design. So
 * `received = accepted + duplicate + rejected` over PUBLISHes is a statement about a live process; what remains of it
 * on disk, and is checked here, is that every seq has exactly one verdict: recorded once, else rejected, else dropped.
 */
import { createHash } from 'node:crypto';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import type { Frame } from '@fieldproof/protocol/frame';
import { IntervalSet } from '@fieldproof/protocol/interval-set';
import type { BatchEntry, EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { decodeGap } from '@fieldproof/protocol/messages';
import { Check, type CheckResult } from './checks.ts';
import type { RejectRecord } from './evidence-files.ts';

export interface BootVerdicts {
  readonly counter: number;
  /** Index of the entry of each recorded seq. */
  readonly recorded: Map<number, number>;
  readonly rejected: IntervalSet;
  readonly dropped: IntervalSet;
}

export interface VerdictCounts {
  /** Batch entries. */
  accepted: number;
  /** Seqs settled by a permanent reject and not recorded later. */
  rejectedSeqs: number;
  /** Refusals by code, of all `reject-tally` entries. */
  readonly tally: Record<string, number>;
  /** Bodies that were erased, as a tombstone says. */
  erased: number;
}

/** Collects entry by entry. */
export class Verdicts {
  /** By device id, then by boot key. */
  readonly devices = new Map<string, Map<string, BootVerdicts>>();
  readonly counts: VerdictCounts = { accepted: 0, rejectedSeqs: 0, tally: {}, erased: 0 };
  readonly #once: Check;
  readonly #bodies: Check;
  /** Digests by index of bodies that are all zeros. */
  readonly #zeroed = new Map<number, BatchEntry>();

  constructor(maxExamples?: number) {
    this.#once = new Check(
      'recorded-once',
      'no (device, boot, seq) is recorded twice',
      maxExamples,
    );
    this.#bodies = new Check(
      'bodies',
      'every body has the size and SHA-256 that its entry states',
      maxExamples,
    );
  }

  /** Takes in the next frame, decoded. */
  add(frame: Frame, entry: EvidenceEntry): void {
    if (entry.type === 'batch') this.#addBatch(frame, entry);
    if (entry.type === 'tombstone') {
      const zeroed = this.#zeroed.get(entry.index);
      if (zeroed !== undefined && equalBytes(zeroed.digest, entry.digest)) {
        this.#zeroed.delete(entry.index);
        this.counts.erased++;
      }
    }
    if (entry.type === 'reject-tally') {
      for (const [code, count] of entry.counts) {
        this.counts.tally[code] = (this.counts.tally[code] ?? 0) + count;
      }
    }
  }

  addReject({ device, bootCounter, bootSeed, seq }: RejectRecord): void {
    this.#boot(device, bootCounter, bootSeed).rejected.add(seq);
  }

  /** What was seen; call once, behind the last frame and reject. */
  results(): CheckResult[] {
    for (const [index, entry] of this.#zeroed) {
      this.#bodies.fail({ ...whose(entry), index, detail: 'zeros, and no tombstone says so' });
    }
    for (const boots of this.devices.values()) {
      for (const { rejected, recorded } of boots.values()) {
        for (const [from, to] of rejected.ranges()) {
          for (let seq = from; seq <= to; seq++) {
            if (!recorded.has(seq)) this.counts.rejectedSeqs++;
          }
        }
      }
    }
    return [this.#bodies.result(), this.#once.result()];
  }

  #addBatch({ index, body }: Frame, entry: BatchEntry): void {
    this.counts.accepted++;
    this.#once.checked++;
    const { recorded } = this.#boot(entry.device, entry.bootCounter, entry.bootSeed);
    const before = recorded.get(entry.seq);
    if (before === undefined) recorded.set(entry.seq, index);
    else this.#once.fail({ ...whose(entry), index, detail: `recorded before as entry ${before}` });
    this.#checkBody(index, body, entry);
    if (entry.kind !== 'gap') return;
    for (const [counter, seed, from, to] of gapsOf(body)) {
      this.#boot(entry.device, counter, seed).dropped.addRange(from, to);
    }
  }

  #checkBody(index: number, body: Uint8Array, entry: BatchEntry): void {
    this.#bodies.checked++;
    if (body.length !== entry.size) {
      const detail = `body: expected ${entry.size} bytes, got ${body.length}`;
      this.#bodies.fail({ ...whose(entry), index, detail });
      return;
    }
    if (equalBytes(createHash('sha256').update(body).digest(), entry.digest)) return;
    if (body.every((byte) => byte === 0)) this.#zeroed.set(index, entry);
    else this.#bodies.fail({ ...whose(entry), index, detail: 'body: another SHA-256' });
  }

  #boot(device: Uint8Array, counter: number, seed: Uint8Array): BootVerdicts {
    const id = deviceIdFromPublicKey(device);
    let boots = this.devices.get(id);
    if (boots === undefined) {
      boots = new Map();
      this.devices.set(id, boots);
    }
    const key = bootName(counter, seed);
    let boot = boots.get(key);
    if (boot === undefined) {
      const sets = { rejected: new IntervalSet(), dropped: new IntervalSet() };
      boot = { counter, recorded: new Map(), ...sets };
      boots.set(key, boot);
    }
    return boot;
  }
}

/** `7-a1b2c3d4`, as agents name boots too. */
export function bootName(counter: number, seed: Uint8Array): string {
  return `${counter}-${Buffer.from(seed).toString('hex')}`;
}

function whose({ device, bootCounter, bootSeed, seq }: BatchEntry) {
  return {
    device: deviceIdFromPublicKey(device),
    boot: bootName(bootCounter, bootSeed),
    seq,
  };
}

function gapsOf(body: Uint8Array) {
  try {
    return decodeGap(parseEnvelope(body).payload).gaps;
  } catch {
    // A gap message that cannot be read declares nothing; its body has a check of its own.
    return [];
  }
}
