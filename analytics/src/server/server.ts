/**
 * The control process's HTTP server: the API under /v1, health, and the dashboard at /.
 *
 * `createControlServer` composes route groups (one file each under routes/) over what it is given; it
 * opens no port, reads no file and no clock of its own. Further groups are passed in as `routes`.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { httpServerOptions } from '@fieldproof/protocol/http-limits-node';
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { DeviceConfigService } from '../device-config/device-config.ts';
import type { TimeSeriesStore } from '../store/time-series-store.ts';
import { scopeChecker } from './auth.ts';
import type { ControlContext, RouteGroup, StoreKind } from './context.ts';
import type { DashboardAssets } from './dashboard-assets.ts';
import { deviceViews } from './device-view.ts';
import { installOpenApi } from './openapi.ts';
import {
  ANALYTICS_ERROR_TABLE,
  CONFIG_ERROR_TABLE,
  type ErrorTable,
  installProblems,
  PROBLEM_TYPE,
  problemOf,
  sendProblem,
} from './problem.ts';
import { ProjectionBoard } from './projection-board.ts';
import type {
  BrokerStatus,
  DeclaredProfiles,
  DeviceDirectory,
  ProjectionStatusProvider,
} from './providers.ts';
import { dashboardRoutes } from './routes/dashboard.ts';
import { deviceConfigRoutes } from './routes/device-config.ts';
import { deviceRoutes } from './routes/devices.ts';
import { healthRoutes } from './routes/health.ts';
import { latestRoutes } from './routes/latest.ts';
import { projectionRoutes } from './routes/projection.ts';
import { queryRoutes } from './routes/query.ts';
import { statusRoutes } from './routes/status.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { writeRoutes } from './routes/write.ts';
import { installSecurityHeaders, setSecurityHeaders } from './security-headers.ts';
import type { TokenStore } from './tokens.ts';

/** Largest body of a route that does not state its own limit. */
const BODY_LIMIT = 64 << 10;
/** A client that takes longer to send a request is cut off. */
const REQUEST_TIMEOUT_MS = 30_000;
/** The same for its head. */
const HEADERS_MS = 10_000;
const CLIENT_REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

export interface ControlServerOptions {
  /** Open. The server never closes it. */
  readonly store: TimeSeriesStore;
  readonly storeKind: StoreKind;
  readonly tokens: TokenStore;
  /** Unix ms. */
  readonly clock: () => number;
  readonly log: Logger;
  readonly version: string;
  /** How long the head of a request may take. Default 10 s. */
  readonly headersMs?: number | undefined;
  /** The page; without it `/` is 404. */
  readonly dashboard?: DashboardAssets | undefined;
  /** Default: none, which the API says. */
  readonly directory?: DeviceDirectory | undefined;
  readonly brokerStatus?: BrokerStatus | undefined;
  /** Sets devices from afar; without it that is answered with ERR_CONFIG_UNAVAILABLE. */
  readonly deviceConfig?: DeviceConfigService | undefined;
  /** Units, where the directory does not have them. */
  readonly declared?: DeclaredProfiles | undefined;
  /** Default: what projections report to `PUT /v1/projection/<name>`. */
  readonly projection?: ProjectionStatusProvider | undefined;
  readonly network?: (() => string | null) | undefined;
  /** Route groups of other packages, added after ours. */
  readonly routes?: readonly RouteGroup[] | undefined;
  /** Error tables of those packages. */
  readonly errors?: readonly ErrorTable[] | undefined;
}

const NO_BROKER = { ok: false, detail: 'broker: none is configured' } as const;

/** A server that is ready for `listen` or `inject`. */
export async function createControlServer(options: ControlServerOptions): Promise<FastifyInstance> {
  const { store, tokens, clock, log, version } = options;
  const tables = [ANALYTICS_ERROR_TABLE, CONFIG_ERROR_TABLE, ...(options.errors ?? [])];
  const app: FastifyInstance = Fastify({
    loggerInstance: requestLogger(log) as FastifyBaseLogger,
    bodyLimit: BODY_LIMIT,
    http: httpServerOptions({ headersMs: options.headersMs ?? HEADERS_MS }),
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: 'idle',
    disableRequestLogging: true,
    genReqId: ({ headers }) => {
      const given = headers['x-request-id'];
      const usable = typeof given === 'string' && CLIENT_REQUEST_ID.test(given);
      return usable ? given : randomBytes(8).toString('hex');
    },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, allErrors: false } },
    frameworkErrors: (error, request, reply) => {
      setSecurityHeaders(request, reply);
      sendProblem(error, { request, reply, tables });
    },
    clientErrorHandler: (error, socket) => answerBrokenHttp(error, socket, tables),
  });
  // Response schemas are for the document and the tests; answers go out as they are.
  app.setSerializerCompiler(() => JSON.stringify);
  installAccessLog(app);
  installSecurityHeaders(app);
  installProblems(app, tables);
  await installOpenApi(app, version);

  const directory = options.directory ?? { devices: async () => NO_BROKER };
  const board = new ProjectionBoard(clock);
  const context: ControlContext = {
    ...{ store, tokens, clock, log, version },
    storeKind: options.storeKind,
    requireScope: scopeChecker(tokens),
    views: deviceViews({ store, directory, declared: options.declared, clock }),
    brokerStatus: options.brokerStatus ?? { status: async () => NO_BROKER },
    projection: options.projection ?? ((size) => board.status(size)),
    network: options.network ?? (() => null),
  };
  const groups = [
    ...[healthRoutes, deviceRoutes, latestRoutes, queryRoutes, statusRoutes],
    ...[writeRoutes, tokenRoutes, projectionRoutes(board)],
    deviceConfigRoutes(options.deviceConfig),
    ...(options.dashboard === undefined ? [] : [dashboardRoutes(options.dashboard)]),
    ...(options.routes ?? []),
  ];
  for (const group of groups) await app.register(group(context));
  await app.ready();
  return app;
}

/** One line a request: dashboards poll, so what went well is for debugging only. */
function installAccessLog(app: FastifyInstance): void {
  app.addHook('onResponse', async (req, { statusCode, elapsedTime }) => {
    const level = statusCode < 400 ? 'debug' : 'info';
    req.log[level]({ req, statusCode, ms: Math.round(elapsedTime) }, 'request');
  });
}

/** Logs requests by path: query strings and headers may hold what does not belong into a log. */
function requestLogger(log: Logger): Logger {
  return log.child(
    {},
    {
      redact: ['req.headers.authorization', 'headers.authorization', 'authorization', 'token'],
      serializers: {
        req: (request: { method: string; url: string; ip?: string }) => ({
          method: request.method,
          path: request.url.split('?', 1)[0],
          remote: request.ip,
        }),
      },
    },
  );
}

/** Bytes that are not HTTP never reach a route; they too are answered with a problem. */
function answerBrokenHttp(
  error: Error & { code?: string },
  socket: Socket,
  tables: readonly ErrorTable[],
): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW';
  const cause = tooLarge
    ? { statusCode: 413, message: 'headers: expected at most 16 KiB' }
    : { statusCode: 400, message: 'request: not HTTP/1.1' };
  const problem = problemOf(cause, randomBytes(8).toString('hex'), tables);
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${problem.status} ${tooLarge ? 'Content Too Large' : 'Bad Request'}\r\n` +
      `content-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
}
