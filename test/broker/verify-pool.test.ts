/** Threads that die: their work is given to others, and they come back slower and slower. */

import { EventEmitter } from 'node:events';
import type { Judgement, Submission } from '@fieldproof/broker/gate/rules';
import { createVerifyPool, type VerifyThread } from '@fieldproof/broker/gate/verify-pool';
import { expect, test } from '@jest/globals';

class FakeThread extends EventEmitter {
  readonly jobs: unknown[] = [];
  postMessage(job: unknown): void {
    this.jobs.push(job);
  }
  async terminate(): Promise<number> {
    return 0;
  }
}

function start() {
  const threads: FakeThread[] = [];
  const pauses: { ms: number; run: () => void }[] = [];
  const pool = createVerifyPool({
    ...{ network: 'abcdefgh', threads: 1, signatureLibrary: 'openssl' },
    onThreadError: () => {},
    startThread: () => {
      threads.push(new FakeThread());
      return threads.at(-1) as unknown as VerifyThread;
    },
    after: (ms, run) => pauses.push({ ms, run }),
  });
  return { threads, pauses, pool };
}

const SUBMISSION = {
  publicKey: new Uint8Array(32),
  kid: new Uint8Array(8),
  envelope: new Uint8Array(8),
} as unknown as Submission;

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a thread that dies again and again is replaced after longer and longer pauses', () => {
  const { threads, pauses } = start();
  for (let i = 0; i < 9; i++) {
    threads.at(-1)!.emit('exit');
    expect(threads).toHaveLength(i + 1);
    pauses.at(-1)!.run();
  }
  expect(pauses.map(({ ms }) => ms)).toEqual([
    100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000,
  ]);
});

test('what a dead thread had is judged by the next one; an envelope that kills twice is refused', async () => {
  const { threads, pauses, pool } = start();
  const judgements: Judgement[] = [];
  pool.submit(SUBMISSION, (judgement) => judgements.push(judgement));
  await turn();
  expect(threads[0]!.jobs).toHaveLength(1);
  threads[0]!.emit('exit');
  await turn();
  expect(pool.waiting).toBe(1);
  pauses[0]!.run();
  await turn();
  expect(threads[1]!.jobs).toHaveLength(1);
  threads[1]!.emit('exit');
  expect(judgements).toMatchObject([{ fault: { code: 'ERR_INTERNAL' } }]);
});

test('a pool that has stopped starts no thread any more', async () => {
  const { threads, pauses, pool } = start();
  threads[0]!.emit('exit');
  await pool.stop();
  pauses[0]!.run();
  expect(threads).toHaveLength(1);
});
