/**
 * Who may call a route: a bearer token (RFC 6750) with the scope that the route states.
 *
 * InfluxDB clients send `Token <token>` or Basic with the token as password; the write routes take
 * those too. Tokens in the query string are not read: addresses end up in logs.
 */
import type { onRequestHookHandler } from 'fastify';
import { AnalyticsError } from '../errors.ts';
import { type Scope, scopeAllows, type TokenRecord, type TokenStore } from './tokens.ts';

/** Longest Authorization header that is looked at. */
const MAX_HEADER = 1024;

export interface ScopeOptions {
  /** Also take the two forms that InfluxDB clients send. */
  readonly influxForms?: boolean;
}

/** Who made a request, where a hook has let it in. */
const holders = new WeakMap<object, TokenRecord>();

/** Name of the token of a request that a hook of `scopeChecker` has let in. */
export function holderOf(request: object): string {
  return holders.get(request)?.name ?? 'unknown';
}

/** Makes the hook that lets only tokens of `scope` through. */
export type RequireScope = (scope: Scope, options?: ScopeOptions) => onRequestHookHandler;

/** Hooks that check against `tokens`; failures are ERR_TOKEN_MISSING, _UNKNOWN, _EXPIRED, _SCOPE. */
export function scopeChecker(tokens: Pick<TokenStore, 'verify'>): RequireScope {
  return (scope, { influxForms = false } = {}) =>
    async (request) => {
      const token = tokenOf(request.headers.authorization, influxForms);
      if (token === null) {
        throw new AnalyticsError('ERR_TOKEN_MISSING', 'authorization: expected a bearer token');
      }
      const holder = tokens.verify(token);
      holders.set(request, holder);
      if (!scopeAllows(holder.scopes, scope)) {
        throw new AnalyticsError(
          'ERR_TOKEN_SCOPE',
          `token ${holder.name}: expected scope ${scope}, got ${holder.scopes.join(', ')}`,
        );
      }
    };
}

function tokenOf(header: string | undefined, influxForms: boolean): string | null {
  if (header === undefined || header.length > MAX_HEADER) return null;
  const [, scheme, credentials] = /^(\w+) +(\S+) *$/.exec(header) ?? [];
  if (scheme === undefined || credentials === undefined) return null;
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return credentials;
    case 'token':
      return influxForms ? credentials : null;
    case 'basic': {
      if (!influxForms) return null;
      const pair = Buffer.from(credentials, 'base64').toString('utf8');
      const colon = pair.indexOf(':');
      return colon < 0 ? null : pair.slice(colon + 1);
    }
    default:
      return null;
  }
}
