/** `GET /metrics` for Prometheus: to this machine, or with a token. */

import type { FastifyInstance, FastifyRequest } from 'fastify';
import { isLoopback } from '../loopback.ts';
import { EXPOSITION_TYPE, type Family, formatMetrics } from '../observe/exposition.ts';
import type { Access } from './access.ts';

export interface MetricsRouteOptions {
  readonly access: Access;
  readonly metrics: () => Promise<readonly Family[]>;
}

/** Headers by which a proxy on this machine says that a request comes from elsewhere. */
const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'];

export function addMetricsRoute(app: FastifyInstance, options: MetricsRouteOptions): void {
  app.get('/metrics', async (request, reply) => {
    if (!isFromHere(request)) options.access(request, 'read');
    reply.header('content-type', EXPOSITION_TYPE).header('cache-control', 'no-store');
    return formatMetrics(await options.metrics());
  });
}

/** Whether a request comes from this machine, and not through a proxy on it. */
export function isFromHere(request: FastifyRequest): boolean {
  const address = request.socket.remoteAddress ?? '';
  return isLoopback(address) && FORWARDED.every((name) => request.headers[name] === undefined);
}
