/** `/healthz`: the process answers. `/readyz`: it can do its work, or every reason why not. */

import type { FastifyInstance } from 'fastify';
import { BrokerError, rowOf } from '../errors.ts';
import type { Health } from '../observe/health.ts';
import { problemOf } from './problem.ts';

export interface HealthRoutesOptions {
  readonly health: Pick<Health, 'reasons' | 'warnings' | 'problems'>;
}

/** Paths that are answered while the broker starts and stops. */
export const ALWAYS_ANSWERED: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

export function addHealthRoutes(app: FastifyInstance, { health }: HealthRoutesOptions): void {
  app.get('/healthz', async () => ({ ok: true }));

  app.get('/readyz', async (_request, reply) => {
    const reasons = await health.reasons();
    reply.header('cache-control', 'no-store');
    if (reasons.length === 0) {
      const warnings = await health.warnings();
      return { ready: true, ...(warnings.length > 0 && { warnings }) };
    }
    const detail = reasons.map((reason) => reason.detail).join('; ');
    const [first] = reasons;
    reply.code(503).header('retry-after', 5).header('content-type', 'application/problem+json');
    const { code, remedy } = first!;
    const problem = problemOf(new BrokerError('ERR_NOT_READY', detail));
    const title = rowOf(code)?.what ?? problem.title;
    return JSON.stringify({ ...problem, title, code, remedy, reasons });
  });
}
