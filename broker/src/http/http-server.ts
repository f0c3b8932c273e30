/** One Fastify instance with all routes; the broker makes one for HTTP and, with `lan`, one for HTTPS. */

import type { Server } from 'node:http';
import type { SecureContextOptions } from 'node:tls';
import {
  type HttpBooks,
  type HttpCounts,
  type HttpLimits,
  httpServerOptions,
  limitHttp,
} from '@fieldproof/protocol/http-limits-node';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { BrokerError } from '../errors.ts';
import { WEBSOCKET_PATH } from '../mqtt/websocket.ts';
import type { HttpTally } from '../observe/http-tally.ts';
import { type AdminRoutesOptions, addAdminRoutes } from './admin/admin-routes.ts';
import { watchMethods } from './allowed-methods.ts';
import { answerClientError } from './client-error.ts';
import { addDelegationRoute, type DelegationRouteOptions } from './delegation-route.ts';
import { addDownRoute } from './down-route.ts';
import { addEvidenceRoutes } from './evidence-routes.ts';
import { ALWAYS_ANSWERED, addHealthRoutes, type HealthRoutesOptions } from './health-routes.ts';
import { addMetricsRoute, type MetricsRouteOptions } from './metrics-route.ts';
import { sendProblem } from './problem.ts';
import { addPublicRoutes, type PublicRoutesOptions } from './public-routes.ts';
import { addStandingRoutes, type StandingRoutesOptions } from './standing-routes.ts';

/** Longest request body: an enrolment is below 2 kB, a down message is an envelope. */
const MAX_BODY_BYTES = 65_536;

export interface HttpServerOptions {
  readonly logger: FastifyBaseLogger;
  readonly tls: SecureContextOptions | null;
  /** False while the broker starts or stops: everything but `/healthz` answers 503. */
  readonly isReady: () => boolean;
  readonly limits: HttpLimits;
  readonly counts: HttpCounts;
  /** Given the server before it listens, with the books of its connections. */
  readonly onServer?: (server: Server, books: HttpBooks) => void;
  /** Counts the answers. */
  readonly requests: HttpTally;
  readonly routes: PublicRoutesOptions &
    StandingRoutesOptions &
    DelegationRouteOptions &
    MetricsRouteOptions &
    HealthRoutesOptions &
    AdminRoutesOptions &
    Parameters<typeof addDownRoute>[1] &
    Parameters<typeof addEvidenceRoutes>[1];
}

/** Makes the server, not yet listening. */
export function createHttpServer(options: HttpServerOptions): FastifyInstance {
  const { tls, routes, isReady, limits, counts, logger } = options;
  const serverOptions = httpServerOptions(limits);
  const app = Fastify({
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: MAX_BODY_BYTES,
    frameworkErrors: sendProblem,
    clientErrorHandler: answerClientError,
    forceCloseConnections: true,
    requestTimeout: 30_000,
    ...(tls === null
      ? { http: serverOptions }
      : { https: { ...serverOptions, ...tls, handshakeTimeout: limits.headersMs } }),
  }) as unknown as FastifyInstance;

  const books = limitHttp(app.server, limits, {
    counts,
    shareOf: routes.shareOf,
    report: (cut) => logger.warn(cut, 'http: connections were closed because of limits'),
  });
  options.onServer?.(app.server, books);
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  options.requests.watch(app);
  app.setErrorHandler(sendProblem);
  const methodsOf = watchMethods(app);
  app.setNotFoundHandler((request, reply) => {
    const asked = `${request.method} ${request.url.slice(0, 120)}`;
    const methods = methodsOf(request.url);
    if (methods.length > 0) reply.header('allow', methods.join(', '));
    const code = methods.length > 0 ? 'ERR_METHOD' : 'ERR_NOT_FOUND';
    sendProblem(new BrokerError(code, asked), request, reply);
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-content-type-options', 'nosniff');
    if (isReady() || ALWAYS_ANSWERED.has(request.url)) return;
    reply.header('retry-after', 1);
    throw new BrokerError('ERR_NOT_READY', 'broker: starting or stopping');
  });

  addHealthRoutes(app, routes);
  app.get(WEBSOCKET_PATH, async (_request, reply) => {
    reply.header('upgrade', 'websocket').header('connection', 'upgrade, close');
    throw new BrokerError('ERR_UPGRADE', `${WEBSOCKET_PATH}: expected a WebSocket`);
  });
  addPublicRoutes(app, routes);
  addStandingRoutes(app, routes);
  addDelegationRoute(app, routes);
  addEvidenceRoutes(app, routes);
  addMetricsRoute(app, routes);
  addDownRoute(app, routes);
  addAdminRoutes(app, routes);
  return app;
}
