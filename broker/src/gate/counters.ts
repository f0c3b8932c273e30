/**
 * What became of every PUBLISH: received = accepted + duplicate + rejected whenever nothing is in flight.
 * docs/spec/settlement.md section 1.1.
 */

export interface CounterValues {
  readonly received: number;
  readonly accepted: number;
  readonly duplicate: number;
  readonly rejected: number;
  /** Those of the rejected whose seq was not settled, because the device acknowledges no rejects. Section 1.5. */
  readonly unsettledRejects: number;
  readonly rejectedByCode: Readonly<Record<string, number>>;
  readonly inFlight: number;
}

export class Counters {
  private received = 0;
  private accepted = 0;
  private duplicate = 0;
  private rejected = 0;
  private unsettled = 0;
  private readonly byCode = new Map<string, number>();
  private tally = new Map<string, number>();

  countReceived(): void {
    this.received += 1;
  }

  countAccepted(): void {
    this.accepted += 1;
  }

  countDuplicate(): void {
    this.duplicate += 1;
  }

  countRejected(code: string): void {
    this.rejected += 1;
    this.byCode.set(code, (this.byCode.get(code) ?? 0) + 1);
    this.tally.set(code, (this.tally.get(code) ?? 0) + 1);
  }

  /** Beside `countRejected`. */
  countUnsettled(): void {
    this.unsettled += 1;
  }

  /** Since the start of the process. */
  values(): CounterValues {
    const { received, accepted, duplicate, rejected } = this;
    return {
      received,
      accepted,
      duplicate,
      rejected,
      unsettledRejects: this.unsettled,
      rejectedByCode: Object.fromEntries([...this.byCode].sort(([a], [b]) => (a < b ? -1 : 1))),
      inFlight: received - accepted - duplicate - rejected,
    };
  }

  /** What was refused since the last call, by code in order; for a `reject-tally` entry. */
  takeTally(): readonly (readonly [code: string, count: number])[] {
    const tally = [...this.tally].sort(([a], [b]) => (a < b ? -1 : 1));
    this.tally = new Map();
    return tally;
  }

  /** Puts back a tally that could not be recorded; it is in the next one. */
  returnTally(tally: readonly (readonly [code: string, count: number])[]): void {
    for (const [code, count] of tally) this.tally.set(code, (this.tally.get(code) ?? 0) + count);
  }
}
