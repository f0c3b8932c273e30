/** Counts of rejects for the log: docs/spec/evidence-log.md section 1.2. What cannot be written is counted on. */

import type { EvidenceLog } from '../evidence/evidence-log.ts';
import type { Counters } from '../gate/counters.ts';

export class RejectTally {
  private readonly parts: {
    readonly counters: Counters;
    readonly evidence: Pick<EvidenceLog, 'append'>;
    readonly now: () => number;
  };
  private from: number;

  constructor(parts: RejectTally['parts']) {
    this.parts = parts;
    this.from = parts.now();
  }

  /** @throws {BrokerError} ERR_LOG_FULL. */
  async write(): Promise<void> {
    const { counters, evidence, now } = this.parts;
    const counts = counters.takeTally();
    const [fromMs, toMs] = [this.from, now()];
    this.from = toMs;
    if (counts.length === 0) return;
    try {
      await evidence.append({ type: 'reject-tally', fromMs, toMs, counts: [...counts] });
    } catch (error) {
      counters.returnTally(counts);
      // Another write may have begun meanwhile, and failed first.
      this.from = Math.min(this.from, fromMs);
      throw error;
    }
  }
}
