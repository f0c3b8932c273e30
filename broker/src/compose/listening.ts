/** The listeners: HTTP, HTTPS and WebSocket, MQTT over TCP and TLS, the plain profile. */

import type { Server } from 'node:http';
import type { HttpBooks } from '@fieldproof/protocol/http-limits-node';
import { createHttpServer, type HttpServerOptions } from '../http/http-server.ts';
import {
  closeListener,
  keepListening,
  lanHost,
  listen,
  listenHttp,
  reachable,
  urlOf,
} from '../listeners.ts';
import { isPlainAnonymous } from '../mqtt/plain/settings.ts';
import { createTcpListener, createTlsListener } from '../mqtt/tcp-listeners.ts';
import { serveWebSockets, webSocketUrl } from '../mqtt/websocket.ts';
import type { Renewable } from '../tls/certificates.ts';
import type { Bound } from './bound.ts';
import type { Foundation } from './foundation.ts';
import type { Intake } from './intake.ts';
import type { Later } from './later.ts';

/**
 * Binds them all; what comes is answered with "not ready" until `later` says so. Fills in `bound`.
 *
 * @returns what takes a new certificate.
 * @throws {BrokerError} ERR_PORT_TAKEN, ERR_CONFIG.
 */
export async function openListeners(
  base: Foundation,
  parts: {
    readonly intake: Intake;
    readonly routes: HttpServerOptions['routes'];
    readonly counts: HttpServerOptions['counts'];
    readonly later: Later;
    readonly bound: Bound;
  },
): Promise<readonly Renewable[]> {
  const { intake, routes, counts, later, bound } = parts;
  const { config, certificates, instruments, now, log, cleanup } = base;
  const { door, desk, slices, held, refusals, onNotice } = intake;
  const { ports, addresses, lanNames } = bound;
  const common = {
    logger: log,
    isReady: () => later.isReady,
    limits: {
      maxConnections: config.maxHttpConnections,
      maxConnectionsPerAddress: config.maxHttpConnectionsPerAddress,
      headersMs: config.httpHeadersMs,
      stallMs: config.httpStallMs,
    },
    counts,
    requests: instruments.requests,
    routes,
  };
  const webSockets = {
    door,
    desk,
    held,
    limits: config,
    isReady: () => later.isReady,
    now,
    onNotice,
  };
  const serve = (listener: 'ws' | 'wss') => (httpServer: Server, books: HttpBooks) =>
    serveWebSockets(httpServer, { ...webSockets, books, listener, refusals });
  const http = createHttpServer({ ...common, tls: null, onServer: serve('ws') });
  const https =
    certificates &&
    createHttpServer({ ...common, tls: certificates.serverOptions, onServer: serve('wss') });
  const tcp = createTcpListener({ door, desk, slices }, 'tcp');
  const plain = config.plainPort < 0 ? null : createTcpListener({ door, desk, slices }, 'plain');
  const { handshakeTimeoutMs } = config;
  const secure =
    certificates &&
    createTlsListener(
      { door, desk, slices },
      { material: certificates.serverOptions, handshakeTimeoutMs, onNotice },
    );
  cleanup.push(async () => {
    later.isReady = false;
    desk.close();
    // These end when the last of their connections has, WebSockets among them.
    const closing = [
      ...[http.close(), https?.close()],
      ...[tcp, plain, secure?.listener].map((each) => each && closeListener(each)),
    ];
    await intake.server.stop();
    intake.plainBroker.stop();
    desk.stop();
    await Promise.all(closing);
  });
  ports.http = await listenHttp(http, config.host, config.httpPort);
  ports.mqtt = await listen(tcp, config.host, config.mqttPort);
  addresses.http = urlOf('http', reachable(config.host), ports.http);
  addresses.mqtt = urlOf('mqtt', reachable(config.host), ports.mqtt);
  addresses.ws = webSocketUrl(addresses.http);
  if (plain !== null) {
    const port = await listen(plain, config.plainHost, config.plainPort);
    addresses.plain = urlOf('mqtt', reachable(config.plainHost), port);
    if (config.plainAuth === 'anonymous' && !isPlainAnonymous(config)) {
      log.warn(
        { event: 'plain-token', host: config.plainHost },
        'plain profile: not on loopback, so it asks for access tokens',
      );
    }
  }
  if (https && secure) {
    ports.https = await listenHttp(https, config.lanHost, config.httpsPort);
    ports.mqtts = await listen(secure.listener, config.lanHost, config.mqttsPort);
    addresses.https = urlOf('https', lanHost(lanNames), ports.https);
    addresses.mqtts = urlOf('mqtts', lanHost(lanNames), ports.mqtts);
    addresses.wss = webSocketUrl(addresses.https);
  }
  for (const listener of [http.server, https?.server, tcp, plain, secure?.listener]) {
    if (!listener) continue;
    keepListening(listener, (error, times) =>
      log.error({ event: 'accept-failed', err: error, times }, 'connections: not accepted'),
    );
  }
  return https && secure ? [secure.tls, https.server as unknown as Renewable] : [];
}
