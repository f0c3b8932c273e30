/** How many HTTP requests were answered, by route, method and status. Routes are the program's own, so it is bounded. */

import type { FastifyInstance } from 'fastify';
import type { Sample } from './exposition.ts';

/** Of requests to no route: their methods and paths are the client's invention. */
const NO_ROUTE = 'none';

export class HttpTally {
  readonly #counts = new Map<string, number>();

  /** Counts every answer of a server from now on. */
  watch(app: FastifyInstance): void {
    app.addHook('onResponse', async (request, reply) => {
      const route = request.routeOptions.url;
      if (route === undefined) this.count(NO_ROUTE, NO_ROUTE, reply.statusCode);
      else this.count(request.method, route, reply.statusCode);
    });
  }

  count(method: string, route: string, status: number): void {
    const key = `${method} ${status} ${route}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  samples(): readonly Sample[] {
    return [...this.#counts].sort(byKey).map(([key, value]) => {
      const [method = '', status = '', route = ''] = key.split(' ');
      return { labels: { method, route, status }, value };
    });
  }
}

function byKey([a]: readonly [string, number], [b]: readonly [string, number]): number {
  return a < b ? -1 : 1;
}
