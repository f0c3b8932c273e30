/** Named bearer tokens of people and programs. docs/spec/registry.md section 7. */

import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';
import { type AccessDesk, isUsable } from '../../registry/access-desk.ts';
import type { AccessToken } from '../../registry/access-table.ts';
import { checkLabel } from '../../registry/device-fields.ts';
import type { Access } from '../access.ts';
import { isScope, SCOPES, type Scope } from '../scopes.ts';
import { bodyOf } from './body-fields.ts';

export interface AccessRoutesOptions {
  readonly access: Access;
  readonly accessDesk: AccessDesk;
  readonly now: () => number;
}

const DAY_MS = 86_400_000;
const MAX_DAYS = 3650;

export function addAccessRoutes(app: FastifyInstance, options: AccessRoutesOptions): void {
  const { access, accessDesk, now } = options;

  app.get('/admin/access', { config: { scope: 'access' } }, async (request) => ({
    tokens: accessDesk.listFor(access(request, 'access')).map((token) => showAccess(token, now())),
  }));

  app.post(
    '/admin/access',
    { config: { scope: 'access', takes: ['name', 'scopes', 'days'] } },
    async (request, reply) => {
      const maker = access(request, 'access');
      const days = daysIn(request);
      const wanted = {
        ...{ name: nameIn(request), scopes: scopesIn(request) },
        ...(days !== undefined && { expiresAt: days === null ? null : now() + days * DAY_MS }),
      };
      const { text, token } = await accessDesk.create(wanted, maker);
      reply.code(201).header('cache-control', 'no-store');
      return { token: text, access: showAccess(token, now()) };
    },
  );

  app.delete('/admin/access/:hash', { config: { scope: 'access' } }, async (request) => {
    const { hash } = request.params as { readonly hash: string };
    const { token, others, enrolments } = await accessDesk.revoke(
      hash.toLowerCase(),
      access(request, 'access'),
    );
    return {
      ...showAccess(token, now()),
      alsoRevoked: others.map((other) => other.hash),
      alsoRevokedJoinLines: enrolments,
    };
  });
}

/** A token as operators see it. */
function showAccess(token: AccessToken, now: number): object {
  return { ...token, usable: isUsable(token, now) };
}

function nameIn(request: FastifyRequest): string {
  return checkLabel('name', bodyOf(request).name);
}

function scopesIn(request: FastifyRequest): readonly Scope[] {
  const { scopes } = bodyOf(request);
  if (Array.isArray(scopes) && scopes.length <= SCOPES.length && scopes.every(isScope)) {
    return scopes;
  }
  throw new BrokerError('ERR_REQUEST', `scopes: expected a list of ${SCOPES.join(', ')}`);
}

/** Null: without an end; undefined: not said. */
function daysIn(request: FastifyRequest): number | null | undefined {
  const { days } = bodyOf(request);
  if (days === undefined) return undefined;
  const isWhole = Number.isInteger(days) && (days as number) >= 1 && (days as number) <= MAX_DAYS;
  if (days === null || isWhole) return days as number | null;
  throw new BrokerError('ERR_REQUEST', `days: expected an integer from 1 to ${MAX_DAYS}, or null`);
}
