/**
 * Bytes that clients of the plain profile were sent and have not taken: how many one may have, and all together.
 *
 * One may have as much as is left for all, at most its own bound: so those who read slowly leave room for the others,
 * and all together have no more than their bound and one packet. When who has taken everything finds no room all the
 * same, whoever has been behind for longest goes.
 */

export interface UnsentLimits {
  /** Of one connection. */
  readonly maxUnsentBytes: number;
  /** Of all together. */
  readonly plainMaxUnsentTotalBytes: number;
  readonly drainTimeoutMs: number;
}

export interface UnsentOptions {
  readonly limits: UnsentLimits;
  readonly now: () => number;
  /** A connection has to wait for others. */
  readonly onFull: () => void;
}

/** A connection to which something is written. */
export interface UnsentHolder {
  /** What it has not taken, as it was last told. */
  unsentBytes: number;
  /** There is room again for what it was refused. */
  onRoom(): void;
  /** It has to go: it has been behind for too long, and others need the room. */
  onSlow(): void;
}

/** What part of `drainTimeoutMs` one may be behind while others need the room. */
const PATIENCE = 1 / 6;

export class Unsent {
  private readonly options: UnsentOptions;
  private readonly waiting = new Set<UnsentHolder>();
  /** Who has not taken everything, and since when; the longest first. */
  private readonly behind = new Map<UnsentHolder, number>();
  private isWaking = false;
  private timer: NodeJS.Timeout | undefined;
  private sum = 0;

  constructor(options: UnsentOptions) {
    this.options = options;
  }

  get bytes(): number {
    return this.sum;
  }

  /** Whether a connection may be sent more; where others have taken the room, it is told when there is some. */
  mayTake(holder: UnsentHolder): boolean {
    const { maxUnsentBytes, plainMaxUnsentTotalBytes } = this.options.limits;
    // It is told by its own stream.
    if (holder.unsentBytes > maxUnsentBytes) return false;
    if (holder.unsentBytes < plainMaxUnsentTotalBytes - this.sum) return true;
    if (!this.waiting.has(holder)) {
      this.waiting.add(holder);
      this.options.onFull();
    }
    if (holder.unsentBytes === 0) this.makeRoom();
    return false;
  }

  /** Tells what a connection has not taken now. */
  tell(holder: UnsentHolder, bytes: number): void {
    const freed = holder.unsentBytes - bytes;
    if (freed === 0) return;
    if (bytes === 0) this.behind.delete(holder);
    else if (holder.unsentBytes === 0) this.behind.set(holder, this.options.now());
    holder.unsentBytes = bytes;
    this.sum -= freed;
    if (freed > 0 && this.waiting.size > 0) this.wakeSoon();
  }

  /** A connection is gone. */
  forget(holder: UnsentHolder): void {
    this.waiting.delete(holder);
    this.tell(holder, 0);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.waiting.clear();
  }

  /** Ends those who have been behind for too long, or looks again when one has. */
  private makeRoom(): void {
    const { limits, now } = this.options;
    const patienceMs = limits.drainTimeoutMs * PATIENCE;
    for (const [holder, since] of this.behind) {
      if (this.sum < limits.plainMaxUnsentTotalBytes) return;
      const leftMs = since + patienceMs - now();
      if (leftMs > 0) {
        this.timer ??= setTimeout(() => this.wake(), leftMs + 1).unref();
        return;
      }
      this.forget(holder);
      holder.onSlow();
    }
  }

  private wakeSoon(): void {
    if (this.isWaking) return;
    this.isWaking = true;
    setImmediate(() => this.wake());
  }

  /** Those who have waited longest go first; who finds no room waits again. */
  private wake(): void {
    this.isWaking = false;
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const holder of [...this.waiting]) {
      this.waiting.delete(holder);
      holder.onRoom();
      if (this.sum >= this.options.limits.plainMaxUnsentTotalBytes) return;
    }
  }
}
