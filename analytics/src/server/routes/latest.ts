/** `GET /v1/latest`: the newest value of each device and metric. */
import type { LatestFilter } from '../../store/time-series-store.ts';
import type { RouteGroup } from '../context.ts';
import { FORMAT, sendCsv, wantsCsv } from '../csv-answer.ts';
import {
  BEARER,
  EXAMPLE_DEVICE,
  jsonOrCsvResponse,
  NAME,
  nullable,
  objectOf,
  problemResponses,
  UNIX_MS,
} from '../schemas.ts';

const VALUE = { type: ['number', 'string', 'boolean'] };

const ANSWER = objectOf({
  nowMs: UNIX_MS,
  values: {
    type: 'array',
    items: objectOf({
      device: { type: 'string' },
      profile: { type: 'string' },
      metric: { type: 'string' },
      timeMs: UNIX_MS,
      value: VALUE,
      unit: nullable('string', { description: 'SenML unit' }),
      tags: { type: 'object', additionalProperties: { type: 'string' } },
    }),
  },
});

const EXAMPLES = {
  json: {
    nowMs: 1795244400000,
    values: [
      {
        device: EXAMPLE_DEVICE,
        profile: 'environment',
        metric: 'temperature',
        timeMs: 1795244398000,
        value: 21.53,
        unit: 'Cel',
        tags: { device: EXAMPLE_DEVICE, group: 'weather', source: 'sensor' },
      },
    ],
  },
  csv:
    'time,device,profile,metric,value,unit,source\r\n' +
    `2026-11-21T06:59:58.000Z,${EXAMPLE_DEVICE},environment,temperature,21.53,Cel,sensor\r\n`,
};

type Query = LatestFilter & { readonly format?: string };

export const latestRoutes: RouteGroup = ({ store, views, requireScope, clock }) => {
  return async (app) => {
    app.get<{ Querystring: Query }>(
      '/v1/latest',
      {
        onRequest: requireScope('read'),
        schema: {
          tags: ['data'],
          summary: 'Newest values',
          security: BEARER,
          querystring: {
            type: 'object',
            additionalProperties: false,
            properties: { device: NAME, profile: NAME, metric: NAME, format: FORMAT },
          },
          response: {
            200: jsonOrCsvResponse('Sorted by device, profile and metric', ANSWER, EXAMPLES),
            ...problemResponses(400, 401, 403, 503),
          },
        },
      },
      async (request, reply) => {
        const { format, ...filter } = request.query;
        const [found, unitOf] = await Promise.all([store.latest(filter), views.units()]);
        const values = found.map((value) => {
          return { ...value, unit: unitOf(value.device, value.profile, value.metric) };
        });
        if (!wantsCsv(request, format)) return { nowMs: clock(), values };
        const header = ['time', 'device', 'profile', 'metric', 'value', 'unit', 'source'];
        const rows = values.map((v) => [
          new Date(v.timeMs).toISOString(),
          ...[v.device, v.profile, v.metric, v.value, v.unit, v.tags.source],
        ]);
        return sendCsv(reply, 'latest.csv', { header, rows });
      },
    );
  };
};
