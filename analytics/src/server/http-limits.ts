/**
 * What HTTP clients may hold of the process: so many connections, and an answer only as long as they take it.
 *
 * Answers are pulled, so a client that stops reading costs a chunk or one whole small answer; without a limit it
 * would cost that, and its connection, for ever. Request sides have Node's own timeouts.
 */

import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface HttpLimits {
  /** Connections above it are closed at once. */
  readonly maxConnections: number;
  /** A client that has taken nothing of its answer for so long is cut off; one that waits for more is not. */
  readonly stallMs: number;
}

/** Connections that were one too many, or clients that did not take their answer. */
export type HttpCut = 'dropped' | 'stalled';

/** Puts limits on a server. */
export function limitHttp(
  server: Server,
  { maxConnections, stallMs }: HttpLimits,
  onCut: (what: HttpCut) => void,
): void {
  server.maxConnections = maxConnections;
  server.on('drop', () => {
    onCut('dropped');
  });
  server.on('request', (_request, response: ServerResponse) => {
    // The socket's timer runs while nothing is written to the network, and anew when something is. With a listener
    // of the response the socket stays open, which an answer that waits for news needs.
    response.setTimeout(stallMs);
    response.on('timeout', (socket: Socket) => {
      if (socket.writableLength === 0) return;
      onCut('stalled');
      socket.destroy();
    });
  });
}
