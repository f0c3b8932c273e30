/**
 * What a device does whose boot the network has quarantined (docs/spec/settlement.md 2.2): it records on, and does not
 * connect, since every connection would end that of the device with the same key which is in force. It looks whether
 * its own key is another by now (`keys rotate`), and asks from time to time whether an operator has released the boot.
 */

import { type Clock, sleepUntil } from './clock.ts';

const LOOK_EVERY_MS = 5000;
const ASK_EVERY_MS = 10 * 60_000;

export interface QuarantineOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Whether key and id of the device are those of this run. */
  readonly isIdentityCurrent: () => Promise<boolean>;
  /** Asks the network. */
  readonly isQuarantined: () => Promise<boolean>;
}

/** Resolves when it is worth connecting again, or the signal is given. Never rejects. */
export async function untilReleased(options: QuarantineOptions): Promise<void> {
  const { clock, signal, isIdentityCurrent, isQuarantined } = options;
  let askAtMs = clock.monotonicMs() + ASK_EVERY_MS;
  while (!signal.aborted) {
    const dueMs = clock.monotonicMs() + LOOK_EVERY_MS;
    await sleepUntil({ clock, now: () => clock.monotonicMs(), dueMs, signal });
    // A key that cannot be read is for the next attempt to tell.
    if (!(await isIdentityCurrent().catch(() => false))) return;
    if (clock.monotonicMs() < askAtMs) continue;
    askAtMs = clock.monotonicMs() + ASK_EVERY_MS;
    if (!(await isQuarantined().catch(() => true))) return;
  }
}
