/** Nonces for logins of leaves: issued without state, used once, good for a minute. They die with the process. */

import { createHmac, timingSafeEqual } from 'node:crypto';
import { NONCE_LIFE_MS, SERVER_NONCE_BYTES } from '@fieldproof/protocol/statements';

const SIGNED_BYTES = 16;
/** Logins in a minute; above them nobody is let in. */
const MAX_USED = 4096;

export class LeafNonces {
  readonly #secret: Uint8Array;
  readonly #random: (length: number) => Uint8Array;
  readonly #monotonicMs: () => number;
  /** Nonce to when it dies, in the order of use. */
  readonly #used = new Map<string, number>();

  constructor(options: {
    readonly random: (length: number) => Uint8Array;
    readonly monotonicMs: () => number;
  }) {
    this.#random = options.random;
    this.#monotonicMs = options.monotonicMs;
    this.#secret = options.random(32);
  }

  /** A new nonce, 32 bytes. */
  issue(): Uint8Array {
    const nonce = Buffer.alloc(SERVER_NONCE_BYTES);
    nonce.writeBigUInt64BE(BigInt(Math.floor(this.#monotonicMs())), 0);
    nonce.set(this.#random(8), 8);
    nonce.set(this.#mac(nonce.subarray(0, SIGNED_BYTES)), SIGNED_BYTES);
    return new Uint8Array(nonce);
  }

  /** Uses a nonce up; whether it was good. */
  use(nonce: Uint8Array): boolean {
    const now = this.#monotonicMs();
    for (const [name, dies] of this.#used) {
      if (dies > now) break;
      this.#used.delete(name);
    }
    if (nonce.length !== SERVER_NONCE_BYTES || this.#used.size >= MAX_USED) return false;
    const bytes = Buffer.from(nonce);
    const mac = this.#mac(bytes.subarray(0, SIGNED_BYTES));
    if (!timingSafeEqual(mac, bytes.subarray(SIGNED_BYTES))) return false;
    const name = bytes.toString('hex');
    const age = now - Number(bytes.readBigUInt64BE(0));
    if (age > NONCE_LIFE_MS || this.#used.has(name)) return false;
    this.#used.set(name, now + NONCE_LIFE_MS);
    return true;
  }

  #mac(bytes: Uint8Array): Uint8Array {
    return createHmac('sha256', this.#secret).update(bytes).digest().subarray(0, SIGNED_BYTES);
  }
}
