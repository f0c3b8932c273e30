/**
 * Connections that are not read because their device, or its owner, has used up its rate. They go on in the order
 * in which they were held, as far as the rate has come back. docs/spec/settlement.md section 1.6.
 */

import type { Duplex } from 'node:stream';

/** How often what came back of a rate is handed out: a few messages at a time, and not one by one. */
const RELEASE_INTERVAL_MS = 20;

export class RateHolds {
  private readonly held = new Map<Duplex, { allowance(): number }>();
  private timer: NodeJS.Timeout | undefined;

  /** Connections that are held. */
  get count(): number {
    return this.held.size;
  }

  /**
   * Whether a connection must not be read now; it is told with `readable` when it may again.
   *
   * @param flow - says how many packets it may send now.
   */
  holds(connection: Duplex, flow: { allowance(): number }): boolean {
    if (this.held.has(connection)) return true;
    if (flow.allowance() >= 1) return false;
    this.held.set(connection, flow);
    this.timer ??= setInterval(() => this.release(), RELEASE_INTERVAL_MS);
    return true;
  }

  /** Whether a connection is held. */
  has(connection: Duplex): boolean {
    return this.held.has(connection);
  }

  /** A connection has ended. */
  forget(connection: Duplex): void {
    this.held.delete(connection);
  }

  /** Lets those go on for whom there is something; each takes its part before the next is asked. */
  release(): void {
    for (const [connection, flow] of [...this.held]) {
      if (flow.allowance() < 1) continue;
      this.held.delete(connection);
      if (!connection.destroyed) connection.emit('readable');
    }
    if (this.held.size === 0) this.stop();
  }

  /** Ends the timer; what is held stays so. */
  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
