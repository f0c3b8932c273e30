/** `GET /healthz` (the process answers) and `GET /readyz` (it can serve data). No token needed. */
import { AnalyticsError } from '../../errors.ts';
import type { RouteGroup } from '../context.ts';
import { jsonResponse, objectOf, problemResponses } from '../schemas.ts';

const OK = objectOf({ ok: { type: 'boolean', const: true } });

export const healthRoutes: RouteGroup = ({ store }) => {
  return async (app) => {
    app.get(
      '/healthz',
      {
        logLevel: 'warn',
        schema: {
          tags: ['health'],
          summary: 'Whether the process answers',
          security: [],
          response: { 200: jsonResponse('It does', OK, { ok: true }), ...problemResponses() },
        },
      },
      async () => ({ ok: true }),
    );
    app.get(
      '/readyz',
      {
        logLevel: 'warn',
        schema: {
          tags: ['health'],
          summary: 'Whether the store answers',
          security: [],
          response: { 200: jsonResponse('It does', OK, { ok: true }), ...problemResponses(503) },
        },
      },
      async () => {
        const { ok, problem } = await store.ping();
        if (problem?.code === 'ERR_STORE_FULL') throw problem;
        if (!ok) {
          throw new AnalyticsError('ERR_NOT_READY', 'store: does not answer');
        }
        return { ok: true };
      },
    );
  };
};
