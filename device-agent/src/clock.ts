/**
 * Time as the agent sees it: a wall clock that may be wrong, a monotonic one that is not, and timers.
 * Tests pass their own.
 */

/** A timer that {@link Clock.cancel} takes. */
export type TimerHandle = NodeJS.Timeout | number;

export interface Clock {
  /** Unix time in ms, as the operating system believes it. */
  wallMs(): number;
  /** Milliseconds since some instant, never backwards. */
  monotonicMs(): number;
  /** Calls `task` once, `delayMs` from now. */
  after(delayMs: number, task: () => void): TimerHandle;
  cancel(timer: TimerHandle | undefined): void;
}

/** Longest delay that Node's timers take; longer ones would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The machine's clocks. */
export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (delayMs, task) => setTimeout(task, Math.min(Math.max(0, delayMs), MAX_TIMER_MS)),
  cancel: (timer) => clearTimeout(timer),
};

/** Resolves after `delayMs`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.after(delayMs, resolve));
}

/**
 * Resolves when `now` reaches `dueMs`, or when the signal is given. At once when it is past.
 *
 * @param now - a monotonic time in ms, at the speed of `clock`.
 */
export async function sleepUntil(options: {
  readonly clock: Clock;
  readonly now: () => number;
  readonly dueMs: number;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { clock, now, dueMs, signal } = options;
  for (;;) {
    const leftMs = dueMs - now();
    if (leftMs <= 0 || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clock.cancel(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = clock.after(Math.ceil(leftMs), done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
