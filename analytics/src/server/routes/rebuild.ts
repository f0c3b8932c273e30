/** `/v1/rebuild`: fills a second embedded store and puts it in the place of the present one. `fieldproof rebuild` uses it. */
import type { RebuildableStore } from '../../rebuild/rebuildable-store.ts';
import { MAX_BODY_BYTES } from '../../store/time-series-store.ts';
import type { RouteGroup } from '../context.ts';
import { BEARER, jsonResponse, objectOf, problemResponses } from '../schemas.ts';

const PROFILES = objectOf({ profiles: { type: 'array', items: { type: 'string' } } });

/** The route group over `store`. */
export function rebuildRoutes(store: RebuildableStore): RouteGroup {
  return ({ requireScope, log }) => {
    const onRequest = requireScope('admin');
    const schema = (summary: string) => ({
      tags: ['operation'],
      summary,
      security: BEARER,
      response: {
        204: { description: 'Done', type: 'null' },
        ...problemResponses(400, 401, 403, 409, 503),
      },
    });
    return async (app) => {
      app.removeAllContentTypeParsers();
      app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) =>
        done(null, body),
      );
      app.post(
        '/v1/rebuild',
        {
          onRequest,
          schema: {
            ...schema('Begin a rebuild; one that was begun before is given up'),
            response: {
              200: jsonResponse('Profiles of the present store', PROFILES, { profiles: ['air'] }),
              ...problemResponses(400, 401, 403, 503),
            },
          },
        },
        async () => {
          log.info('rebuild: begun');
          return { profiles: await store.begin() };
        },
      );
      app.post<{ Body: Buffer | undefined }>(
        '/v1/rebuild/write',
        { onRequest, bodyLimit: MAX_BODY_BYTES, schema: schema('Lines in µs for the new store') },
        async ({ body }, reply) => {
          await store.writeRebuilt(body ?? Buffer.alloc(0), { precision: 'u' });
          return reply.code(204).send();
        },
      );
      app.post(
        '/v1/rebuild/hold',
        { onRequest, schema: schema('Let writes into the present store wait, for 30 s at most') },
        async (_request, reply) => {
          await store.hold();
          return reply.code(204).send();
        },
      );
      app.post<{ Querystring: { force?: boolean } }>(
        '/v1/rebuild/commit',
        {
          onRequest,
          schema: {
            ...schema('Put the new store in the place of the present one'),
            querystring: {
              type: 'object',
              additionalProperties: false,
              properties: { force: { type: 'boolean' } },
            },
          },
        },
        async ({ query }, reply) => {
          await store.commit({ force: query.force === true });
          log.info('rebuild: the new store is in place');
          return reply.code(204).send();
        },
      );
      app.delete(
        '/v1/rebuild',
        { onRequest, schema: schema('Give the rebuild up') },
        async (_request, reply) => {
          await store.abort();
          return reply.code(204).send();
        },
      );
    };
  };
}
