/**
 * How much a device, and all devices of an owner, may send: token buckets for messages and bytes, judged before
 * anything is verified. docs/spec/settlement.md sections 1.3 and 1.6.
 *
 * A message that is too many is refused with a signed notice, of which there are few a second; for the rest
 * `allowance` says how much may be taken in, and what is above that stays unread in the connection
 * (`mqtt/rate-holds.ts`). So a flood costs the broker a fixed number of signatures, and the flooder its own throughput.
 */

import type { Fault } from './rules.ts';

export interface RateLimits {
  /** Messages a second; ten times as much in a burst; 0 lifts the limit. */
  readonly deviceMessagesPerSecond: number;
  /** Bytes of envelopes a second; sixteen times as much in a burst; 0 lifts the limit. */
  readonly deviceBytesPerSecond: number;
  /** As of a device, for all devices of one owner together. */
  readonly ownerMessagesPerSecond: number;
}

/** What a session keeps, so that a message costs no look-up. */
export interface Rated {
  readonly deviceId: string;
  rate?: Rate;
}

export interface Rate {
  readonly device: DeviceBucket;
  owner: Bucket | null;
  ownerName: string | null;
}

export interface RateRefusal extends Fault {
  readonly retryAfterMs: number;
}

interface Bucket {
  messages: number;
  at: number;
}

interface DeviceBucket extends Bucket {
  bytes: number;
  /** Messages that may yet be refused; below 0 nothing is read. */
  refusals: number;
  /** Signed refusals that this device may cause at once. */
  notices: number;
}

const BURST_SECONDS = 10;
/**
 * The part of a rate that may be refused for what it is: each of those costs a check, and the signature of its reject.
 * There is no burst of them, but for those of one second.
 */
const REFUSED_PART = 0.1;
/** How long a sender of refused messages waits at most. */
const MAX_DEBT_SECONDS = 10;
const BYTES_BURST_SECONDS = 16;
/** Signed refusals of one device: a sender that honours them needs one a second. */
const DEVICE_NOTICES = { perSecond: 10, burst: 10 };
/** Of all devices together: signing them takes half a per cent of a core. */
const TOTAL_NOTICES = { perSecond: 200, burst: 1000 };
/** A refused sender waits until this much of the rate is there again, or it would ask for every single message. */
const RETRY_MS = 1000;
/** Buckets remembered of each kind; the oldest are forgotten, which fills them. */
const MAX_BUCKETS = 50_000;

export class Rates {
  private readonly limits: RateLimits;
  private readonly ownerOf: (deviceId: string) => string | null;
  private readonly now: () => number;
  private readonly devices = new Map<string, DeviceBucket>();
  private readonly owners = new Map<string, Bucket>();
  private readonly total = { notices: TOTAL_NOTICES.burst, at: Number.NEGATIVE_INFINITY };

  constructor(
    limits: RateLimits,
    options: {
      /** Owner of a device, null when it has none: its devices share a rate. */
      readonly ownerOf: (deviceId: string) => string | null;
      readonly now: () => number;
    },
  ) {
    this.limits = limits;
    this.ownerOf = options.ownerOf;
    this.now = options.now;
  }

  /**
   * Takes one message of `bytes` bytes. A large one is taken as soon as any bytes are left, and the next waits longer.
   *
   * @returns null when it may pass; else nothing is taken but one of the signed refusals.
   */
  take(rated: Rated, bytes: number): RateRefusal | null {
    const { deviceMessagesPerSecond, deviceBytesPerSecond, ownerMessagesPerSecond } = this.limits;
    const { device, owner } = this.refilled(rated);
    if (deviceMessagesPerSecond > 0 && device.messages < 1) {
      return this.refuse(device, 'ERR_RATE_DEVICE', {
        what: `${deviceMessagesPerSecond} messages`,
        waitMs: (1000 * (1 - device.messages)) / deviceMessagesPerSecond,
      });
    }
    if (deviceBytesPerSecond > 0 && device.bytes <= 0) {
      return this.refuse(device, 'ERR_RATE_DEVICE', {
        what: `${deviceBytesPerSecond} bytes`,
        waitMs: (1000 * -device.bytes) / deviceBytesPerSecond,
      });
    }
    if (ownerMessagesPerSecond > 0 && owner !== null && owner.messages < 1) {
      return this.refuse(device, 'ERR_RATE_OWNER', {
        what: `${ownerMessagesPerSecond} messages from all devices of an owner`,
        waitMs: (1000 * (1 - owner.messages)) / ownerMessagesPerSecond,
      });
    }
    device.messages -= 1;
    device.bytes -= bytes;
    if (owner !== null) owner.messages -= 1;
    return null;
  }

  /** Counts packets that are no messages, such as PINGREQ: they have no verdict, but take as much of the rate. */
  spend(rated: Rated, packets: number): void {
    this.refilled(rated).device.messages -= packets;
  }

