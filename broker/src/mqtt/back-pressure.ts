/**
 * Pauses reading from clients while too much is on its way to the disk. Nothing is refused: TCP holds the senders
 * back. docs/spec/settlement.md section 1.2.
 */

import type { Duplex } from 'node:stream';
import type { Evidence } from '../gate/evidence.ts';

export class BackPressure {
  private readonly evidence: Pick<Evidence, 'isFull' | 'drained'>;
  private readonly paused = new Set<Duplex>();

  constructor(evidence: Pick<Evidence, 'isFull' | 'drained'>) {
    this.evidence = evidence;
  }

  get pausedConnections(): number {
    return this.paused.size;
  }

  /** Whether a connection must not be read now; it is told with `readable` when it may again. */
  holds(connection: Duplex): boolean {
    if (!this.evidence.isFull) return false;
    const isFirst = this.paused.size === 0;
    this.paused.add(connection);
    if (isFirst) void this.evidence.drained().then(() => this.resume());
    return true;
  }

  private resume(): void {
    const connections = [...this.paused];
    this.paused.clear();
    for (const connection of connections) {
      if (!connection.destroyed) connection.emit('readable');
    }
  }
}
