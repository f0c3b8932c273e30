/** Where a leaf's delegation is filed, by the leaf or by the gateway that it names. docs/spec/registry.md section 8. */

import type { FastifyInstance } from 'fastify';
import { BrokerError } from '../errors.ts';
import type { RateLimiter } from '../rate-limit.ts';
import type { DelegationDesk } from '../registry/delegation.ts';
import { limit, type PublicRoutesOptions } from './public-routes.ts';

export interface DelegationRouteOptions {
  readonly delegations: DelegationDesk;
  readonly enrolLimit: RateLimiter;
  readonly shareOf: PublicRoutesOptions['shareOf'];
}

export function addDelegationRoute(app: FastifyInstance, options: DelegationRouteOptions): void {
  const { delegations, enrolLimit, shareOf } = options;

  app.post('/v1/devices/:id/delegation', async (request, reply) => {
    limit(enrolLimit, shareOf(request.ip).name, reply);
    if (!Buffer.isBuffer(request.body)) {
      throw new BrokerError('ERR_REQUEST', 'body: expected a COSE_Sign1 message');
    }
    const { id } = request.params as { readonly id: string };
    const { deviceId, delegation } = await delegations.file(id, Uint8Array.from(request.body));
    reply.header('cache-control', 'no-store');
    return { device: deviceId, ...delegation };
  });
}
