/**
 * What a gateway passes on for its leaves besides envelopes: the network's descriptor, its signed time, the renewal of a
 * credential. All of it is signed and bound to a nonce of the leaf, so the gateway need not be trusted; an enrolment
 * token is secret, and not passed on. docs/spec/messages.md 6.6.
 */

import { decode } from '@fieldproof/protocol/cbor';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import type { HttpAnswer } from '../http-call.ts';

/** Longest body of a request. */
export const MAX_PASSED_BYTES = 4096;
/** Under way at the same time, and in a minute: more would use up what the network lets this address ask. */
const MAX_AT_ONCE = 4;
const PER_MINUTE = 60;

const PATHS: Readonly<Record<string, RegExp>> = {
  GET: /^\/v1\/(?:descriptor|hello\?nonce=[A-Za-z0-9_-]{22,43})$/,
  POST: /^\/v1\/enrol$/,
};

export interface Passed {
  readonly status: number;
  readonly body: Uint8Array;
}

export class PassThrough {
  readonly #ask: (method: 'GET' | 'POST', path: string, body?: Uint8Array) => Promise<HttpAnswer>;
  readonly #nowMs: () => number;
  #underWay = 0;
  #left = PER_MINUTE;
  #filledAtMs: number;

  constructor(options: {
    readonly ask: (method: 'GET' | 'POST', path: string, body?: Uint8Array) => Promise<HttpAnswer>;
    readonly nowMs: () => number;
  }) {
    this.#ask = options.ask;
    this.#nowMs = options.nowMs;
    this.#filledAtMs = options.nowMs();
  }

  /** The network's answer; 404 for what is not passed on, 403 for a token, 503 without a network, 429 for too many. */
  async pass(method: string, path: string, body: Uint8Array): Promise<Passed> {
    if (PATHS[method]?.test(path) !== true) return refusal(404);
    if (method === 'POST' && !isWithoutToken(body)) return refusal(403);
    if (this.#underWay >= MAX_AT_ONCE || !this.#take()) return refusal(429);
    this.#underWay += 1;
    try {
      const asked = method === 'POST' ? this.#ask('POST', path, body) : this.#ask('GET', path);
      const { status, body: answer } = await asked;
      return { status, body: answer };
    } catch {
      return refusal(503);
    } finally {
      this.#underWay -= 1;
    }
  }

  #take(): boolean {
    const nowMs = this.#nowMs();
    const gained = (Math.max(0, nowMs - this.#filledAtMs) * PER_MINUTE) / 60_000;
    this.#left = Math.min(PER_MINUTE, this.#left + gained);
    this.#filledAtMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}

function isWithoutToken(request: Uint8Array): boolean {
  try {
    const body = decode(parseEnvelope(request).payload);
    return body instanceof Map && body.get('token') === null;
  } catch {
    return false;
  }
}

function refusal(status: number): Passed {
  return { status, body: new Uint8Array(0) };
}
