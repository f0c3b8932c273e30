/** `GET /v1/status`: versions, store, counts, projection lag and the broker's own account. */
import { ANALYTICS_ERRORS, type AnalyticsError } from '../../errors.ts';
import type { RouteGroup } from '../context.ts';
import type { BrokerAnswer } from '../providers.ts';
import { BEARER, jsonResponse, nullable, objectOf, problemResponses, UNIX_MS } from '../schemas.ts';

/** What keeps a store or a projection from going on, and what to do. */
const PROBLEM = nullable('object', {
  required: ['code', 'message', 'remedy'],
  properties: {
    code: { type: 'string' },
    message: { type: 'string' },
    remedy: { type: 'string' },
  },
});

const ANSWER = objectOf({
  nowMs: UNIX_MS,
  startedMs: UNIX_MS,
  network: nullable('string'),
  versions: objectOf({ fieldproof: { type: 'string' }, node: { type: 'string' } }),
  store: objectOf({
    kind: { type: 'string', enum: ['duckdb', 'influxdb', 'memory'] },
    ok: { type: 'boolean' },
    version: { type: 'string' },
    problem: PROBLEM,
  }),
  counts: objectOf({
    devices: nullable('integer', { description: 'null while the store does not answer' }),
    online: nullable('integer', { description: 'null while the broker does not answer' }),
    values: nullable('integer'),
  }),
  projection: nullable('object', {
    required: ['nextIndex', 'evidenceSize', 'lagMs'],
    properties: {
      nextIndex: { type: 'integer' },
      evidenceSize: { type: 'integer' },
      lagMs: { type: 'number', description: 'age of the oldest entry that is not stored' },
      name: { type: 'string', description: 'the projection that is furthest behind' },
      reportedMs: UNIX_MS,
      problem: PROBLEM,
    },
  }),
  broker: {
    type: 'object',
    required: ['ok', 'detail'],
    properties: {
      ok: { type: 'boolean' },
      detail: { type: 'string' },
      status: { type: 'object', description: 'the broker’s /admin/status, as it is' },
    },
  },
});

const EXAMPLE = {
  nowMs: 1795244400000,
  startedMs: 1795240000000,
  network: 'k3x7q2ab',
  versions: { fieldproof: '0.1.0', node: 'v20.20.2' },
  store: { kind: 'duckdb', ok: true, version: 'v1.5.5', problem: null },
  counts: { devices: 9, online: 8, values: 1204332 },
  projection: {
    ...{ nextIndex: 20211, evidenceSize: 20212, lagMs: 180 },
    ...{ name: 'telemetry', reportedMs: 1795244399000 },
  },
  broker: { ok: true, detail: '', status: { received: 20212, accepted: 20209 } },
};

export const statusRoutes: RouteGroup = (context) => {
  const { store, storeKind, views, brokerStatus, projection, requireScope, clock, log } = context;
  const startedMs = clock();
  return async (app) => {
    app.get(
      '/v1/status',
      {
        onRequest: requireScope('read'),
        schema: {
          tags: ['operation'],
          summary: 'How the network is doing',
          security: BEARER,
          querystring: { type: 'object', additionalProperties: false, properties: {} },
          response: {
            200: jsonResponse('Answers also while store or broker are down', ANSWER, EXAMPLE),
            ...problemResponses(400, 401, 403),
          },
        },
      },
      async () => {
        const [ping, answer, broker] = await Promise.all([
          store.ping(),
          views.list().catch((error: unknown) => {
            log.warn({ err: error }, 'status: no device list');
            return null;
          }),
          brokerStatus.status(),
        ]);
        const devices = answer?.devices;
        return {
          nowMs: clock(),
          startedMs,
          network: context.network() ?? networkOf(broker),
          versions: { fieldproof: context.version, node: process.version },
          store: {
            ...{ kind: storeKind, ok: ping.ok, version: ping.version },
            problem: problemAnswer(ping.problem),
          },
          counts: {
            devices: devices?.length ?? null,
            online: answer?.broker.ok ? (devices?.filter((d) => d.online).length ?? null) : null,
            values: devices?.reduce((sum, device) => sum + device.count, 0) ?? null,
          },
          projection: projection(evidenceSizeOf(broker)),
          broker: broker.ok
            ? { ok: true, detail: '', status: broker.value }
            : { ok: false, detail: broker.detail },
        };
      },
    );
  };
};

function problemAnswer(problem: AnalyticsError | undefined) {
  if (problem === undefined) return null;
  const { code, message } = problem;
  return { code, message, remedy: ANALYTICS_ERRORS[code].remedy };
}

/** Entries in the log as the broker states them. */
function evidenceSizeOf(broker: BrokerAnswer<Readonly<Record<string, unknown>>>): number | null {
  const evidence = broker.ok ? (broker.value.evidence as { entries?: unknown } | null) : null;
  return typeof evidence?.entries === 'number' ? evidence.entries : null;
}

/** The network's id as the broker states it. */
function networkOf(broker: BrokerAnswer<Readonly<Record<string, unknown>>>): string | null {
  return broker.ok && typeof broker.value.network === 'string' ? broker.value.network : null;
}
