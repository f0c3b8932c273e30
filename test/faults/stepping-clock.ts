/** Clocks for agents: one whose wall time is set while it runs, one that runs faster than time. */

import { readFileSync, writeFileSync } from 'node:fs';
import { type Clock, systemClock } from '@fieldproof/device-agent/clock';
import type { ClockStep } from './fault-plan.ts';

const LOOK_EVERY_MS = 50;
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;

/**
 * The machine's clock plus the offset in a file, in ms. The file outlives the process, as a real-time clock does.
 * Timers and monotonic time are the machine's: setting a clock does not touch them.
 */
export function steppingClock(path: string): Clock {
  let offsetMs = 0;
  let lookedMs = Number.NEGATIVE_INFINITY;
  const offset = (): number => {
    const nowMs = performance.now();
    if (nowMs - lookedMs > LOOK_EVERY_MS) {
      lookedMs = nowMs;
      offsetMs = readOffset(path);
    }
    return offsetMs;
  };
  return { ...systemClock, wallMs: () => Date.now() + offset() };
}

/** Sets the clock of a {@link steppingClock}. */
export function stepClock(path: string, step: ClockStep): void {
  const offsets: Readonly<Record<ClockStep, number>> = {
    back: readOffset(path) - HOUR_MS,
    forward: readOffset(path) + HOUR_MS,
    '1970': -Date.now(),
    stale: -3 * YEAR_MS,
    right: 0,
  };
  writeFileSync(path, String(offsets[step]));
}

/** `rate` seconds a second, its wall clock from `startWallMs`. */
export function fastClock(options: { readonly rate: number; readonly startWallMs: number }): Clock {
  const { rate, startWallMs } = options;
  const startMs = performance.now();
  const passedMs = (): number => (performance.now() - startMs) * rate;
  return {
    wallMs: () => startWallMs + passedMs(),
    monotonicMs: passedMs,
    after: (delayMs, task) => systemClock.after(delayMs / rate, task),
    cancel: systemClock.cancel,
  };
}

function readOffset(path: string): number {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return 0;
  }
}
