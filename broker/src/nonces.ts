/**
 * Server nonces: issued without state, used once. docs/spec/identity.md section 4.2.
 *
 * The secret lives as long as the process, so no nonce survives a restart and none can be used again after one.
 * Only nonces in a message whose signature verified are kept, so strangers cannot fill the set.
 */

import { createHmac, timingSafeEqual } from 'node:crypto';
import { NONCE_LIFE_MS, SERVER_NONCE_BYTES } from '@fieldproof/protocol/statements';
import { BrokerError } from './errors.ts';

const SIGNED_BYTES = 16;
/** How far the clock may be set back, as time services do, before it counts as a step. */
const CLOCK_SLACK_MS = 5000;

export interface NonceOptions {
  readonly now: () => number;
  readonly random: (bytes: number) => Uint8Array;
  /** Most nonces kept as used; logins above that within a minute are refused. */
  readonly maxUsed?: number;
}

export class Nonces {
  private secret: Uint8Array;
  private readonly options: NonceOptions;
  private readonly maxUsed: number;
  /** Nonce as text to the time at which it dies; in the order of use. */
  private readonly used = new Map<string, number>();
  /** The latest death of a nonce that is no longer in `used`, and the latest issue of any. */
  private forgotten = Number.NEGATIVE_INFINITY;
  private newest = Number.NEGATIVE_INFINITY;

  constructor(options: NonceOptions) {
    this.options = options;
    this.secret = options.random(32);
    this.maxUsed = options.maxUsed ?? 200_000;
  }

  /** A new nonce, 32 bytes. */
  issue(): Uint8Array {
    this.followClock();
    this.newest = Math.max(this.newest, this.options.now());
    const nonce = Buffer.alloc(SERVER_NONCE_BYTES);
    nonce.writeBigUInt64BE(BigInt(this.options.now()), 0);
    nonce.set(this.options.random(8), 8);
    nonce.set(this.mac(nonce.subarray(0, SIGNED_BYTES)), SIGNED_BYTES);
    return Uint8Array.from(nonce);
  }

  /**
   * Whether a nonce is ours and alive, without using it up.
   *
   * @returns when it was issued, Unix ms.
   * @throws {BrokerError} ERR_NONCE_INVALID.
   */
  check(nonce: Uint8Array): number {
    this.followClock();
    if (nonce.length !== SERVER_NONCE_BYTES) throw invalid('expected 32 bytes');
    const bytes = Buffer.from(nonce.buffer, nonce.byteOffset, nonce.length);
    const mac = this.mac(bytes.subarray(0, SIGNED_BYTES));
    if (!timingSafeEqual(mac, bytes.subarray(SIGNED_BYTES))) throw invalid('not issued here');
    const issuedAt = Number(bytes.readBigUInt64BE(0));
    if (this.options.now() - issuedAt > NONCE_LIFE_MS) throw invalid('expired');
    if (this.used.has(bytes.toString('latin1'))) throw invalid('already used');
    return issuedAt;
  }

  /**
   * Checks a nonce and uses it up. Call it after the signature over the nonce has verified.
   *
   * @returns when it was issued, Unix ms.
   * @throws {BrokerError} ERR_NONCE_INVALID.
   */
  use(nonce: Uint8Array): number {
    const issuedAt = this.check(nonce);
    this.forgetDead();
    if (this.used.size >= this.maxUsed) throw invalid('too many logins, wait a minute');
    this.used.set(Buffer.from(nonce).toString('latin1'), issuedAt + NONCE_LIFE_MS);
    return issuedAt;
  }

  /** Order of use is nearly order of death: stopping at the first live one forgets enough. */
  private forgetDead(): void {
    const now = this.options.now();
    for (const [nonce, dies] of this.used) {
      if (dies >= now) return;
      this.used.delete(nonce);
      this.forgotten = Math.max(this.forgotten, dies);
    }
  }

  /**
   * A clock that steps back would bring nonces to life again whose use is forgotten, and let others live too long:
   * then all that were issued die.
   */
  private followClock(): void {
    const now = this.options.now();
    if (now > this.forgotten && now >= this.newest - CLOCK_SLACK_MS) return;
    this.secret = this.options.random(32);
    this.used.clear();
    this.forgotten = Number.NEGATIVE_INFINITY;
    this.newest = now;
  }

  private mac(bytes: Uint8Array): Uint8Array {
    return createHmac('sha256', this.secret).update(bytes).digest().subarray(0, SIGNED_BYTES);
  }
}

function invalid(why: string): BrokerError {
  return new BrokerError('ERR_NONCE_INVALID', `server nonce: ${why}`);
}
