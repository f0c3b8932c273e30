/**
 * Problem details (RFC 9457) for every failure of the API, with the stable members `code` and `remedy`.
 *
 * Errors of our packages carry a code; the framework's are translated to ours here. What nobody
 * foresaw becomes ERR_INTERNAL and says nothing about the inside; the log has it under the request id.
 */
import { type ErrorRow, FieldproofError, PROTOCOL_ERRORS } from '@fieldproof/protocol/errors';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ANALYTICS_ERRORS, type AnalyticsErrorCode } from '../errors.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** RFC 9457 section 3.1, and our extension members. */
export interface Problem {
  /** `urn:fieldproof:error:<code>`. */
  readonly type: string;
  /** The code's sentence from the error table: the same for every occurrence. */
  readonly title: string;
  readonly status: number;
  /** What was wrong with this request. */
  readonly detail: string;
  /** `urn:fieldproof:request:<request id>`. */
  readonly instance: string;
  readonly code: string;
  readonly remedy: string;
  /** The detail again, under the name where InfluxDB clients look for it; only from a write. */
  readonly error?: string;
}

/** A package's error rows, and the status of those that a client can cause. */
export interface ErrorTable {
  readonly rows: Readonly<Record<string, ErrorRow>>;
  /** Codes that are missing here are 500. */
  readonly statuses: Readonly<Record<string, number>>;
}

const STATUSES: Partial<Record<AnalyticsErrorCode, number>> = {
  ERR_LINE_SYNTAX: 400,
  ERR_STORE_UNAVAILABLE: 503,
  ERR_STORE_FULL: 503,
  ERR_STORE_CLOSED: 503,
  ERR_STORE_LINES_REFUSED: 400,
  ERR_STORE_FIELD_TYPE: 400,
  ERR_STORE_SERIES_BUDGET: 400,
  ERR_STORE_BODY_TOO_LARGE: 413,
  ERR_STORE_AUTH: 502,
  ERR_STORE_QUERY: 400,
  ERR_STORE_LIMIT: 400,
  ERR_ROUTE_UNKNOWN: 404,
  ERR_METHOD_NOT_ALLOWED: 405,
  ERR_REQUEST_INVALID: 400,
  ERR_REQUEST_TOO_LARGE: 413,
  ERR_MEDIA_TYPE: 415,
  ERR_NOT_READY: 503,
  ERR_INTERNAL: 500,
  ERR_TOKEN_MISSING: 401,
  ERR_TOKEN_UNKNOWN: 401,
  ERR_TOKEN_EXPIRED: 401,
  ERR_TOKEN_SCOPE: 403,
  ERR_TOKEN_NAME: 404,
  ERR_CONFIG_DEVICE: 404,
  ERR_CONFIG_UNAVAILABLE: 503,
  ERR_CONFIG_CONFLICT: 409,
  ERR_REBUILD_NONE: 409,
  ERR_REBUILD_INCOMPLETE: 409,
};

export const ANALYTICS_ERROR_TABLE: ErrorTable = { rows: ANALYTICS_ERRORS, statuses: STATUSES };

/** Mistakes in settings for devices, which the device would find alike. */
export const CONFIG_ERROR_TABLE: ErrorTable = {
  rows: PROTOCOL_ERRORS,
  statuses: { ERR_CONFIG_INVALID: 400 },
};

/** Statuses of the framework's own errors that have a code of ours. */
const FRAMEWORK_CODES: Readonly<Record<number, AnalyticsErrorCode>> = {
  400: 'ERR_REQUEST_INVALID',
  404: 'ERR_ROUTE_UNKNOWN',
  405: 'ERR_METHOD_NOT_ALLOWED',
  413: 'ERR_REQUEST_TOO_LARGE',
  414: 'ERR_REQUEST_TOO_LARGE',
  415: 'ERR_MEDIA_TYPE',
  503: 'ERR_NOT_READY',
};

/**
 * The problem that `error` is to a client.
 *
 * @param tables - searched in order for the error's code.
 */
export function problemOf(
  error: unknown,
  requestId: string,
  tables: readonly ErrorTable[],
): Problem {
  if (error instanceof FieldproofError) {
    for (const { rows, statuses } of tables) {
      const row = rows[error.code];
      const status = statuses[error.code];
      if (row !== undefined && status !== undefined && status !== 500) {
        return build(error.code, row, { status, detail: error.message, requestId });
      }
    }
  }
  const { statusCode: status, message } = error as FastifyError;
  const code = status === undefined ? undefined : FRAMEWORK_CODES[status];
  if (status !== undefined && code !== undefined && typeof message === 'string') {
    return build(code, ANALYTICS_ERRORS[code], { status, detail: message, requestId });
  }
  const detail = 'internal error: the cause is in the log of the control process';
  return build('ERR_INTERNAL', ANALYTICS_ERRORS.ERR_INTERNAL, { status: 500, detail, requestId });
}

/** Sends `error` as the answer to `request`. */
export function sendProblem(error: unknown, { request, reply, tables }: Answering): FastifyReply {
  const problem = problemOf(error, request.id, tables);
  if (problem.status === 500) request.log.error({ err: error }, 'request failed');
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="fieldproof"');
  if (problem.status === 503) reply.header('retry-after', '1');
  const write = request.routeOptions.url?.endsWith('/write') === true;
  return reply
    .code(problem.status)
    .type(PROBLEM_TYPE)
    .serializer(JSON.stringify)
    .send(write ? { ...problem, error: problem.detail } : problem);
}

export interface Answering {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly tables: readonly ErrorTable[];
}

/** Makes every error of `app`, unknown paths and methods included, a problem. */
export function installProblems(app: FastifyInstance, tables: readonly ErrorTable[]): void {
  const routes: { readonly pattern: RegExp; readonly methods: readonly string[] }[] = [];
  app.addHook('onRoute', ({ url, method }) => {
    const pattern = new RegExp(
      `^${url.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/:\w+/g, '[^/]+')}$`,
    );
    routes.push({ pattern, methods: [method].flat() });
  });
  app.setErrorHandler((error, request, reply) => sendProblem(error, { request, reply, tables }));
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0]!;
    const allowed = routes.filter((route) => route.pattern.test(path)).flatMap((r) => r.methods);
    const known = allowed.length > 0 && !allowed.includes(request.method);
    if (known) reply.header('allow', [...new Set(allowed)].sort().join(', '));
    const statusCode = known ? 405 : 404;
    const what = known ? `method ${request.method}: not for this path` : 'path: there is none such';
    return sendProblem({ statusCode, message: what }, { request, reply, tables });
  });
}

function build(
  code: string,
  row: ErrorRow,
  { status, detail, requestId }: { status: number; detail: string; requestId: string },
): Problem {
  return {
    type: `urn:fieldproof:error:${code}`,
    title: row.what,
    status,
    detail,
    instance: `urn:fieldproof:request:${requestId}`,
    code,
    remedy: row.remedy,
  };
}
