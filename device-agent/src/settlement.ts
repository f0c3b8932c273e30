/**
 * What receipts and rejects do to the outbox. docs/spec/settlement.md 3.3, 4.2.
 *
 * An envelope is deleted when a verified receipt settles it and does not list it as rejected. A rejected one
 * is parked first. A receipt that lists as many boots as it can hold closes those below all of them; of such a
 * boot only what was acknowledged in this session before the receipt goes, and the rest is sent first: the
 * broker cannot know of what it has not been sent.
 */

import { createHash } from 'node:crypto';
import { PROTOCOL_ERRORS } from '@fieldproof/protocol/errors';
import { IntervalSet } from '@fieldproof/protocol/interval-set';
import {
  MAX_OPEN_BOOTS,
  type Receipt,
  type Reject,
} from '@fieldproof/protocol/settlement-messages';
import { type Boot, bootKey } from './boot.ts';
import type { Clock } from './clock.ts';
import { reasonOf } from './errors.ts';
import type { Journal } from './journal.ts';
import type { Log } from './log.ts';
import type { Outbox } from './outbox.ts';
import type { PendingEnvelope } from './outbox-cursor.ts';
import type { ParkedStore } from './parked.ts';

export interface SettlementOptions {
  readonly outbox: Outbox;
  readonly parked: ParkedStore;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
}

export interface SettlementCounts {
  readonly receipts: number;
  /** Envelopes that the network has proved to have. */
  readonly settled: number;
  /** Envelopes that it refused for good. */
  readonly rejected: number;
  /** The newest reject of the network's, for the owner. */
  readonly lastReject: {
    readonly code: string;
    readonly remedy: string;
    readonly atMs: number;
  } | null;
}

/** What a reject asks of the link. */
export type RejectOutcome =
  | { readonly type: 'ignored' | 'parked' }
  | { readonly type: 'later'; readonly boot: Boot; readonly seq: number; readonly afterMs: number };

const DEFAULT_RETRY_MS = 30_000;
const MAX_RETRY_MS = 3_600_000;

export class Settlement {
  readonly #options: SettlementOptions;
  #counts = { receipts: 0, settled: 0, rejected: 0 };
  #lastReject: SettlementCounts['lastReject'] = null;

  constructor(options: SettlementOptions) {
    this.#options = options;
  }

