/** Who judges envelopes: on this thread here, in worker threads in `verify-pool.ts`. The gate does not know which. */

import { createHash } from 'node:crypto';
import type { Verify } from '@fieldproof/protocol/envelope';
import { type Judgement, judge, type Submission } from './rules.ts';

export interface Verifier {
  /**
   * Judges an envelope, now or later. Answers may come in another order than the questions.
   *
   * @param done - given the judgement and the SHA-256 of the envelope.
   */
  submit(submission: Submission, done: (judgement: Judgement, digest: Uint8Array) => void): void;
  stop(): Promise<void>;
  /** Envelopes submitted and not answered. */
  readonly waiting: number;
  /** 0: the calling thread verifies. */
  readonly threads: number;
}

/** Verifies on the calling thread, at once. It blocks the event loop: for tests and tools. */
export function createSyncVerifier(network: string, verify: Verify): Verifier {
  return {
    submit: (submission, done) => {
      const digest = createHash('sha256').update(submission.envelope).digest();
      done(judge(submission, { network, verify }), digest);
    },
    stop: async () => {},
    waiting: 0,
    threads: 0,
  };
}
