/**
 * A device's files against the verdicts of the log: what it forgot, what is nowhere, what waits. Pure.
 *
 * Seqs of a boot are counted from 0, so every number up to the highest one that anybody has seen was signed. What a
 * device signed at the end of a boot, forgot with that boot as a whole, and nobody recorded, leaves no trace in either
 * place; the newest boot of a device is never forgotten.
 */
import { type Interval, IntervalSet } from '@fieldproof/protocol/interval-set';
import { Check, type CheckResult } from './checks.ts';
import type { DeviceOutbox, OutboxBoot } from './outbox-files.ts';
import type { BootVerdicts } from './verdicts.ts';

/** Receipts speak of so many boots; older ones are closed with their holes (docs/spec/settlement.md 2.1). */
const MAX_OPEN_BOOTS = 32;

/** Of all devices given. signed = recorded + rejected + dropped + waiting + closed, and what is lost. */
export interface DeviceCounts {
  signed: number;
  recorded: number;
  rejected: number;
  dropped: number;
  /** In an outbox, without a verdict yet. */
  waiting: number;
  /** Holes of boots that are closed because 32 newer ones are open. */
  closed: number;
}

/** The checks over devices whose files are given. */
export class DeviceChecks {
  readonly counts: DeviceCounts = {
    ...{ signed: 0, recorded: 0, rejected: 0, dropped: 0, waiting: 0, closed: 0 },
  };
  readonly #forgotten: Check;
  readonly #nowhere: Check;
  readonly #same: Check;

  constructor(maxExamples?: number) {
    this.#forgotten = new Check(
      'forgotten',
      'what a device forgot is recorded, rejected or declared dropped',
      maxExamples,
    );
    this.#nowhere = new Check(
      'accounted',
      'every seq that a device signed is recorded, rejected, dropped or waits in its outbox',
      maxExamples,
    );
    this.#same = new Check(
      'same-envelope',
      'an envelope that lies in an outbox and is recorded is recorded byte for byte',
      maxExamples,
    );
  }

  /**
   * Checks one device.
   *
   * @param digestAt - the digest in hex that the entry of an index states.
   */
  add(
    outbox: DeviceOutbox,
    verdicts: ReadonlyMap<string, BootVerdicts>,
    digestAt: (index: number) => string | undefined,
  ): void {
    const names = new Set([...outbox.boots.keys(), ...verdicts.keys()]);
    const oldest = oldestOpen(verdicts);
    for (const name of names) {
      this.#addBoot({
        device: outbox.device,
        name,
        mine: outbox.boots.get(name),
        theirs: verdicts.get(name),
        oldest,
        digestAt,
      });
    }
  }

  results(): CheckResult[] {
    return [this.#forgotten.result(), this.#nowhere.result(), this.#same.result()];
  }

  #addBoot(boot: {
    readonly device: string;
    readonly name: string;
    readonly mine: OutboxBoot | undefined;
    readonly theirs: BootVerdicts | undefined;
    readonly oldest: number;
    readonly digestAt: (index: number) => string | undefined;
  }): void {
    const { device, name, mine, theirs, oldest, digestAt } = boot;
    const recorded = theirs?.recorded ?? new Map<number, number>();
    const envelopes = mine?.envelopes ?? new Map<number, string>();
    for (const [seq, digest] of envelopes) {
      const index = recorded.get(seq);
      if (index === undefined) continue;
      this.#same.checked++;
      if (digest === digestAt(index)) continue;
      const detail = `outbox: expected the envelope of entry ${index}, got another`;
      this.#same.fail({ device, boot: name, seq, index, detail });
    }
    // Each seq counts for the first of these that has it.
    const known = new IntervalSet();
    this.counts.recorded += addAll(known, singles(recorded.keys()));
    this.counts.rejected += addAll(known, theirs?.rejected.ranges());
    this.counts.rejected += addAll(known, mine?.parked.ranges());
    this.counts.dropped += addAll(known, theirs?.dropped.ranges());
    this.counts.dropped += addAll(known, mine?.dropped.ranges());
    const waiting = [...envelopes.keys()].filter((seq) => mine?.settled.has(seq) !== true);
    this.counts.waiting += addAll(known, singles(waiting));
    const highest = Math.max(known.max, mine?.settled.max ?? -1);
    this.counts.signed += highest + 1;
    this.#nowhere.checked += highest + 1;
    const lost = known.holes(0, highest);
    if ((mine?.counter ?? theirs?.counter ?? 0) < oldest) {
      for (const [from, to] of lost) this.counts.closed += to - from + 1;
      return;
    }
    if (mine !== undefined) this.#forgotten.checked += mine.settled.size;
    for (const [from, to] of lost) {
      const count = to - from + 1;
      const range = from === to ? `seq ${from}` : `seqs ${from} to ${to}`;
      const detail = `${range}: signed, and neither recorded, rejected, dropped nor waiting`;
      this.#nowhere.fail({ device, boot: name, seq: from, detail }, count);
      const forgot = mine?.settled.holes(from, to) ?? [];
      const kept = forgot.reduce((sum, [a, b]) => sum + b - a + 1, 0);
      if (mine === undefined || kept === count) continue;
      const what = `${range}: forgotten by the device, and not in the log`;
      this.#forgotten.fail({ device, boot: name, seq: from, detail: what }, count - kept);
    }
  }
}

/** The lowest counter of the boots that a receipt still speaks of. */
function oldestOpen(verdicts: ReadonlyMap<string, BootVerdicts>): number {
  const counters = [...verdicts.values()].map(({ counter }) => counter).sort((a, b) => b - a);
  return counters[MAX_OPEN_BOOTS - 1] ?? 0;
}

/** How many numbers are new. */
function addAll(set: IntervalSet, ranges: Iterable<Interval> = []): number {
  const before = set.size;
  for (const [from, to] of ranges) set.addRange(from, to);
  return set.size - before;
}

function* singles(seqs: Iterable<number>): Generator<Interval> {
  for (const seq of seqs) yield [seq, seq];
}
