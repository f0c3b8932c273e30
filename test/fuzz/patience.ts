/**
 * Time limits that count only while this process runs: where the machine stood still for a while, answers that came
 * meanwhile are read before anybody is called late.
 */

import { Finding } from './finding.ts';

const TICK_MS = 250;
/** What a tick may come late on a busy machine before it counts as a stand-still. */
const SLACK_MS = 2000;

/** Calls `onLate` after `limitMs` in which the loop turned. Gives the function that calls it off. */
export function whenLate(limitMs: number, onLate: () => void): () => void {
  let left = Math.ceil(limitMs / TICK_MS);
  // However late, a tick counts once; what is readable is read between two of them.
  const timer = setInterval(() => {
    left -= 1;
    if (left > 0) return;
    clearInterval(timer);
    onLate();
  }, TICK_MS);
  return () => clearInterval(timer);
}

/** The outcome of `running`, or a finding that says `message`. */
export async function within<T>(running: Promise<T>, limitMs: number, message: string): Promise<T> {
  let callOff = () => {};
  const late = new Promise<never>((_, reject) => {
    callOff = whenLate(limitMs, () => reject(new Finding(message)));
  });
  try {
    return await Promise.race([running, late]);
  } finally {
    callOff();
  }
}

/** Notes how long this process stood still, for the report. */
export class StandStillWatch {
  private last = performance.now();
  private longestMs = 0;
  private readonly timer = setInterval(() => {
    const now = performance.now();
    this.longestMs = Math.max(this.longestMs, now - this.last - TICK_MS);
    this.last = now;
  }, TICK_MS);

  /** For people, empty where it never stood still. */
  line(): string {
    if (this.longestMs < SLACK_MS) return '';
    return `; stood still for up to ${(this.longestMs / 1000).toFixed(1)} s`;
  }

  close(): void {
    clearInterval(this.timer);
  }
}
