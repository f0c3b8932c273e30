/** `PUT /v1/projection/<name>`: a projection says how far it is; `GET /v1/status` shows it. */
import type { RouteGroup } from '../context.ts';
import type { ProjectionBoard, ProjectionReport } from '../projection-board.ts';
import { BEARER, nullable, problemResponses } from '../schemas.ts';

/** The route group that fills `board`. */
export function projectionRoutes(board: ProjectionBoard): RouteGroup {
  return ({ requireScope }) =>
    async (app) => {
      app.put<{ Params: { name: string }; Body: ProjectionReport }>(
        '/v1/projection/:name',
        {
          onRequest: requireScope('write'),
          schema: {
            tags: ['operation'],
            summary: 'Report how far a projection is',
            security: BEARER,
            params: {
              type: 'object',
              required: ['name'],
              properties: { name: { type: 'string', pattern: '^[A-Za-z0-9._-]{1,64}$' } },
            },
            body: {
              type: 'object',
              required: ['nextIndex', 'oldestUnstoredMs'],
              properties: {
                nextIndex: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
                oldestUnstoredMs: { type: ['number', 'null'] },
                waiting: { type: 'integer', minimum: 0 },
                connected: { type: 'boolean' },
                problem: nullable('object', {
                  required: ['code', 'message', 'remedy'],
                  properties: {
                    code: { type: 'string', maxLength: 64 },
                    message: { type: 'string', maxLength: 1000 },
                    remedy: { type: 'string', maxLength: 1000 },
                  },
                }),
              },
              examples: [{ nextIndex: 20211, oldestUnstoredMs: 1795244399820 }],
            },
            response: {
              204: { description: 'Taken', type: 'null' },
              ...problemResponses(400, 401, 403, 415),
            },
          },
        },
        async ({ params, body }, reply) => {
          board.put(params.name, body);
          return reply.code(204).send();
        },
      );
    };
}
