/** `/v1/rebuild`: fills a second embedded store and puts it in the place of the present one. `fieldproof rebuild` uses it. */
import type { RebuildableStore } from '../../rebuild/rebuildable-store.ts';
import { MAX_BODY_BYTES } from '../../store/time-series-store.ts';
import type { RouteGroup } from '../context.ts';
import { BEARER, jsonResponse, objectOf, problemResponses } from '../schemas.ts';

const BEGUN = objectOf({
  id: { type: 'string' },
  profiles: { type: 'array', items: { type: 'string' } },
});
/** As `POST /v1/rebuild` gave it: ERR_REBUILD_NONE when another rebuild has begun since. */
const ID = { type: 'string', maxLength: 64 } as const;
const OF_REBUILD = { type: 'object', properties: { id: ID } } as const;

interface OfRebuild {
  readonly id?: string;
}

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
              200: jsonResponse('Its name, and profiles of the present store', BEGUN, {
                id: '9b2f1c3e-0d7a-4c55-8a31-6f0e2b7d4c10',
                profiles: ['air'],
              }),
              ...problemResponses(400, 401, 403, 503),
            },
          },
        },
        async () => {
          log.info('rebuild: begun');
          return await store.begin();
        },
      );
      app.post<{ Body: Buffer | undefined; Querystring: OfRebuild }>(
        '/v1/rebuild/write',
        {
          ...{ onRequest, bodyLimit: MAX_BODY_BYTES },
          schema: { ...schema('Lines in µs for the new store'), querystring: OF_REBUILD },
        },
        async ({ body, query: { id } }, reply) => {
          await store.writeRebuilt(body ?? Buffer.alloc(0), { id, precision: 'u' });
          return reply.code(204).send();
        },
      );
      app.post<{ Querystring: OfRebuild }>(
        '/v1/rebuild/hold',
        {
          onRequest,
          schema: {
            ...schema('Let writes into the present store wait, for 30 s at most'),
            querystring: OF_REBUILD,
          },
        },
        async ({ query }, reply) => {
          await store.hold(query.id);
          return reply.code(204).send();
        },
      );
      app.post<{ Querystring: OfRebuild & { readonly force?: boolean } }>(
        '/v1/rebuild/commit',
        {
          onRequest,
          schema: {
            ...schema('Put the new store in the place of the present one'),
            querystring: {
              type: 'object',
              additionalProperties: false,
              properties: { id: ID, force: { type: 'boolean' } },
            },
          },
        },
        async ({ query }, reply) => {
          await store.commit({ id: query.id, force: query.force === true });
          log.info('rebuild: the new store is in place');
          return reply.code(204).send();
        },
      );
      app.delete<{ Querystring: OfRebuild }>(
        '/v1/rebuild',
        { onRequest, schema: { ...schema('Give the rebuild up'), querystring: OF_REBUILD } },
        async ({ query }, reply) => {
          await store.abort(query.id);
          return reply.code(204).send();
        },
      );
    };
  };
}