  /**
   * Counts a message that was taken and then refused by the sender's own fault, such as a forged one. Of these a device
   * has a tenth of its rate; for its owner's rate one counts as ten. So a flood of them costs a tenth of what good
   * messages may, and its sender waits.
   */
  refused(rated: Rated): void {
    const { deviceMessagesPerSecond, ownerMessagesPerSecond } = this.limits;
    const { device, owner } = this.refilled(rated);
    const part = REFUSED_PART * deviceMessagesPerSecond;
    device.refusals = Math.max(-MAX_DEBT_SECONDS * part, device.refusals - 1);
    if (owner === null) return;
    const least = -MAX_DEBT_SECONDS * ownerMessagesPerSecond;
    owner.messages = Math.max(least, owner.messages - (1 / REFUSED_PART - 1));
  }

  /**
   * How many packets a device may hand in now, those included that would be refused with a signed notice;
   * 0 while its connection is to be left unread.
   */
  allowance(rated: Rated): number {
    const { deviceMessagesPerSecond, deviceBytesPerSecond, ownerMessagesPerSecond } = this.limits;
    const { device, owner } = this.refilled(rated);
    let passing = Number.POSITIVE_INFINITY;
    if (deviceMessagesPerSecond > 0) {
      if (device.refusals < 0) return 0;
      passing = device.messages;
    }
    if (ownerMessagesPerSecond > 0 && owner !== null) passing = Math.min(passing, owner.messages);
    if (deviceBytesPerSecond > 0 && device.bytes <= 0) passing = Math.min(passing, 0);
    const notices = Math.max(0, Math.min(device.notices, this.total.notices));
    // Below 0 is what packets without a verdict took beyond it.
    return Math.max(0, Math.floor(passing + notices));
  }

  private refuse(
    device: DeviceBucket,
    code: 'ERR_RATE_DEVICE' | 'ERR_RATE_OWNER',
    { what, waitMs }: { readonly what: string; readonly waitMs: number },
  ): RateRefusal {
    device.notices -= 1;
    this.total.notices -= 1;
    const message = `rate: expected at most ${what} a second`;
    return { code, message, retryAfterMs: Math.ceil(waitMs) + RETRY_MS };
  }

  /** The buckets of a session, with what has come back since they were last looked at. */
  private refilled(rated: Rated): Rate {
    const now = this.now();
    const owner = this.ownerOf(rated.deviceId);
    rated.rate ??= this.rateOf(rated.deviceId);
    const { rate } = rated;
    if (rate.ownerName !== owner) {
      rate.ownerName = owner;
      rate.owner = owner === null ? null : this.ownerBucket(owner);
    }
    this.refillDevice(rate.device, now);
    if (rate.owner !== null) this.refillOwner(rate.owner, now);
    if (this.total.at !== now) {
      const { perSecond, burst } = TOTAL_NOTICES;
      this.total.notices = refill(this.total.notices, perSecond * since(this.total, now), burst);
      this.total.at = now;
    }
    return rate;
  }

  private refillDevice(bucket: DeviceBucket, now: number): void {
    if (bucket.at === now) return;
    const { deviceMessagesPerSecond: messages, deviceBytesPerSecond: bytes } = this.limits;
    const seconds = since(bucket, now);
    const { perSecond, burst } = DEVICE_NOTICES;
    bucket.messages = refill(bucket.messages, messages * seconds, messages * BURST_SECONDS);
    bucket.bytes = refill(bucket.bytes, bytes * seconds, bytes * BYTES_BURST_SECONDS);
    bucket.notices = refill(bucket.notices, perSecond * seconds, burst);
    const refusals = REFUSED_PART * messages;
    bucket.refusals = refill(bucket.refusals, refusals * seconds, refusals);
    bucket.at = now;
  }

  private refillOwner(bucket: Bucket, now: number): void {
    if (bucket.at === now) return;
    const { ownerMessagesPerSecond: messages } = this.limits;
    const gained = messages * since(bucket, now);
    bucket.messages = refill(bucket.messages, gained, messages * BURST_SECONDS);
    bucket.at = now;
  }

  /** A new session finds the bucket of the one before: ending a connection fills nothing. */
  private rateOf(deviceId: string): Rate {
    const { deviceMessagesPerSecond: messages, deviceBytesPerSecond: bytes } = this.limits;
    const device = this.devices.get(deviceId) ?? {
      messages: messages * BURST_SECONDS,
      bytes: bytes * BYTES_BURST_SECONDS,
      notices: DEVICE_NOTICES.burst,
      refusals: REFUSED_PART * messages,
      at: this.now(),
    };
    remember(this.devices, deviceId, device);
    return { device, owner: null, ownerName: null };
  }

  private ownerBucket(owner: string): Bucket {
    const bucket = this.owners.get(owner) ?? {
      messages: this.limits.ownerMessagesPerSecond * BURST_SECONDS,
      at: this.now(),
    };
    remember(this.owners, owner, bucket);
    return bucket;
  }
}

function remember<T>(buckets: Map<string, T>, name: string, bucket: T): void {
  buckets.delete(name);
  buckets.set(name, bucket);
  if (buckets.size > MAX_BUCKETS) buckets.delete(buckets.keys().next().value!);
}

/** Seconds since a bucket was looked at; none when the clock was set back. */
function since(bucket: { readonly at: number }, now: number): number {
  return Math.max(0, now - bucket.at) / 1000;
}

function refill(tokens: number, gained: number, burst: number): number {
  return Math.min(burst, tokens + gained);
}
