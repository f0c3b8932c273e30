/** `GET /v1/query`: one metric over a range, raw or in buckets, as JSON or CSV. */
import { AnalyticsError } from '../../errors.ts';
import {
  type Aggregate,
  DEFAULT_POINTS,
  MAX_POINTS,
  type RangeQuery,
  type Series,
} from '../../store/time-series-store.ts';
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
import { bucketFor, parseDuration, parseTime } from '../time-range.ts';

const AGGREGATES: readonly Aggregate[] = ['mean', 'min', 'max', 'sum', 'count', 'first', 'last'];
const TIME_DESCRIPTION = 'RFC 3339, Unix ms, now, or before now: -90s, -1h, -7d';

const QUERYSTRING = {
  type: 'object',
  additionalProperties: false,
  required: ['profile', 'metric'],
  properties: {
    profile: { ...NAME, examples: ['environment'] },
    metric: { ...NAME, examples: ['temperature'] },
    device: { ...NAME, description: 'one device; all when absent' },
    from: { type: 'string', maxLength: 64, default: '-1h', description: TIME_DESCRIPTION },
    to: { type: 'string', maxLength: 64, default: 'now', description: 'exclusive; as from' },
    bucket: { type: 'string', maxLength: 16, description: '500ms, 10s, 1m, 1h, 1d; raw if absent' },
    points: {
      type: 'integer',
      minimum: 2,
      maximum: 10_000,
      description: 'instead of bucket: the server picks a round width for at most so many a series',
    },
    aggregate: { type: 'string', enum: AGGREGATES, description: 'default mean; with buckets only' },
    group: { type: 'string', enum: ['device', 'none'], default: 'device' },
    limit: { type: 'integer', minimum: 1, maximum: MAX_POINTS, default: DEFAULT_POINTS },
    format: FORMAT,
  },
};

const ANSWER = objectOf({
  profile: { type: 'string' },
  metric: { type: 'string' },
  fromMs: UNIX_MS,
  toMs: UNIX_MS,
  bucketMs: nullable('number', { description: 'null: raw values' }),
  aggregate: nullable('string'),
  series: {
    type: 'array',
    items: {
      type: 'object',
      required: ['timesMs', 'values', 'unit'],
      properties: {
        device: { type: 'string', description: 'absent with group=none' },
        unit: nullable('string', { description: 'SenML unit' }),
        timesMs: { type: 'array', items: { type: 'number' } },
        values: { type: 'array', items: { type: ['number', 'string', 'boolean'] } },
      },
    },
  },
});

const EXAMPLES = {
  json: {
    profile: 'environment',
    metric: 'temperature',
    fromMs: 1795240800000,
    toMs: 1795244400000,
    bucketMs: 60000,
    aggregate: 'mean',
    series: [{ device: EXAMPLE_DEVICE, unit: 'Cel', timesMs: [1795240800000], values: [21.53] }],
  },
  csv:
    'time,device,profile,metric,value\r\n' +
    `2026-11-21T06:00:00.000Z,${EXAMPLE_DEVICE},environment,temperature,21.53\r\n`,
};

interface Query {
  readonly profile: string;
  readonly metric: string;
  readonly device?: string;
  readonly from: string;
  readonly to: string;
  readonly bucket?: string;
  readonly points?: number;
  readonly aggregate?: Aggregate;
  readonly group: 'device' | 'none';
  readonly limit: number;
  readonly format?: string;
}

export const queryRoutes: RouteGroup = ({ store, views, requireScope, clock }) => {
  return async (app) => {
    app.get<{ Querystring: Query }>(
      '/v1/query',
      {
        onRequest: requireScope('read'),
        schema: {
          tags: ['data'],
          summary: 'A metric over time',
          description: 'More points than `limit` is ERR_STORE_LIMIT, never a silent cut.',
          security: BEARER,
          querystring: QUERYSTRING,
          response: {
            200: jsonOrCsvResponse('Series, ascending in time', ANSWER, EXAMPLES),
            ...problemResponses(400, 401, 403, 503),
          },
        },
      },
      async (request, reply) => {
        const query = rangeQuery(request.query, clock());
        const [series, unitOf] = await Promise.all([store.range(query), views.units()]);
        const { profile, metric, fromMs, toMs } = query;
        if (wantsCsv(request, request.query.format)) {
          const header = ['time', 'device', 'profile', 'metric', 'value'];
          return sendCsv(reply, 'query.csv', { header, rows: csvRows(series) });
        }
        return {
          profile,
          metric,
          fromMs,
          toMs,
          bucketMs: query.bucketMs ?? null,
          aggregate: query.bucketMs === undefined ? null : (query.aggregate ?? 'mean'),
          series: series.map(({ device, timesMs, values }) => {
            const unit = unitOf(device ?? request.query.device ?? '', profile, metric);
            return { ...(device === undefined ? {} : { device }), unit, timesMs, values };
          }),
        };
      },
    );
  };
};

/**
 * The store's query for the parameters of a request.
 *
 * @throws {AnalyticsError} ERR_REQUEST_INVALID.
 */
export function rangeQuery(query: Query, nowMs: number): RangeQuery {
  const { profile, metric, device, bucket, points, aggregate, group, limit } = query;
  const fromMs = parseTime('from', query.from, nowMs);
  const toMs = parseTime('to', query.to, nowMs);
  if (fromMs >= toMs) invalid(`from: expected a time before to, got ${query.from}, ${query.to}`);
  if (bucket !== undefined && points !== undefined) invalid('points: expected no bucket beside it');
  const bucketMs =
    bucket !== undefined
      ? parseDuration('bucket', bucket)
      : points !== undefined
        ? bucketFor(fromMs, toMs, points)
        : undefined;
  if (aggregate !== undefined && bucketMs === undefined) {
    invalid('aggregate: expected bucket or points beside it');
  }
  return {
    ...{ profile, metric, fromMs, toMs, limit, groupByDevice: group === 'device' },
    ...(device === undefined ? {} : { device }),
    ...(bucketMs === undefined ? {} : { bucketMs }),
    ...(aggregate === undefined ? {} : { aggregate }),
  };
}

function* csvRows(series: readonly Series[]) {
  for (const { device, profile, metric, timesMs, values } of series) {
    for (let i = 0; i < timesMs.length; i++) {
      yield [new Date(timesMs[i]!).toISOString(), device, profile, metric, values[i]];
    }
  }
}

function invalid(message: string): never {
  throw new AnalyticsError('ERR_REQUEST_INVALID', message);
}