  counts(): SettlementCounts {
    return { ...this.#counts, lastReject: this.#lastReject };
  }

  /**
   * Applies a verified receipt.
   *
   * @param acknowledged - by boot key, what was acknowledged (PUBACK) in this session before it came.
   * @returns how many envelopes wait no more.
   */
  async receipt(receipt: Receipt, acknowledged: ReadonlyMap<string, IntervalSet>): Promise<number> {
    const { outbox, parked } = this.#options;
    this.#counts.receipts += 1;
    let settled = 0;
    for (const [counter, seed, through, ranges, rejected] of receipt.boots) {
      const boot = { counter, seed };
      const kept = new IntervalSet();
      for (const [seq, code] of rejected) {
        if (!outbox.isPending(boot, seq)) {
          parked.unacknowledged(boot, seq);
          continue;
        }
        // Its reject was missed: parked now, before the receipt deletes it.
        if (await this.#parkListed(boot, seq, code)) await outbox.settle(boot, [[seq, seq]]);
        else kept.add(seq);
      }
      const all = ranges.filter(([from, to]) => from <= to);
      if (through >= 0) all.unshift([0, through]);
      settled += await outbox.settle(
        boot,
        all.flatMap(([from, to]) => kept.holes(from, to)),
      );
    }
    if (receipt.boots.length >= MAX_OPEN_BOOTS) {
      const oldestOpen = Math.min(...receipt.boots.map(([counter]) => counter));
      for (const boot of outbox.pendingBoots()) {
        if (boot.counter >= oldestOpen) continue;
        settled += await outbox.settle(boot, acknowledged.get(bootKey(boot))?.ranges() ?? []);
      }
      // What was given up of a closed boot need not be declared at every start for ever.
      for (const { boot, ranges } of outbox.undeclared()) {
        if (boot.counter < oldestOpen) await outbox.settle(boot, ranges);
      }
    }
    this.#counts.settled += settled;
    return settled;
  }

  /**
   * Applies a verified reject.
   *
   * @param sent - the envelope of that digest, when it was sent in this session.
   */
  async reject(
    reject: Reject,
    sent: { readonly boot: Boot; readonly seq: number } | undefined,
  ): Promise<RejectOutcome> {
    const { outbox, clock, log, journal } = this.#options;
    const named =
      reject.boot === null || reject.seq === null
        ? undefined
        : { boot: { counter: reject.boot[0], seed: reject.boot[1] }, seq: reject.seq };
    const { boot, seq } = sent ?? named ?? {};
    if (boot === undefined || seq === undefined || !outbox.isPending(boot, seq)) {
      return { type: 'ignored' };
    }
    const { code, remedy, permanent } = reject;
    const what = { code, remedy, boot: bootKey(boot), seq, permanent };
    if (!permanent && sent !== undefined) {
      // It is the envelope of that digest, and stays where it is: there may be many of these, so nothing is searched.
      this.#lastReject = { code, remedy, atMs: clock.wallMs() };
      log.warn('envelope to be sent again later', what);
      return { type: 'later', boot, seq, afterMs: retryAfterMs(reject) };
    }
    const envelope = await findEnvelope(outbox, boot, seq);
    if (envelope === undefined || !hasDigest(envelope.bytes, reject.digest)) {
      return { type: 'ignored' };
    }
    this.#lastReject = { code, remedy, atMs: clock.wallMs() };
    log.warn('envelope rejected', { ...what, kind: envelope.kind });
    if (!permanent) return { type: 'later', boot, seq, afterMs: retryAfterMs(reject) };
    this.#counts.rejected += 1;
    await this.#park(boot, seq, code, envelope);
    if (named !== undefined) {
      await outbox.settle(boot, [[seq, seq]]);
    } else {
      // Refused before its signature was checked: the network does not count this seq as settled.
      await outbox.drop(boot, [[seq, seq]]);
      if (envelope.kind !== 'gap') journal.oweGap();
    }
    return { type: 'parked' };
  }

  /** Whether an envelope that a receipt lists as rejected is parked. On a full disk it waits instead. */
  async #parkListed(boot: Boot, seq: number, code: string): Promise<boolean> {
    const { clock, log } = this.#options;
    try {
      await this.#park(boot, seq, code);
    } catch (error) {
      log.warn('envelope not parked', { boot: bootKey(boot), seq, reason: reasonOf(error) });
      return false;
    }
    this.#counts.rejected += 1;
    this.#lastReject = { code, remedy: remedyOf(code), atMs: clock.wallMs() };
    return true;
  }

  async #park(boot: Boot, seq: number, code: string, known?: PendingEnvelope): Promise<void> {
    const { outbox, parked, clock } = this.#options;
    const envelope = known ?? (await findEnvelope(outbox, boot, seq));
    if (envelope === undefined) return;
    await parked.park({ boot, seq, code, atMs: clock.wallMs() }, envelope.bytes);
  }
}

/** How long a transient reject asks the sender to wait, within reason. */
export function retryAfterMs(reject: Reject): number {
  return Math.min(reject.retryAfterMs ?? DEFAULT_RETRY_MS, MAX_RETRY_MS);
}

/** A receipt names the code alone. */
function remedyOf(code: string): string {
  return Object.hasOwn(PROTOCOL_ERRORS, code)
    ? PROTOCOL_ERRORS[code as keyof typeof PROTOCOL_ERRORS].remedy
    : 'Ask the operator of the network.';
}

/** Rejects are rare: the outbox is searched, and no index is kept for them. */
async function findEnvelope(
  outbox: Outbox,
  boot: Boot,
  seq: number,
): Promise<PendingEnvelope | undefined> {
  const key = bootKey(boot);
  const cursor = outbox.cursor();
  try {
    for (let item = await cursor.next(); item !== undefined; item = await cursor.next()) {
      if (item.seq === seq && bootKey(item.boot) === key) return item;
    }
    return undefined;
  } finally {
    await cursor.close();
  }
}

function hasDigest(bytes: Uint8Array, digest: Uint8Array): boolean {
  return Buffer.compare(createHash('sha256').update(bytes).digest(), digest) === 0;
}
