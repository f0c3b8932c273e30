/** A clock that moves when told. Timers fire in order, and promises settle between them. */

import type { Clock } from '@fieldproof/device-agent/clock';
import { PATIENCE_MS, until as waitUntil } from '../support/until.ts';

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

/**
 * Lets promises, files and sockets of this process come to rest: so many turns of the event loop in which nothing was read from
 * or written to a disk. A file takes as long as the machine needs; no clock moves meanwhile.
 */
export async function settle(turns = 8): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  for (let quiet = 0; quiet < turns; quiet += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    while (isBusy() && performance.now() < end) {
      quiet = 0;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** Whether a file is being read or written, or the name of a host looked up. */
function isBusy(): boolean {
  return process.getActiveResourcesInfo().some((name) => /^(FSReq|GetAddrInfo)/.test(name));
}

/** Waits until a condition holds. */
export async function until(condition: () => boolean | Promise<boolean>, what = 'condition') {
  await waitUntil(what, condition, { everyMs: 5 });
}
