/**
 * What is held of packets that have not come whole: bounded in time for each, and in bytes over all connections.
 *
 * A client that is logged in may send half a packet and wait for ever; with many connections that adds up. The largest
 * holder goes first, so that small packets in pieces, which slow links bring, stay.
 */

import type { Readable } from 'node:stream';

export interface HeldLimits {
  /** How long a packet may take from its first byte to its last. */
  readonly packetTimeoutMs: number;
  /** Bytes held over all connections. */
  readonly maxHeldBytes: number;
}

/** What one connection holds after something came. */
export interface Holding {
  /** 0: nothing. */
  readonly bytes: number;
  /** Whether something else was held before. */
  readonly isNew: boolean;
}

/** A connection that holds something. */
export interface Holder {
  readonly connection: Pick<Readable, 'readableLength'>;
  /** Ends it and counts why. */
  endHolder(why: string): void;
}

interface Held {
  bytes: number;
  /** When its packet began. */
  sinceMs: number;
}

/** Looks per timeout: a packet is late by at most this part of it. */
const LOOKS = 8;
/** Above the limit holders are ended until so much of it is in use, so that this is not for each packet. */
const ENOUGH = 7 / 8;

export class HeldPackets {
  private readonly limits: HeldLimits;
  private readonly monotonicMs: () => number;
  /** Those that hold something; connections that do not cost nothing here. */
  private readonly holders = new Map<Holder, Held>();
  private readonly timer: NodeJS.Timeout;
  private total = 0;

  constructor(limits: HeldLimits, monotonicMs: () => number = () => performance.now()) {
    this.limits = limits;
    this.monotonicMs = monotonicMs;
    this.timer = setInterval(() => this.endLate(), limits.packetTimeoutMs / LOOKS).unref();
  }

  /** Bytes held now, over all connections. */
  get bytes(): number {
    return this.total;
  }

  /** A connection holds this now. */
  tell(holder: Holder, { bytes, isNew }: Holding): void {
    if (bytes === 0) {
      this.forget(holder);
      return;
    }
    const before = this.holders.get(holder);
    const held = before ?? { bytes: 0, sinceMs: this.monotonicMs() };
    if (before === undefined) this.holders.set(holder, held);
    else if (isNew) held.sinceMs = this.monotonicMs();
    this.total += bytes - held.bytes;
    held.bytes = bytes;
    if (this.total > this.limits.maxHeldBytes) this.endLargest();
  }

  /** It holds nothing any more, such as when it has closed. */
  forget(holder: Holder): void {
    this.total -= this.holders.get(holder)?.bytes ?? 0;
    this.holders.delete(holder);
  }

  /** Ends those whose packet is late. */
  endLate(): void {
    const nowMs = this.monotonicMs();
    for (const [holder, held] of [...this.holders]) {
      if (nowMs - held.sinceMs <= this.limits.packetTimeoutMs) continue;
      // It has sent more, which we have not read yet: then it is us who are late.
      if (holder.connection.readableLength > 0) held.sinceMs = nowMs;
      else this.end(holder, 'packet not in time');
    }
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private endLargest(): void {
    const enough = this.limits.maxHeldBytes * ENOUGH;
    for (const [holder] of [...this.holders].sort(([, a], [, b]) => b.bytes - a.bytes)) {
      if (this.total <= enough) return;
      this.end(holder, 'held bytes');
    }
  }

  private end(holder: Holder, why: string): void {
    this.forget(holder);
    holder.endHolder(why);
  }
}
