/** Problem details (RFC 9457) for every error: code, remedy, status. */

import { FieldproofError } from '@fieldproof/protocol/errors';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { BrokerError, type BrokerErrorCode, rowOf } from '../errors.ts';

const STATUS: Readonly<Record<string, number>> = {
  ERR_NOT_FOUND: 404,
  ERR_DEVICE_UNKNOWN: 404,
  ERR_UNAUTHORIZED: 401,
  ERR_ADMIN_LOCAL: 403,
  ERR_SCOPE: 403,
  ERR_OUTLIVES: 403,
  ERR_NONCE_INVALID: 401,
  ERR_TOKEN_INVALID: 403,
  ERR_SUSPENDED: 403,
  ERR_DEVICE_OWNED: 409,
  ERR_KEY_IN_USE: 409,
  ERR_KEY_RETIRED: 409,
  ERR_FIRST_BOOT: 409,
  ERR_TOO_MANY_KEYS: 409,
  ERR_STANDING: 409,
  ERR_APPEAL_CLOSED: 409,
  ERR_DELEGATION_STALE: 409,
  ERR_DESCRIPTOR_REFUSED: 409,
  ERR_INDEX_RANGE: 416,
  ERR_METHOD: 405,
  ERR_UPGRADE: 426,
  ERR_RATE_LIMIT: 429,
  ERR_ROTATION_RATE: 429,
  ERR_DELEGATION_RATE: 429,
  ERR_TOO_LARGE: 413,
  ERR_REQUEST_TOO_LARGE: 413,
  ERR_LOG_FULL: 503,
  ERR_NOT_READY: 503,
  ERR_REGISTRY_DATABASE: 503,
  ERR_DISK_LOW: 503,
  ERR_LOG_CORRUPT: 500,
  ERR_INTERNAL: 500,
  ERR_KEY_FILE: 500,
};

/** Of what the framework refuses by itself. */
const CODES: Readonly<Record<number, BrokerErrorCode>> = {
  404: 'ERR_NOT_FOUND',
  413: 'ERR_REQUEST_TOO_LARGE',
};

export interface Problem {
  readonly type: 'about:blank';
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly remedy: string;
}

/** The problem that an error is to the client; what is not ours is ERR_INTERNAL without its message. */
export function problemOf(error: unknown): Problem {
  const known = error instanceof FieldproofError ? error : fromFastify(error as FastifyError);
  const row = rowOf(known.code);
  return {
    type: 'about:blank',
    title: row?.what ?? known.code,
    status: STATUS[known.code] ?? 400,
    code: known.code,
    detail: known.message,
    remedy: row?.remedy ?? '',
  };
}

export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemOf(error);
  // Who asks while it starts or stops is told so; nothing is wrong with that.
  if (problem.code === 'ERR_NOT_READY') request.log.debug({ event: 'not-ready' }, problem.detail);
  else if (problem.status >= 500) request.log.error({ err: error }, 'request failed');
  if (error instanceof BrokerError && error.retryAfterMs !== null) {
    reply.header('retry-after', Math.ceil(error.retryAfterMs / 1000));
  }
  // RFC 9110 section 11.6.1.
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer');
  reply
    .code(problem.status)
    .header('content-type', 'application/problem+json')
    .header('cache-control', 'no-store')
    .send(JSON.stringify(problem));
}

function fromFastify(error: FastifyError): BrokerError {
  const status = error.statusCode ?? 500;
  if (status >= 500) return new BrokerError('ERR_INTERNAL', 'request: failed', { cause: error });
  const code = CODES[status] ?? 'ERR_REQUEST';
  return new BrokerError(code, `request: ${error.message}`, { cause: error });
}
