/**
 * Stops reading a connection while too much of what came in is not settled, or while it does not take what is sent
 * to it. Nothing is refused: TCP holds the sender back. docs/spec/settlement.md section 1.2.
 *
 * Aedes by itself reads on whenever a sender's bytes come in small pieces, whether or not earlier messages are
 * acknowledged; so what is on its way (verification, commits, rejects) is counted here, for each connection and for
 * all.
 */

import type { Duplex } from 'node:stream';

export interface IntakeLimits {
  /** Bytes on their way, over all connections. */
  readonly maxPendingBytes: number;
  /** The same for one connection, so that one sender does not hold up the others. */
  readonly maxInFlightBytes: number;
  /** Messages of one connection on their way. */
  readonly maxInFlight: number;
}

/** What a message costs in memory beside its bytes: the packet, its place in the order, callbacks. */
export const MESSAGE_COST_BYTES = 1024;

interface Intake {
  messages: number;
  bytes: number;
  awaitsDrain: boolean;
  /** Whether its end is listened for. */
  isWatched: boolean;
  /** Whether it is not read because of what it has itself on its way. */
  isFull: boolean;
}

const NOTHING: Intake = {
  messages: 0,
  bytes: 0,
  awaitsDrain: false,
  isWatched: false,
  isFull: false,
};

export class BackPressure {
  private readonly limits: IntakeLimits;
  private readonly intakes = new WeakMap<Duplex, Intake>();
  /** Held because of what all connections together have on its way; in the order in which they may go on. */
  private readonly paused = new Set<Duplex>();
  private bytes = 0;
  private full = 0;
  private isResuming = false;

  constructor(limits: IntakeLimits) {
    this.limits = limits;
  }

  /** Connections that are not read because of the limit for all. */
  get pausedConnections(): number {
    return this.paused.size;
  }

  /** Connections that are not read because of what each has on its way itself. */
  get fullConnections(): number {
    return this.full;
  }

  /** Bytes taken in and not settled, each message counted with {@link MESSAGE_COST_BYTES}. */
  get pendingBytes(): number {
    return this.bytes;
  }

  /** A message was taken in. @returns what to call once, when it is settled. */
  enter(connection: Duplex, bytes: number): () => void {
    const intake = this.intakeOf(connection);
    const cost = bytes + MESSAGE_COST_BYTES;
    intake.messages += 1;
    intake.bytes += cost;
    this.bytes += cost;
    if (!intake.isFull && this.isFull(intake)) {
      intake.isFull = true;
      this.full += 1;
    }
    return () => {
      intake.messages -= 1;
      intake.bytes -= cost;
      this.bytes -= cost;
      if (intake.isFull && !this.isFull(intake)) {
        intake.isFull = false;
        this.full -= 1;
      }
      if (this.paused.size > 0) this.resumeSoon();
    };
  }

  /** Whether a connection must not be read now; it is told with `readable` when it may again. */
  holds(connection: Duplex): boolean {
    if (connection.writableNeedDrain) {
      this.awaitDrain(connection, this.intakeOf(connection));
      return true;
    }
    // What has sent nothing yet has none.
    const intake = this.intakes.get(connection) ?? NOTHING;
    // Aedes asks again after each message that is settled, so this needs nobody to wake it.
    if (intake.isFull) return true;
    if (this.bytes < this.limits.maxPendingBytes) return false;
    this.pause(connection, this.intakeOf(connection));
    return true;
  }

  /** Whether a connection is not read now, for whatever reason of this one. */
  isHeld(connection: Duplex): boolean {
    const intake = this.intakes.get(connection) ?? NOTHING;
    return connection.writableNeedDrain || intake.isFull || this.paused.has(connection);
  }

  private isFull({ messages, bytes }: Intake): boolean {
    return messages >= this.limits.maxInFlight || bytes >= this.limits.maxInFlightBytes;
  }

  private intakeOf(connection: Duplex): Intake {
    let intake = this.intakes.get(connection);
    if (intake === undefined) {
      intake = { ...NOTHING };
      this.intakes.set(connection, intake);
    }
    return intake;
  }

  private pause(connection: Duplex, intake: Intake): void {
    this.paused.add(connection);
    if (intake.isWatched) return;
    intake.isWatched = true;
    connection.once('close', () => this.paused.delete(connection));
  }

  /** What was sent may be a receipt, of which Aedes does not wait for the end. */
  private awaitDrain(connection: Duplex, intake: Intake): void {
    if (intake.awaitsDrain) return;
    intake.awaitsDrain = true;
    connection.once('drain', () => {
      intake.awaitsDrain = false;
      if (!connection.destroyed) connection.emit('readable');
    });
  }

  /** Not at once: it is called from within a verdict. */
  private resumeSoon(): void {
    if (this.isResuming) return;
    this.isResuming = true;
    setImmediate(() => {
      this.isResuming = false;
      for (const connection of [...this.paused]) {
        if (this.bytes >= this.limits.maxPendingBytes) return;
        this.paused.delete(connection);
        if (!connection.destroyed) connection.emit('readable');
      }
    });
  }
}
