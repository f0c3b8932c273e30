/**
 * Verification off the event loop. Jobs are made of what has come when the loop turns, so they grow under load by
 * themselves; a thread holds two at most, so it never waits for the main thread and the rest stays shareable.
 */

import { createHash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { workerFile } from '../worker-file.ts';
import type { Judgement, Submission } from './rules.ts';
import type { SignatureLibrary } from './signature-verifier.ts';
import type { Verifier } from './verifier.ts';
import { digestOf, judgementOf, packJob, type VerifyResult } from './verify-job.ts';
import type { VerifyWorkerData } from './verify-worker.ts';

const MIN_JOB = 16;
const MAX_JOB = 64;
const MAX_JOBS_IN_FLIGHT = 2;
/** A thread that dies takes its jobs with it; they are given to its successor so many times. */
const MAX_ATTEMPTS = 2;
/** What a thread waits that is to replace one that died; twice as long for each that dies before any has judged. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;

interface Task {
  readonly submission: Submission;
  readonly done: (judgement: Judgement, digest: Uint8Array) => void;
  attempts: number;
}

/** What is used of a worker. */
export type VerifyThread = Pick<Worker, 'on' | 'postMessage' | 'terminate'>;

interface Thread {
  readonly worker: VerifyThread;
  readonly jobs: Map<number, readonly Task[]>;
  /** It died, and the next one is not there yet. */
  isDown: boolean;
}

export interface VerifyPoolOptions {
  readonly network: string;
  readonly threads: number;
  readonly signatureLibrary: SignatureLibrary;
  /** Told when a thread dies; it is replaced. */
  readonly onThreadError: (error: unknown) => void;
  /** Replaced in tests. */
  readonly startThread?: () => VerifyThread;
  readonly after?: (ms: number, run: () => void) => void;
}

/** Starts the threads; they load in the background. */
export function createVerifyPool(options: VerifyPoolOptions): Verifier {
  return new VerifyPool(options);
}

class VerifyPool implements Verifier {
  private readonly options: VerifyPoolOptions;
  private readonly pool: Thread[] = [];
  private queue: Task[] = [];
  private nextJob = 0;
  private scheduled = false;
  private stopping = false;
  /** Threads that died since one has judged something. */
  private deaths = 0;

  constructor(options: VerifyPoolOptions) {
    this.options = options;
    for (let i = 0; i < options.threads; i++) this.pool.push(this.startThread());
  }

  get waiting(): number {
    let waiting = this.queue.length;
    for (const { jobs } of this.pool) for (const tasks of jobs.values()) waiting += tasks.length;
    return waiting;
  }

  get threads(): number {
    return this.pool.length;
  }

  submit(submission: Submission, done: Task['done']): void {
    this.queue.push({ submission, done, attempts: 0 });
    this.schedule();
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.pool.map(({ worker }) => worker.terminate()));
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.dispatch();
    });
  }

  private dispatch(): void {
    while (this.queue.length > 0) {
      const thread = this.leastBusy();
      if (thread === null) return;
      const share = Math.ceil(this.queue.length / this.pool.length);
      const size = Math.min(MAX_JOB, Math.max(MIN_JOB, share));
      const tasks = this.queue.slice(0, size);
      this.queue = this.queue.slice(size);
      const job = packJob(
        this.nextJob++,
        tasks.map((task) => task.submission),
      );
      thread.jobs.set(job.id, tasks);
      thread.worker.postMessage(job, [job.bytes.buffer, job.items.buffer] as ArrayBuffer[]);
    }
  }

  private leastBusy(): Thread | null {
    let best: Thread | null = null;
    for (const thread of this.pool) {
      if (thread.isDown || thread.jobs.size >= MAX_JOBS_IN_FLIGHT) continue;
      if (best === null || thread.jobs.size < best.jobs.size) best = thread;
    }
    return best;
  }

  private startThread(): Thread {
    const worker = this.options.startThread?.() ?? startWorker(this.options);
    const thread: Thread = { worker, jobs: new Map(), isDown: false };
    worker.on('message', (result: VerifyResult) => this.finish(thread, result));
    worker.on('error', (error) => this.options.onThreadError(error));
    worker.on('exit', () => this.replace(thread));
    return thread;
  }

  private finish(thread: Thread, result: VerifyResult): void {
    const tasks = thread.jobs.get(result.id) ?? [];
    thread.jobs.delete(result.id);
    this.deaths = 0;
    this.dispatch();
    for (let i = 0; i < tasks.length; i++) {
      tasks[i]!.done(judgementOf(result, i), digestOf(result, i));
    }
  }

  private replace(thread: Thread): void {
    if (this.stopping) return;
    const lost = [...thread.jobs.values()].flat();
    thread.jobs.clear();
    thread.isDown = true;
    const { after = afterPause } = this.options;
    after(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.deaths), () => {
      if (this.stopping) return;
      this.pool[this.pool.indexOf(thread)] = this.startThread();
      this.schedule();
    });
    this.deaths += 1;
    for (const task of lost) {
      task.attempts += 1;
      if (task.attempts < MAX_ATTEMPTS) this.queue.push(task);
      else {
        const fault = { code: 'ERR_INTERNAL', message: 'verifying thread: died at this envelope' };
        const digest = createHash('sha256').update(task.submission.envelope).digest();
        task.done({ stamp: null, fault }, digest);
      }
    }
    this.schedule();
  }
}

function startWorker({ network, signatureLibrary }: VerifyPoolOptions): Worker {
  return new Worker(workerFile('./verify-worker', import.meta.url), {
    workerData: { network, signatureLibrary } satisfies VerifyWorkerData,
  });
}

function afterPause(ms: number, run: () => void): void {
  setTimeout(run, ms).unref();
}
