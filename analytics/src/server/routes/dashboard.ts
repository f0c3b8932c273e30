/** The dashboard's page, icon and bundled files. They hold no data and need no token. */
import type { FastifyReply } from 'fastify';
import type { RouteGroup } from '../context.ts';
import type { DashboardAsset, DashboardAssets } from '../dashboard-assets.ts';
import { problemResponses } from '../schemas.ts';

const FOR_EVER = 'public, max-age=31536000, immutable';

/** The route group that serves `assets`. */
export function dashboardRoutes(assets: DashboardAssets): RouteGroup {
  return () => async (app) => {
    const schema = (summary: string, ...statuses: readonly number[]) => ({
      tags: ['dashboard'],
      summary,
      security: [],
      response: {
        200: { description: 'The file', type: 'string' },
        ...problemResponses(...statuses),
      },
    });
    app.get('/', { schema: schema('The dashboard') }, async (_request, reply) =>
      send(reply, assets.page, 'no-cache'),
    );
    app.get('/favicon.svg', { schema: schema('Its icon') }, async (_request, reply) =>
      send(reply, assets.icon, 'public, max-age=86400'),
    );
    app.get<{ Params: { file: string } }>(
      '/assets/:file',
      { schema: schema('Its script and style', 404) },
      async ({ params }, reply) => {
        const asset = assets.files.get(params.file);
        if (asset === undefined) return reply.callNotFound();
        return send(reply, asset, FOR_EVER);
      },
    );
  };
}

function send(reply: FastifyReply, asset: DashboardAsset, cacheControl: string): FastifyReply {
  return reply.type(asset.type).header('cache-control', cacheControl).send(asset.body);
}
