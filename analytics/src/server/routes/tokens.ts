/** `/v1/tokens`: make, list and revoke bearer tokens. Scope admin. */
import type { RouteGroup } from '../context.ts';
import { BEARER, jsonResponse, objectOf, problemResponses, UNIX_MS } from '../schemas.ts';
import {
  DEFAULT_TOKEN_DAYS,
  MAX_TOKEN_DAYS,
  type NewToken,
  SCOPES,
  TOKEN_NAME_PATTERN,
} from '../tokens.ts';

const NAME = { type: 'string', pattern: TOKEN_NAME_PATTERN };
const SCOPE_LIST = {
  type: 'array',
  minItems: 1,
  maxItems: SCOPES.length,
  uniqueItems: true,
  items: { type: 'string', enum: SCOPES },
};
const FIELDS = { name: NAME, scopes: SCOPE_LIST, createdMs: UNIX_MS, expiresMs: UNIX_MS };
const EXAMPLE = {
  name: 'grafana',
  scopes: ['read'],
  createdMs: 1795244400000,
  expiresMs: 1803020400000,
};

export const tokenRoutes: RouteGroup = ({ tokens, requireScope, log }) => {
  return async (app) => {
    app.addHook('onRequest', requireScope('admin'));
    app.get(
      '/v1/tokens',
      {
        schema: {
          tags: ['tokens'],
          summary: 'Tokens by name; their text is nowhere',
          security: BEARER,
          response: {
            200: jsonResponse(
              'Sorted by name',
              objectOf({ tokens: { type: 'array', items: objectOf(FIELDS) } }),
              { tokens: [EXAMPLE] },
            ),
            ...problemResponses(401, 403),
          },
        },
      },
      async () => ({ tokens: tokens.list() }),
    );
    app.post<{ Body: NewToken }>(
      '/v1/tokens',
      {
        schema: {
          tags: ['tokens'],
          summary: 'Make a token; its text is shown this once',
          security: BEARER,
          body: {
            type: 'object',
            additionalProperties: false,
            required: ['name', 'scopes'],
            properties: {
              name: NAME,
              scopes: SCOPE_LIST,
              days: {
                type: 'integer',
                minimum: 1,
                maximum: MAX_TOKEN_DAYS,
                default: DEFAULT_TOKEN_DAYS,
              },
            },
            examples: [{ name: 'grafana', scopes: ['read'], days: 90 }],
          },
          response: {
            201: jsonResponse('Made', objectOf({ ...FIELDS, token: { type: 'string' } }), {
              ...EXAMPLE,
              token: 'fpt_Zm9yIGV4YW1wbGUgb25seSwgbm90IGEgdG9rZW4uLi4',
            }),
            ...problemResponses(400, 401, 403, 404, 413, 415),
          },
        },
      },
      async ({ body }, reply) => {
        const made = await tokens.create(body);
        log.info({ token: made.name, scopes: made.scopes }, 'token created');
        return reply.code(201).send(made);
      },
    );
    app.delete<{ Params: { name: string } }>(
      '/v1/tokens/:name',
      {
        schema: {
          tags: ['tokens'],
          summary: 'Revoke a token at once',
          security: BEARER,
          params: objectOf({ name: NAME }),
          response: {
            204: { description: 'Revoked', type: 'null' },
            ...problemResponses(400, 401, 403, 404),
          },
        },
      },
      async ({ params }, reply) => {
        await tokens.revoke(params.name);
        log.info({ token: params.name }, 'token revoked');
        return reply.code(204).send();
      },
    );
  };
};
