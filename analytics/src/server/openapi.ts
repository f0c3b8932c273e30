/** The API document: OpenAPI 3.1, made from the routes' own schemas, at `GET /v1/openapi.json`. */
import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import { problemResponses } from './schemas.ts';

const DESCRIPTION = `Readings of a Fieldproof network.

Every failure is a problem document (RFC 9457, application/problem+json) with a stable \`code\` and a \`remedy\`.
Send a bearer token with the scope that the route needs: read, write or admin (which may do everything).
Times are Unix ms in answers; in queries RFC 3339, Unix ms or relative (-1h).`;

/** Starts collecting routes; call before any are added. */
export async function installOpenApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Fieldproof control API',
        description: DESCRIPTION,
        version,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: '/' }],
      tags: [
        { name: 'data', description: 'Readings' },
        { name: 'operation', description: 'State of the network' },
        { name: 'tokens', description: 'Who may call' },
        { name: 'health', description: 'For supervisors' },
        { name: 'dashboard', description: 'The page for people' },
      ],
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
  });
  app.get(
    '/v1/openapi.json',
    {
      schema: {
        tags: ['operation'],
        summary: 'This document',
        security: [],
        response: {
          200: {
            description: 'OpenAPI 3.1',
            content: { 'application/json': { schema: { type: 'object' } } },
          },
          ...problemResponses(),
        },
      },
    },
    async () => app.swagger(),
  );
}
