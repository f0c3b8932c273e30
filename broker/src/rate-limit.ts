/** Token buckets, one for each name, in bounded memory. Pure but for the clock passed in. */

export interface RateLimit {
  /** Tokens that come back per second; 0 turns the limit off. */
  readonly perSecond: number;
  /** Tokens of a full bucket. */
  readonly burst: number;
}

/** Names remembered; the least recently seen are forgotten, which gives them a full bucket. */
const MAX_NAMES = 50_000;

interface Bucket {
  tokens: number;
  at: number;
}

export class RateLimiter {
  private readonly limit: RateLimit;
  private readonly now: () => number;
  private readonly buckets = new Map<string, Bucket>();
  private count = 0;

  constructor(limit: RateLimit, now: () => number) {
    this.limit = limit;
    this.now = now;
  }

  /** How often there was none, since the start. */
  get refused(): number {
    return this.count;
  }

  /** Whether a name has all its tokens: it has taken none lately. */
  isFull(name: string): boolean {
    const { perSecond, burst } = this.limit;
    const bucket = this.buckets.get(name);
    if (bucket === undefined) return true;
    return bucket.tokens + (Math.max(0, this.now() - bucket.at) / 1000) * perSecond >= burst;
  }

  /** Takes a token. @returns 0 when there was one, else the ms until there is. */
  take(name: string): number {
    const { perSecond, burst } = this.limit;
    if (perSecond === 0) return 0;
    const now = this.now();
    const bucket = this.buckets.get(name) ?? { tokens: burst, at: now };
    const gained = (Math.max(0, now - bucket.at) / 1000) * perSecond;
    bucket.tokens = Math.min(burst, bucket.tokens + gained);
    bucket.at = now;
    this.buckets.delete(name);
    this.buckets.set(name, bucket);
    if (this.buckets.size > MAX_NAMES) this.buckets.delete(this.buckets.keys().next().value!);
    if (bucket.tokens < 1) {
      this.count += 1;
      return Math.ceil(((1 - bucket.tokens) / perSecond) * 1000);
    }
    bucket.tokens -= 1;
    return 0;
  }
}
