/**
 * What HTTP clients may hold of a process: so many connections, so many of them from one address, so long for the head
 * of a request, and an answer only as long as they take it.
 *
 * Who is full gets no more: of the connections that count, the oldest that has sent no request makes room for the new
 * one, once it had a second to send one; else the oldest that waits between two requests, else the oldest that has sent
 * none. Where all have requests under way the new one is closed.
 * Answers are pulled, so a client that stops reading costs a chunk or one whole small answer; without a limit it would
 * cost that, and its connection, for ever. Bodies of requests have Node's own timeout.
 */

import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type AddressRule, addressRule } from './address-share-node.ts';

export interface HttpLimits {
  /** Connections at a time. */
  readonly maxConnections: number;
  /** The same of one address: an IPv4 address or an IPv6 network of 64 bits. Trusted ones may have all. */
  readonly maxConnectionsPerAddress: number;
  /** Time for the head of a request, from the opening of the connection or the first byte of the request. */
  readonly headersMs: number;
  /** A client that has taken nothing of its answer for so long is cut off; one that waits for more is not. */
  readonly stallMs: number;
}

/** What was cut because of limits. */
export interface HttpCounts {
  /** Connections closed because there were too many. */
  dropped: number;
  /** Clients that did not take their answer. */
  stalled: number;
}

/** The books that are kept of a server's connections. */
export interface HttpBooks {
  /** Strikes out a connection that speaks another protocol from now on: someone else counts it. */
  readonly release: (socket: Socket) => void;
}

/** How often connections are looked at whose request is late. */
const MAX_CHECK_MS = 5000;
/** At most one report in so long: who opens connections in a loop must not fill the log. */
const REPORT_EVERY_MS = 10_000;
/** A new connection has so long for its first request before those between two requests are kept in its stead. */
const FIRST_REQUEST_MS = 1000;

/** Options with which the server has to be made. */
export function httpServerOptions({ headersMs }: Pick<HttpLimits, 'headersMs'>): ServerOptions {
  return {
    headersTimeout: headersMs,
    // Node refuses one that is shorter, also where it is set to something else afterwards.
    requestTimeout: Math.max(headersMs, 300_000),
    connectionsCheckingInterval: Math.min(headersMs, MAX_CHECK_MS),
  };
}

/**
 * Puts limits on a server that was made with `httpServerOptions`.
 *
 * @param counts - since the start of the process; several servers may share them.
 * @param report - told what was cut since the last report, if anything; not more often than every ten seconds.
 */
