/** Fields of the JSON bodies of admin requests, checked. */

import type { FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';
import { plainLine } from '../../plain-text.ts';

/** So many unknown members are named, and so much of each; the rest is a number. */
const MAX_NAMED = 4;
const MAX_NAME = 32;

/** @throws {BrokerError} ERR_REQUEST when it is no text, longer, or missing without a fallback. */
export function textIn(
  request: FastifyRequest,
  key: string,
  limits: { readonly fallback?: string; readonly max: number },
): string {
  const value = bodyOf(request)[key] ?? limits.fallback;
  if (typeof value === 'string' && value.length <= limits.max) return value;
  throw new BrokerError('ERR_REQUEST', `${key}: expected text of at most ${limits.max} characters`);
}

/** An integer from 1. @throws {BrokerError} ERR_REQUEST. */
export function integerIn(
  request: FastifyRequest,
  key: string,
  limits: { readonly fallback: number; readonly max: number },
): number {
  const value = bodyOf(request)[key] ?? limits.fallback;
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= limits.max) {
    return value as number;
  }
  throw new BrokerError('ERR_REQUEST', `${key}: expected an integer from 1 to ${limits.max}`);
}

/** The body as a map; empty when there is none. @throws {BrokerError} ERR_REQUEST. */
export function bodyOf({ body }: FastifyRequest): Readonly<Record<string, unknown>> {
  if (body === undefined || (Buffer.isBuffer(body) && body.length === 0)) return {};
  const isMap = typeof body === 'object' && !Array.isArray(body) && !Buffer.isBuffer(body);
  if (isMap && body !== null) return body as Record<string, unknown>;
  throw new BrokerError('ERR_REQUEST', 'body: expected a JSON object');
}

/**
 * Refuses members that a request does not take: one with a slip of the pen would mean another thing without it.
 *
 * @param at - what the members are of, for the message.
 * @throws {BrokerError} ERR_REQUEST, naming them and those that are taken.
 */
export function refuseOthers(map: object, taken: readonly string[], at: string): void {
  const others = Object.keys(map).filter((name) => !taken.includes(name));
  if (others.length === 0) return;
  const named = others.slice(0, MAX_NAMED).map((name) => plainLine(name.slice(0, MAX_NAME)));
  const more = others.length > MAX_NAMED ? ` and ${others.length - MAX_NAMED} more` : '';
  const expected = taken.length === 0 ? 'no members' : `only ${taken.join(', ')}`;
  throw new BrokerError(
    'ERR_REQUEST',
    `${at}: expected ${expected}, got ${named.join(', ')}${more}`,
  );
}
