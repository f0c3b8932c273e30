/** Enrolment tokens, and the join lines that carry them. */

import { isIP } from 'node:net';
import { formatJoinLine } from '@fieldproof/protocol/join-line';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';
import { endWithin } from '../../registry/access-desk.ts';
import { checkCell, checkLabel, checkText } from '../../registry/device-fields.ts';
import type { Registry, Token } from '../../registry/registry.ts';
import type { TokenDesk } from '../../registry/token-desk.ts';
import type { Access } from '../access.ts';
import { bodyOf, integerIn, textIn } from './body-fields.ts';

/** Where a join line may send a device. */
export interface JoinAddress {
  readonly host: string;
  readonly port: number;
  readonly plain: boolean;
  /** Whether devices will find the certificate to be for a name; absent without TLS. */
  readonly covers?: (host: string) => boolean;
}

export interface TokenRoutesOptions {
  readonly access: Access;
  readonly network: string;
  readonly rootKey: Uint8Array;
  readonly registry: Registry;
  readonly tokenDesk: TokenDesk;
  readonly joinAddress: () => JoinAddress;
  readonly random: (bytes: number) => Uint8Array;
  readonly now: () => number;
}

const HOUR_MS = 3_600_000;
const MAX_USES = 1_000_000;
const DEFAULT_HOURS = 24;
/** Longest life of a token. */
const MAX_HOURS = 24 * 366;

export function addTokenRoutes(app: FastifyInstance, options: TokenRoutesOptions): void {
  const { access, registry, tokenDesk, now } = options;

  app.get('/admin/tokens', { config: { scope: 'read' } }, async () => ({
    tokens: (await registry.tokens()).map((token) => showToken(token, now())),
  }));

  app.post(
    '/admin/tokens',
    {
      config: {
        scope: 'enrol',
        takes: ['uses', 'hours', 'group', 'cell', 'host', 'name', 'site', 'notes'],
      },
    },
    async (request, reply) => {
      const uses = integerIn(request, 'uses', { fallback: 1, max: MAX_USES });
      const about = aboutIn(request);
      if (uses > 1 && Object.values(about).some((text) => text !== '')) {
        throw new BrokerError('ERR_REQUEST', 'uses: expected 1 with a name, site or notes');
      }
      const lineFor = joinLineIn(request, options);
      const wanted = {
        uses,
        expiresAt: endIn(request, options),
        group: checkLabel('group', bodyOf(request).group ?? 'default'),
        cell: checkCell(bodyOf(request).cell ?? ''),
        ...about,
      };
      const { secret, token } = await tokenDesk.create(wanted, access(request, 'enrol'));
      reply.code(201).header('cache-control', 'no-store');
      return { joinLine: lineFor(secret), token: showToken(token, now()) };
    },
  );

  app.delete('/admin/tokens/:hash', { config: { scope: 'enrol' } }, async (request, reply) => {
    const { hash } = request.params as { readonly hash: string };
    await tokenDesk.revoke(hash.toLowerCase());
    return reply.code(204).send();
  });
}

/** What the one device that comes with a token is called, and what is written of it. */
function aboutIn(request: FastifyRequest): Pick<Token, 'name' | 'site' | 'notes'> {
  const { name = '', site = '', notes = '' } = bodyOf(request);
  return {
    name: name === '' ? '' : checkLabel('name', name),
    site: checkText(site) ?? '',
    notes: checkText(notes) ?? '',
  };
}

/**
 * When a token ends that a request asks for by its `hours`: not after the one with which it asks.
 *
 * @throws {BrokerError} ERR_REQUEST, ERR_OUTLIVES.
 */
export function endIn(
  request: FastifyRequest,
  { access, now }: Pick<TokenRoutesOptions, 'access' | 'now'>,
): number {
  const hours = integerIn(request, 'hours', { fallback: DEFAULT_HOURS, max: MAX_HOURS });
  const end = now() + hours * HOUR_MS;
  const isSaid = (bodyOf(request).hours ?? null) !== null;
  return endWithin(access(request, 'enrol'), isSaid ? end : undefined, end);
}

/**
 * The line with which a device joins, for the host that the request names or the default one; before a token is made.
 *
 * @throws {BrokerError} ERR_REQUEST, ERR_TLS_NAMES.
 */
export function joinLineIn(
  request: FastifyRequest,
  {
    network,
    rootKey,
    joinAddress,
  }: Pick<TokenRoutesOptions, 'network' | 'rootKey' | 'joinAddress'>,
): (token: Uint8Array) => string {
  const address = addressIn(request, joinAddress());
  return (token) => formatJoinLine({ ...address, network, rootKey, token });
}

/** A token as operators see it. */
export function showToken(token: Token, now: number): object {
  return { ...token, usable: !token.revoked && token.used < token.uses && token.expiresAt > now };
}

/** Another host than the default may be asked for, such as the machine's name on the network. */
function addressIn(request: FastifyRequest, fallback: JoinAddress): JoinAddress {
  const host = textIn(request, 'host', { fallback: fallback.host, max: 255 });
  if (isIP(host) === 0 && !/^[A-Za-z0-9.-]+$/.test(host)) {
    throw new BrokerError('ERR_REQUEST', 'host: expected a name or an IP address');
  }
  if (fallback.covers?.(host) === false) {
    throw new BrokerError('ERR_TLS_NAMES', `host: expected a name of the certificate, got ${host}`);
  }
  return { ...fallback, host };
}
