/**
 * Tells systemd that the agent is ready, lives, and stops: sd_notify(3). Node has no datagram sockets of the Unix family, so
 * systemd's own command does it: one short process every minute. Without $NOTIFY_SOCKET nothing happens.
 * docs/decisions/017-watchdog.md.
 */

import { execFile } from 'node:child_process';
import type { Clock, TimerHandle } from './clock.ts';
import { reasonOf } from './errors.ts';
import type { Log } from './log.ts';

/** Notices in one interval of the watchdog. */
const NOTICES = 3;

export interface ServiceNotify {
  /** After the start: READY=1, then WATCHDOG=1 three times in the interval that systemd asks for. */
  readonly ready: () => void;
  readonly stopping: () => void;
}

/**
 * @param env - `NOTIFY_SOCKET` and `WATCHDOG_USEC`, as systemd sets them.
 * @param tell - sends one line of sd_notify(3); default: the command systemd-notify.
 */
export function serviceNotify(options: {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly tell?: (line: string, onFailed: (error: unknown) => void) => void;
}): ServiceNotify {
  const { env, clock, log, tell = systemdNotify } = options;
  if (!env.NOTIFY_SOCKET) return { ready: () => {}, stopping: () => {} };
  const everyMs = Number(env.WATCHDOG_USEC ?? 0) / 1000 / NOTICES;
  let timer: TimerHandle | undefined;
  let isFailing = false;
  const send = (line: string): void =>
    tell(line, (error) => {
      if (!isFailing) log.warn('systemd not notified', { reason: reasonOf(error) });
      isFailing = true;
    });
  const again = (): void => {
    timer = clock.after(everyMs, () => {
      send('WATCHDOG=1');
      again();
    });
  };
  return {
    ready: () => {
      send('READY=1');
      if (everyMs > 0) again();
    },
    stopping: () => {
      clock.cancel(timer);
      send('STOPPING=1');
    },
  };
}

function systemdNotify(line: string, onFailed: (error: unknown) => void): void {
  execFile('systemd-notify', [line], { timeout: 30_000 }, (error) => {
    if (error !== null) onFailed(error);
  });
}
