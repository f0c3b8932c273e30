/** Fields of the JSON bodies of admin requests, checked. */

import type { FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';

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
export function bodyOf(request: FastifyRequest): Readonly<Record<string, unknown>> {
  const body: unknown = request.body ?? {};
  const isMap = typeof body === 'object' && !Array.isArray(body) && !Buffer.isBuffer(body);
  if (isMap) return body as Record<string, unknown>;
  throw new BrokerError('ERR_REQUEST', 'body: expected a JSON object');
}
