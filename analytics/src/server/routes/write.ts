/**
 * `POST /v1/write` and `POST /write`: line protocol into the store, as InfluxDB 1.x takes it.
 *
 * 204 means durable. `db` and `rp` are read past, because there is one database. Bodies may be gzipped.
 */
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { FastifyPluginAsync } from 'fastify';
import { AnalyticsError } from '../../errors.ts';
import type { Precision } from '../../line-protocol.ts';
import { MAX_BODY_BYTES } from '../../store/time-series-store.ts';
import type { RouteGroup } from '../context.ts';
import { BEARER, EXAMPLE_DEVICE, problemResponses } from '../schemas.ts';

const unzip = promisify(gunzip);

/** InfluxDB's spellings of the units that a store keeps; ns is its default. */
const PRECISIONS: Readonly<Record<string, Precision>> = {
  s: 's',
  ms: 'ms',
  u: 'u',
  us: 'u',
  ns: 'ns',
  n: 'ns',
};

const SCHEMA = {
  tags: ['data'],
  summary: 'Write line protocol',
  description:
    'measurement = profile, tags = device, cell, group, source, fields = metrics. Idempotent. ' +
    'On a permanent refusal (400) every other line of the body is stored; 503 asks for a resend.',
  security: BEARER,
  consumes: ['text/plain'],
  querystring: {
    type: 'object',
    additionalProperties: false,
    properties: {
      precision: { type: 'string', enum: Object.keys(PRECISIONS), default: 'ns' },
      db: { type: 'string', maxLength: 128, description: 'read past' },
      rp: { type: 'string', maxLength: 128, description: 'read past' },
      consistency: { type: 'string', maxLength: 16, description: 'read past' },
    },
  },
  body: {
    content: {
      'text/plain': {
        schema: {
          examples: [
            `environment,device=${EXAMPLE_DEVICE},source=sensor temperature=21.53 1795244398000`,
          ],
        },
      },
    },
  },
  response: {
    204: { description: 'Stored, durable', type: 'null' },
    ...problemResponses(400, 401, 403, 413, 415, 503),
  },
};

export const writeRoutes: RouteGroup = ({ store, requireScope }): FastifyPluginAsync => {
  return async (app) => {
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) =>
      done(null, body),
    );
    for (const url of ['/v1/write', '/write']) {
      app.post<{ Querystring: { precision: string }; Body: Buffer | undefined }>(
        url,
        {
          onRequest: requireScope('write', { influxForms: true }),
          bodyLimit: MAX_BODY_BYTES,
          schema: SCHEMA,
        },
        async ({ headers, body, query }, reply) => {
          const lines = await decoded(body ?? Buffer.alloc(0), headers['content-encoding']);
          const precision = PRECISIONS[query.precision] ?? 'ns';
          if (lines.length > 0) await store.writeLines(lines, { precision });
          return reply.code(204).send();
        },
      );
    }
  };
};

async function decoded(body: Buffer, encoding = 'identity'): Promise<Uint8Array> {
  switch (encoding.toLowerCase()) {
    case 'identity':
      return body;
    case 'gzip':
    case 'x-gzip':
      try {
        return await unzip(body, { maxOutputLength: MAX_BODY_BYTES });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
          const what = `body: expected at most ${MAX_BODY_BYTES} bytes after gunzip`;
          throw new AnalyticsError('ERR_REQUEST_TOO_LARGE', what);
        }
        throw new AnalyticsError('ERR_REQUEST_INVALID', 'body: not gzip', { cause: error });
      }
    default:
      throw new AnalyticsError('ERR_MEDIA_TYPE', 'content-encoding: expected gzip or none');
  }
}
