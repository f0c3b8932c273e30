/** `GET /v1/devices`: every device of store and registry. */
import type { RouteGroup } from '../context.ts';
import {
  BEARER,
  EXAMPLE_DEVICE,
  jsonResponse,
  nullable,
  objectOf,
  problemResponses,
  UNIX_MS,
} from '../schemas.ts';

const ANSWER = objectOf({
  nowMs: UNIX_MS,
  broker: objectOf({
    ok: { type: 'boolean', description: 'false: names and presence are unknown' },
    detail: { type: 'string' },
  }),
  devices: {
    type: 'array',
    items: objectOf({
      device: { type: 'string' },
      name: nullable('string'),
      owner: nullable('string', { description: 'did:key of the owner' }),
      group: nullable('string'),
      cell: nullable('string', { description: 'H3 cell' }),
      source: nullable('string', { description: 'sensor, replay or simulated' }),
      online: nullable('boolean'),
      lastSeenMs: nullable('number'),
      lastReadingMs: nullable('number'),
      count: { type: 'integer', description: 'values in the store' },
      profiles: nullable('array', {
        items: { type: 'string' },
        description: 'declared by the newest birth; other profiles are derived, as air_1m from air',
      }),
      metrics: {
        type: 'array',
        items: objectOf({
          profile: { type: 'string' },
          metric: { type: 'string' },
          type: { type: 'string', enum: ['float', 'string', 'boolean'] },
          unit: nullable('string', { description: 'SenML unit' }),
        }),
      },
    }),
  },
});

const EXAMPLE = {
  nowMs: 1795244400000,
  broker: { ok: true, detail: '' },
  devices: [
    {
      device: EXAMPLE_DEVICE,
      name: 'roof-east',
      owner: 'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp',
      group: 'weather',
      cell: '871f1d489ffffff',
      source: 'sensor',
      online: true,
      lastSeenMs: 1795244399000,
      lastReadingMs: 1795244398000,
      count: 86400,
      profiles: ['environment'],
      metrics: [{ profile: 'environment', metric: 'temperature', type: 'float', unit: 'Cel' }],
    },
  ],
};

export const deviceRoutes: RouteGroup = ({ views, requireScope, clock }) => {
  return async (app) => {
    app.get(
      '/v1/devices',
      {
        onRequest: requireScope('read'),
        schema: {
          tags: ['data'],
          summary: 'Devices, with their metrics and presence',
          security: BEARER,
          querystring: { type: 'object', additionalProperties: false, properties: {} },
          response: {
            200: jsonResponse('Sorted by device id', ANSWER, EXAMPLE),
            ...problemResponses(400, 401, 403, 503),
          },
        },
      },
      async () => ({ nowMs: clock(), ...(await views.list()) }),
    );
  };
};
