/** What anyone may ask of a device's standing, and what its owner may say against a suspension. docs/spec/registry.md 4. */

import { formatBootName } from '@fieldproof/protocol/boot-name';
import { standingOf } from '@fieldproof/protocol/registry-device';
import type { FastifyInstance } from 'fastify';
import { BrokerError } from '../errors.ts';
import type { RateLimiter } from '../rate-limit.ts';
import type { Directory } from '../registry/directory.ts';
import type { Device } from '../registry/registry.ts';
import type { SuspensionDesk } from '../registry/suspensions.ts';
import { limit, type PublicRoutesOptions } from './public-routes.ts';

export interface StandingRoutesOptions {
  readonly directory: Directory;
  readonly suspensions: SuspensionDesk;
  readonly helloLimit: RateLimiter;
  readonly enrolLimit: RateLimiter;
  readonly shareOf: PublicRoutesOptions['shareOf'];
  readonly now: () => number;
}

export function addStandingRoutes(app: FastifyInstance, options: StandingRoutesOptions): void {
  const { directory, suspensions, now } = options;

  app.get('/v1/devices/:id/standing', async (request, reply) => {
    limit(options.helloLimit, options.shareOf(request.ip).name, reply);
    reply.header('cache-control', 'no-store');
    const { id } = request.params as { readonly id: string };
    return showStanding(directory.require(id), now());
  });

  app.post('/v1/appeal', async (request, reply) => {
    limit(options.enrolLimit, options.shareOf(request.ip).name, reply);
    if (!Buffer.isBuffer(request.body)) {
      throw new BrokerError('ERR_REQUEST', 'body: expected a COSE_Sign1 message');
    }
    const recorded = await suspensions.appeal(Uint8Array.from(request.body));
    reply.code(201).header('cache-control', 'no-store');
    return recorded;
  });
}

/** Section 4.5. */
export function showStanding(device: Device, at: number): object {
  const { deviceId, suspension, quarantined, delegation } = device;
  return {
    device: deviceId,
    at,
    standing: standingOf(device, at),
    suspension,
    quarantined: quarantined.map(formatBootName),
    delegation,
  };
}