export function limitHttp(
  server: Server,
  limits: HttpLimits,
  options: {
    readonly counts: HttpCounts;
    readonly report?: (cut: Readonly<HttpCounts>) => void;
    readonly reportEveryMs?: number;
    /** A clock that never steps, ms. */
    readonly monotonicMs?: () => number;
    /** Who counts as one, and who is trusted; default: loopback is, where reverse proxies are. */
    readonly shareOf?: AddressRule;
  },
): HttpBooks {
  const { maxConnections, maxConnectionsPerAddress, stallMs } = limits;
  const { counts, report = () => {}, reportEveryMs = REPORT_EVERY_MS } = options;
  const { monotonicMs = () => performance.now(), shareOf = addressRule() } = options;
  const { cut, stop } = countCuts(counts, { report, everyMs: reportEveryMs });
  const all = new Places();
  const shares = new Map<string, Places>();
  const connections = new Map<string, Connection>();

  // After Node's own listener, so that what is closed here is closed as any other connection.
  server.on('connection', (socket: Socket) => {
    const { name, isTrusted } = shareOf(socket.remoteAddress ?? '');
    const share = shares.get(name) ?? new Places();
    const mayHave = isTrusted ? maxConnections : maxConnectionsPerAddress;
    const isCrowded = share.size >= mayHave || all.size >= maxConnections;
    if (isCrowded) {
      cut('dropped');
      const expendable = (share.size >= mayHave ? share : all).expendable(monotonicMs());
      if (expendable === undefined) {
        socket.destroy();
        return;
      }
      // Its place is free at once; the end of its socket may take a moment.
      move(expendable, 'gone');
      expendable.isGone = true;
      expendable.socket.destroy();
    }
    shares.set(name, share);
    const openedMs = monotonicMs();
    const connection = { socket, openedMs, places: [all, share], requests: 0, isGone: false };
    const ends = endsOf(socket);
    move(connection, 'silent');
    connections.set(ends, connection);
    socket.once('close', () => {
      connection.isGone = true;
      move(connection, 'gone');
      if (connections.get(ends) === connection) connections.delete(ends);
      if (share.size === 0 && shares.get(name) === share) shares.delete(name);
    });
  });

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const connection = connections.get(endsOf(request.socket));
    if (connection !== undefined && !connection.isGone) {
      connection.requests += 1;
      move(connection, 'busy');
      response.once('close', () => {
        connection.requests -= 1;
        if (connection.requests === 0 && !connection.isGone) move(connection, 'idle');
      });
    }
    // The socket's timer runs while nothing is written to the network, and anew when something is. With a listener
    // of the response the socket stays open, which an answer that waits for news needs.
    response.setTimeout(stallMs);
    response.on('timeout', (socket: Socket) => {
      if (socket.writableLength === 0) return;
      cut('stalled');
      socket.destroy();
    });
  });
  server.once('close', stop);
  return {
    release: (socket) => {
      const connection = connections.get(endsOf(socket));
      if (connection === undefined || connection.isGone) return;
      connection.isGone = true;
      move(connection, 'gone');
    },
  };
}

interface Connection {
  readonly socket: Socket;
  readonly openedMs: number;
  readonly places: readonly Places[];
  /** Requests under way. */
  requests: number;
  isGone: boolean;
}

/** Connections by what they do, each in the order in which they began to. */
class Places {
  /** Have sent no request. */
  readonly silent = new Set<Connection>();
  /** Wait between two requests. */
  readonly idle = new Set<Connection>();
  readonly busy = new Set<Connection>();

  get size(): number {
    return this.silent.size + this.idle.size + this.busy.size;
  }

  /** The one whose end does the least harm; undefined when all are busy. */
  expendable(nowMs: number): Connection | undefined {
    const silent = first(this.silent);
    // Else who keeps all places with requests of long ago would have every new client cut off by the next one.
    const isNew = silent !== undefined && nowMs - silent.openedMs < FIRST_REQUEST_MS;
    return (isNew ? first(this.idle) : undefined) ?? silent ?? first(this.idle);
  }
}

function move(connection: Connection, to: 'silent' | 'idle' | 'busy' | 'gone'): void {
  for (const places of connection.places) {
    places.silent.delete(connection);
    places.idle.delete(connection);
    places.busy.delete(connection);
    if (to !== 'gone') places[to].add(connection);
  }
}

function first<T>(set: ReadonlySet<T>): T | undefined {
  return set.values().next().value;
}

/** Counts cuts, and reports the first one at once and further ones together. */
function countCuts(
  counts: HttpCounts,
  { report, everyMs }: { readonly report: (cut: HttpCounts) => void; readonly everyMs: number },
): { readonly cut: (what: keyof HttpCounts) => void; readonly stop: () => void } {
  let news: HttpCounts = { dropped: 0, stalled: 0 };
  let timer: NodeJS.Timeout | undefined;
  const tell = () => {
    timer = undefined;
    if (news.dropped + news.stalled === 0) return;
    timer = setTimeout(tell, everyMs).unref();
    const told = news;
    news = { dropped: 0, stalled: 0 };
    report(told);
  };
  const cut = (what: keyof HttpCounts) => {
    counts[what] += 1;
    news[what] += 1;
    if (timer === undefined) tell();
  };
  return { cut, stop: () => clearTimeout(timer) };
}

/** Names a connection, also where its requests come from another socket: over TLS. */
function endsOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}
