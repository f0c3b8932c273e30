/**
 * Whether the wall clock may be believed, and how far. docs/spec/envelope.md 3.3, telemetry.md 1.4.
 *
 * A clock is believed after a signed hello has confirmed it: the server's time lies between the sending and
 * the answer, so the error is at most the difference plus half the round trip. From then on the bound grows
 * by what a bad crystal drifts. A wall clock that jumps against the monotonic one is not believed until it
 * is confirmed again. While the network is away, systemd-timesyncd's own mark of a synchronisation in this
 * boot of the machine may stand in. Leaves out chrony and ntpd, which leave no such mark in a file.
 */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from './clock.ts';

/** Drift of an uncorrected crystal, 250 ppm: more than any board has in the cold. */
const DRIFT = 250e-6;
/** A difference between the clocks from one look to the next that no slewing explains: 500 ppm is NTP's most. */
const STEP_MS = 250;
const SLEW = 1e-3;
/** Error that a timesyncd synchronisation over the internet leaves. */
const TIMESYNCD_BOUND_MS = 1000;
/** timesyncd polls at least every 2,048 s. */
const TIMESYNCD_FRESH_MS = 2 * 3_600_000;
const TIMESYNCD_MARK = 'run/systemd/timesync/synchronized';

export interface ClockReading {
  /** Monotonic ms since the start of the boot. */
  readonly bootMs: number;
  readonly wallMs: number;
  /** Wall clock minus boot time in whole ms; it stays the same until it is off by more than 1 ms. */
  readonly offsetMs: number;
  /** Greatest error of `wallMs`, ms, or null while it is not believed. */
  readonly boundMs: number | null;
}

export interface ClockStatus {
  readonly synced: boolean;
  readonly boundMs: number | null;
  readonly by: 'hello' | 'timesyncd' | null;
  readonly steps: number;
}

export class ClockState {
  readonly #clock: Clock;
  readonly #options: {
    readonly maxErrorMs: number;
    readonly trustTimesyncd: boolean;
    readonly root: string;
    readonly onStep: (byMs: number) => void;
    readonly onSynced: (boundMs: number, by: 'hello' | 'timesyncd') => void;
  };
  readonly #startMs: number;
  /** Wall minus monotonic at the last look. */
  #offsetMs: number;
  #steadyOffsetMs: number;
  #lookedAtMs: number;
  #confirmed:
    | { readonly atMs: number; readonly boundMs: number; readonly by: 'hello' | 'timesyncd' }
    | undefined;
  #steps = 0;

  constructor(options: {
    readonly clock: Clock;
    readonly maxErrorMs: number;
    readonly trustTimesyncd: boolean;
    /** Root of the file system, `/` but in tests. */
    readonly root: string;
    /** The wall clock jumped by this much. */
    readonly onStep: (byMs: number) => void;
    /** The clock was not believed and is now. */
    readonly onSynced: (boundMs: number, by: 'hello' | 'timesyncd') => void;
  }) {
    this.#clock = options.clock;
    this.#options = options;
    this.#startMs = options.clock.monotonicMs();
    this.#offsetMs = options.clock.wallMs() - this.#startMs;
    this.#steadyOffsetMs = options.clock.wallMs();
    this.#lookedAtMs = this.#startMs;
  }

  /** Monotonic ms since the start of the boot. */
  bootMs(): number {
    return this.#clock.monotonicMs() - this.#startMs;
  }

  /** Both clocks now, after a look for a step. */
  read(): ClockReading {
    this.#look();
    return {
      bootMs: this.bootMs(),
      wallMs: this.#clock.wallMs(),
      offsetMs: this.#steadyOffsetMs,
      boundMs: this.#boundMs(),
    };
  }

  status(): ClockStatus {
    const { boundMs } = this.read();
    const by = boundMs === null ? null : (this.#confirmed?.by ?? null);
    return { synced: boundMs !== null, boundMs, by, steps: this.#steps };
  }

  /**
   * Takes what a signed hello said.
   *
   * @param sentMs, receivedMs - monotonic times (of the clock, not of the boot) around the request.
   * @param serverMs - the Unix time that the server stated.
   */
  confirm(hello: {
    readonly sentMs: number;
    readonly receivedMs: number;
    readonly serverMs: number;
  }): void {
    this.#look();
    const { sentMs, receivedMs, serverMs } = hello;
    const wallAtMiddle = this.#offsetMs + (sentMs + receivedMs) / 2;
    const difference = Math.abs(serverMs - wallAtMiddle);
    // One ms for the server's rounding, two for ours.
    const boundMs = Math.ceil(difference + (receivedMs - sentMs) / 2 + 3);
    if (boundMs > this.#options.maxErrorMs) this.#confirmed = undefined;
    else this.#believe(boundMs, 'hello');
  }

  /** Looks for systemd-timesyncd's mark when nothing better is known. */
  async checkTimesyncd(): Promise<void> {
    if (!this.#options.trustTimesyncd || this.#boundMs() !== null) return;
    const mark = await stat(join(this.#options.root, TIMESYNCD_MARK)).catch(() => undefined);
    if (mark === undefined) return;
    this.#look();
    const ageMs = this.#clock.wallMs() - mark.mtimeMs;
    // A mark of the future, or a stale one, says nothing about the clock of now.
    if (ageMs < -STEP_MS || ageMs > TIMESYNCD_FRESH_MS) return;
    const boundMs = Math.ceil(TIMESYNCD_BOUND_MS + Math.max(0, ageMs) * DRIFT);
    if (boundMs <= this.#options.maxErrorMs) this.#believe(boundMs, 'timesyncd');
  }

  #believe(boundMs: number, by: 'hello' | 'timesyncd'): void {
    const before = this.#boundMs();
    this.#confirmed = { atMs: this.#clock.monotonicMs(), boundMs, by };
    if (before === null) this.#options.onSynced(boundMs, by);
  }

  #boundMs(): number | null {
    if (this.#confirmed === undefined) return null;
    const ageMs = this.#clock.monotonicMs() - this.#confirmed.atMs;
    const boundMs = Math.ceil(this.#confirmed.boundMs + ageMs * DRIFT);
    return boundMs <= this.#options.maxErrorMs ? boundMs : null;
  }

  #look(): void {
    const nowMs = this.#clock.monotonicMs();
    const offsetMs = this.#clock.wallMs() - nowMs;
    const changeMs = offsetMs - this.#offsetMs;
    const allowedMs = STEP_MS + SLEW * (nowMs - this.#lookedAtMs);
    this.#offsetMs = offsetMs;
    this.#lookedAtMs = nowMs;
    const bootOffsetMs = offsetMs + this.#startMs;
    // Clocks that tick in whole ms seem to differ by up to 1 ms from one look to the next.
    if (Math.abs(bootOffsetMs - this.#steadyOffsetMs) > 1) {
      this.#steadyOffsetMs = Math.round(bootOffsetMs);
    }
    if (Math.abs(changeMs) <= allowedMs) return;
    this.#steps += 1;
    this.#confirmed = undefined;
    this.#options.onStep(Math.round(changeMs));
  }
}
