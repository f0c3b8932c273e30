/** Enrolment tokens, and the join lines that carry them. */

import { isIP } from 'node:net';
import { formatJoinLine } from '@fieldproof/protocol/join-line';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';
import { checkCell, checkLabel } from '../../registry/device-fields.ts';
import type { Registry, Token } from '../../registry/registry.ts';
import type { TokenDesk } from '../../registry/token-desk.ts';
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
  readonly network: string;
  readonly rootKey: Uint8Array;
  readonly registry: Registry;
  readonly tokenDesk: TokenDesk;
  readonly joinAddress: () => JoinAddress;
  readonly random: (bytes: number) => Uint8Array;
  readonly now: () => number;
}

export const HOUR_MS = 3_600_000;
const MAX_USES = 1_000_000;
/** Longest life of a token. */
export const MAX_HOURS = 24 * 366;

export function addTokenRoutes(app: FastifyInstance, options: TokenRoutesOptions): void {
  const { registry, tokenDesk, now } = options;

  app.get('/admin/tokens', { config: { scope: 'read' } }, async () => ({
    tokens: (await registry.tokens()).map((token) => showToken(token, now())),
  }));

  app.post('/admin/tokens', { config: { scope: 'enrol' } }, async (request, reply) => {
    const uses = integerIn(request, 'uses', { fallback: 1, max: MAX_USES });
    const hours = integerIn(request, 'hours', { fallback: 24, max: MAX_HOURS });
    const { secret, token } = await tokenDesk.create({
      uses,
      expiresAt: now() + hours * HOUR_MS,
      group: checkLabel('group', bodyOf(request).group ?? 'default'),
      cell: checkCell(bodyOf(request).cell ?? ''),
    });
    const joinLine = joinLineFor(secret, request, options);
    reply.code(201).header('cache-control', 'no-store');
    return { joinLine, token: showToken(token, now()) };
  });

  app.delete('/admin/tokens/:hash', { config: { scope: 'enrol' } }, async (request, reply) => {
    const { hash } = request.params as { readonly hash: string };
    await tokenDesk.revoke(hash);
    return reply.code(204).send();
  });
}

/** The line with which a device joins, for the host that the request names or the default one. */
export function joinLineFor(
  token: Uint8Array,
  request: FastifyRequest,
  {
    network,
    rootKey,
    joinAddress,
  }: Pick<TokenRoutesOptions, 'network' | 'rootKey' | 'joinAddress'>,
): string {
  return formatJoinLine({ ...addressIn(request, joinAddress()), network, rootKey, token });
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
