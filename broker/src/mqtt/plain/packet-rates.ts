/** How fast clients of the plain profile are read: packets of each connection, from a bucket that fills with time. */

import type { Duplex } from 'node:stream';
import type { Flow } from '../front-desk.ts';
import { RateHolds } from '../rate-holds.ts';

export interface PacketRatesOptions {
  /** Of one connection; {@link BURST_SECONDS} times as much in a burst; 0 lifts the limit. */
  readonly packetsPerSecond: number;
  readonly now: () => number;
  /** A connection is not read for a while. */
  readonly onHeld: () => void;
}

const BURST_SECONDS = 10;

interface Bucket {
  tokens: number;
  at: number;
}

export class PacketRates {
  private readonly options: PacketRatesOptions;
  private readonly holds = new RateHolds();
  private readonly buckets = new WeakMap<Duplex, Bucket>();

  constructor(options: PacketRatesOptions) {
    this.options = options;
  }

  /** Connections that are held. */
  get held(): number {
    return this.holds.count;
  }

  isHeld(connection: Duplex): boolean {
    return this.holds.has(connection);
  }

  /** The flow of a new connection; what its peer has not taken holds it as well. */
  flow(connection: Duplex): Flow {
    const { packetsPerSecond: rate, now, onHeld } = this.options;
    const bucket: Bucket = { tokens: rate * BURST_SECONDS, at: now() };
    this.buckets.set(connection, bucket);
    const allowance = () => {
      if (rate === 0) return Number.POSITIVE_INFINITY;
      const at = now();
      const gained = (Math.max(0, at - bucket.at) / 1000) * rate;
      bucket.tokens = Math.min(rate * BURST_SECONDS, bucket.tokens + gained);
      bucket.at = at;
      return Math.max(0, Math.floor(bucket.tokens));
    };
    const rated = { allowance };
    return {
      holds: () => {
        if (connection.writableNeedDrain) return true;
        const before = this.holds.count;
        const holds = this.holds.holds(connection, rated);
        if (this.holds.count > before) onHeld();
        return holds;
      },
      allowance,
      onOthers: (packets) => this.spend(connection, packets),
      end: () => this.holds.forget(connection),
    };
  }

  /** Takes packets, or parts of one, from the bucket of a connection. */
  spend(connection: Duplex, packets: number): void {
    const bucket = this.buckets.get(connection);
    if (bucket !== undefined) bucket.tokens -= packets;
  }

  stop(): void {
    this.holds.stop();
  }
}
