/** A clock that moves when told. Timers fire in order, and promises settle between them. */

import type { Clock } from '@fieldproof/device-agent/clock';

export interface FakeClock extends Clock {
  /** Moves both clocks, firing timers on the way. */
  advance(ms: number): Promise<void>;
  /** Moves the wall clock alone, as an NTP step does. */
  step(ms: number): void;
  /** How many timers wait. */
  timers(): number;
}

export function fakeClock(startWallMs = Date.UTC(2026, 0, 1)): FakeClock {
  let monotonic = 0;
  let offset = startWallMs;
  let nextId = 1;
  const timers = new Map<number, { due: number; task: () => void }>();
  return {
    wallMs: () => offset + Math.floor(monotonic),
    monotonicMs: () => monotonic,
    after(delayMs, task) {
      const id = nextId++;
      timers.set(id, { due: monotonic + Math.max(0, delayMs), task });
      return id;
    },
    cancel(timer) {
      timers.delete(timer as number);
    },
    timers: () => timers.size,
    step(ms) {
      offset += ms;
    },
    async advance(ms) {
      const end = monotonic + ms;
      await settle();
      for (;;) {
        const next = [...timers].sort((a, b) => a[1].due - b[1].due || a[0] - b[0])[0];
        if (next === undefined || next[1].due > end) break;
        timers.delete(next[0]);
        monotonic = Math.max(monotonic, next[1].due);
        next[1].task();
        await settle();
      }
      monotonic = end;
      await settle();
    },
  };
}

/** Lets promises and short file operations finish. */
export async function settle(turns = 8): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits until a condition holds; the deadline only ends a test that hangs. */
export async function until(condition: () => boolean | Promise<boolean>, what = 'condition') {
  const deadline = Date.now() + 50_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
