/** An HTTP server in front of another, which can stop answering in the ways in which a database does. */

import { createServer, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** `silent` takes requests and never answers; `refuse` ends connections; `unavailable` says 503. */
export type ProxyMode =
  | 'forward'
  | 'silent'
  | 'refuse'
  | 'unavailable'
  | { readonly slowMs: number };

export interface StallingProxy {
  readonly url: string;
  /** Requests since the last change of mode. */
  readonly requests: number;
  /** Another way from now on; what waited is cut off, as when a hung server is started anew. */
  become(mode: ProxyMode): void;
  close(): Promise<void>;
}

export async function startStallingProxy(target: string): Promise<StallingProxy> {
  let mode: ProxyMode = 'forward';
  let requests = 0;
  const open = new Set<ServerResponse>();
  const server = createServer((incoming, answer) => {
    requests += 1;
    open.add(answer);
    answer.on('close', () => open.delete(answer));
    incoming.on('error', () => {});
    if (mode === 'refuse') {
      incoming.destroy();
      return;
    }
    if (mode === 'silent') {
      incoming.resume();
      return;
    }
    if (mode === 'unavailable') {
      incoming.resume().on('end', () => answer.writeHead(503).end('{"error":"busy"}'));
      return;
    }
    const { method = 'GET', url = '/', headers } = incoming;
    const forward = () => {
      const onward = request(new URL(url, target), { method, headers }, (reply) => {
        answer.writeHead(reply.statusCode ?? 502, reply.headers);
        reply.pipe(answer);
      });
      onward.on('error', () => answer.destroy());
      incoming.pipe(onward);
    };
    if (mode === 'forward') forward();
    else setTimeout(forward, mode.slowMs);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get requests() {
      return requests;
    },
    become: (next) => {
      mode = next;
      requests = 0;
      for (const answer of open) answer.destroy();
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
