/** Administration, for `fieldproof-broker` and operators' tools: this machine or TLS, and the admin token. */

import type { FastifyInstance } from 'fastify';
import { BrokerError } from '../../errors.ts';
import { isLoopback } from '../../loopback.ts';
import type { Health } from '../../observe/health.ts';
import type { AccessIdentity } from '../../registry/access-desk.ts';
import type { Access } from '../access.ts';
import type { Scope } from '../scopes.ts';
import { type AccessRoutesOptions, addAccessRoutes } from './access-routes.ts';
import { bodyOf, refuseOthers } from './body-fields.ts';
import { addDescriptorRoutes, type DescriptorRoutesOptions } from './descriptor-routes.ts';
import { addDetailRoutes, type DetailRoutesOptions } from './detail-routes.ts';
import { addDeviceRoutes } from './device-routes.ts';
import { addIdentityRoutes, type IdentityRoutesOptions } from './identity-routes.ts';
import { type AdminStandingOptions, addStandingRoutes } from './standing-routes.ts';
import { addSupportRoutes, type SupportRoutesOptions } from './support-routes.ts';
import { addTokenRoutes, type TokenRoutesOptions } from './token-routes.ts';
import { addWebhookRoutes, type WebhookRoutesOptions } from './webhook-routes.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a token must be of to use an admin route. */
    scope?: Scope;
    /** Members of the JSON body that an admin route takes. */
    takes?: readonly string[];
    /** Whether it takes bytes instead, as of a signed message. */
    takesBytes?: boolean;
  }
  interface FastifyRequest {
    /** Who asks; null only before an admin route has let them in. */
    bearer: AccessIdentity | null;
  }
}

export interface AdminRoutesOptions
  extends AccessRoutesOptions,
    AdminStandingOptions,
    DescriptorRoutesOptions,
    DetailRoutesOptions,
    IdentityRoutesOptions,
    SupportRoutesOptions,
    TokenRoutesOptions,
    WebhookRoutesOptions {
  readonly access: Access;
  /** Everything that `status` shows. */
  readonly status: () => object;
  readonly health: Pick<Health, 'problems'>;
}

export function addAdminRoutes(app: FastifyInstance, options: AdminRoutesOptions): void {
  // A scope of its own: the hook belongs to its routes, however a request target spells their path.
  app.register(async (scope) => addRoutes(scope, options));
}

function addRoutes(app: FastifyInstance, options: AdminRoutesOptions): void {
  app.decorateRequest('bearer', null);
  app.addHook('onRequest', async (request) => {
    if (request.protocol !== 'https' && !isLoopback(request.socket.remoteAddress ?? '')) {
      throw new BrokerError('ERR_ADMIN_LOCAL', 'administration: this machine or TLS only');
    }
    request.bearer = options.access(request, request.routeOptions.config.scope ?? 'admin');
  });
  app.addHook('preHandler', async (request) => {
    const { takes = [], takesBytes = false } = request.routeOptions.config;
    if (takesBytes && Buffer.isBuffer(request.body)) return;
    refuseOthers(bodyOf(request), takes, 'body');
  });
  app.addHook('onRoute', ({ method, url, config }) => {
    if (config?.scope === undefined) throw new Error(`${String(method)} ${url}: names no scope`);
    if (method === 'POST' && config.takes === undefined) {
      throw new Error(`POST ${url}: names no members of its body`);
    }
  });
  app.get('/admin/status', { config: { scope: 'read' } }, async () => ({
    ...options.status(),
    problems: await options.health.problems(),
  }));
  addAccessRoutes(app, options);
  addDescriptorRoutes(app, options);
  addDeviceRoutes(app, options);
  addDetailRoutes(app, options);
  addStandingRoutes(app, options);
  addIdentityRoutes(app, options);
  addSupportRoutes(app, options);
  addTokenRoutes(app, options);
  addWebhookRoutes(app, options);
}
