/** Administration, for `fieldproof-broker` and operators' tools: this machine or TLS, and the admin token. */

import { isIP } from 'node:net';
import { formatJoinLine } from '@fieldproof/protocol/join-line';
import type { RegistryAction } from '@fieldproof/protocol/registry-actions';
import { TOKEN_BYTES } from '@fieldproof/protocol/statements';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BrokerError } from '../errors.ts';
import type { Directory } from '../registry/directory.ts';
import type { Device, Registry, Token } from '../registry/registry.ts';
import type { Sightings } from '../registry/sightings.ts';
import type { Access } from './access.ts';

/** Where a join line may send a device. */
export interface JoinAddress {
  readonly host: string;
  readonly port: number;
  readonly plain: boolean;
}

export interface AdminRoutesOptions {
  readonly network: string;
  readonly rootKey: Uint8Array;
  readonly access: Access;
  readonly registry: Registry;
  readonly directory: Directory;
  /** Everything that `status` shows. */
  readonly status: () => object;
  readonly isOnline: (deviceId: string) => boolean;
  readonly sightings: Sightings;
  readonly disconnect: (deviceId: string) => void;
  readonly joinAddress: () => JoinAddress;
  readonly random: (bytes: number) => Uint8Array;
  readonly now: () => number;
}

const HOUR_MS = 3_600_000;
const MAX_USES = 1_000_000;
const MAX_HOURS = 24 * 366;

export function addAdminRoutes(app: FastifyInstance, options: AdminRoutesOptions): void {
  // A scope of its own: the hook belongs to its routes, however a request target spells their path.
  app.register(async (scope) => addRoutes(scope, options));
}

function addRoutes(app: FastifyInstance, options: AdminRoutesOptions): void {
  const { access, registry, directory, now } = options;

  app.addHook('onRequest', async (request) => {
    if (request.protocol !== 'https' && !isLoopback(request.socket.remoteAddress ?? '')) {
      throw new BrokerError('ERR_ADMIN_LOCAL', 'administration: this machine or TLS only');
    }
    access(request, 'admin');
  });

  app.get('/admin/status', async () => options.status());

  app.get('/admin/devices', async () => ({
    devices: directory.all().map((device) => showDevice(device, options)),
  }));

  app.get('/admin/devices/:id', async (request) =>
    showDevice(requireDevice(directory, request), options),
  );

  app.post('/admin/devices/:id/suspend', async (request) => {
    const { deviceId } = requireDevice(directory, request);
    const reason = textIn(request, 'reason', { fallback: 'by the operator', max: 256 });
    const device = await directory.record({ action: 'suspend', subject: deviceId, reason });
    options.disconnect(deviceId);
    return showDevice(device, options);
  });

  app.post('/admin/devices/:id/resume', async (request) => {
    const { deviceId } = requireDevice(directory, request);
    const action: RegistryAction = { action: 'resume', subject: deviceId };
    return showDevice(await directory.record(action), options);
  });

  app.post('/admin/devices/:id/rename', async (request) => {
    const { deviceId } = requireDevice(directory, request);
    const name = textIn(request, 'name', { max: 64 });
    const device = await directory.record({ action: 'rename', subject: deviceId, name });
    return showDevice(device, options);
  });

  app.get('/admin/tokens', async () => ({
    tokens: (await registry.tokens()).map((token) => showToken(token, now())),
  }));

  app.post('/admin/tokens', async (request, reply) => {
    const uses = integerIn(request, 'uses', { fallback: 1, max: MAX_USES });
    const hours = integerIn(request, 'hours', { fallback: 24, max: MAX_HOURS });
    const secret = options.random(TOKEN_BYTES);
    const createdAt = now();
    const token = await registry.createToken(secret, {
      uses,
      createdAt,
      expiresAt: createdAt + hours * HOUR_MS,
      group: textIn(request, 'group', { fallback: 'default', max: 64 }),
      cell: textIn(request, 'cell', { fallback: '', max: 32 }),
    });
    const { network, rootKey } = options;
    const joinLine = formatJoinLine({
      ...addressIn(request, options.joinAddress()),
      network,
      rootKey,
      token: secret,
    });
    reply.code(201).header('cache-control', 'no-store');
    return { joinLine, token: showToken(token, createdAt) };
  });

  app.delete('/admin/tokens/:hash', async (request, reply) => {
    const { hash } = request.params as { readonly hash: string };
    if (!(await registry.revokeToken(hash))) {
      throw new BrokerError('ERR_NOT_FOUND', `token ${hash.slice(0, 64)}: there is none`);
    }
    return reply.code(204).send();
  });
}

function requireDevice(directory: Directory, request: FastifyRequest): Device {
  const { id } = request.params as { readonly id: string };
  const device = directory.get(id);
  if (device) return device;
  throw new BrokerError('ERR_DEVICE_UNKNOWN', `device ${id.slice(0, 64)}: not enrolled`);
}

function showDevice(device: Device, { isOnline, sightings, now }: AdminRoutesOptions): object {
  const { publicKey: _, ...shown } = device;
  return {
    ...shown,
    online: isOnline(device.deviceId),
    ...sightings.of(device.deviceId),
    credentialExpired: device.credentialExpires <= now(),
  };
}

function showToken(token: Token, now: number): object {
  return { ...token, usable: !token.revoked && token.used < token.uses && token.expiresAt > now };
}

/** Another host than the default may be asked for, such as the machine's name on the network. */
function addressIn(request: FastifyRequest, fallback: JoinAddress): JoinAddress {
  const host = textIn(request, 'host', { fallback: fallback.host, max: 255 });
  if (isIP(host) === 0 && !/^[A-Za-z0-9.-]+$/.test(host)) {
    throw new BrokerError('ERR_REQUEST', 'host: expected a name or an IP address');
  }
  return { ...fallback, host };
}

function textIn(
  request: FastifyRequest,
  key: string,
  limits: { readonly fallback?: string; readonly max: number },
): string {
  const value = bodyOf(request)[key] ?? limits.fallback;
  if (typeof value === 'string' && value.length <= limits.max) return value;
  throw new BrokerError('ERR_REQUEST', `${key}: expected text of at most ${limits.max} characters`);
}

function integerIn(
  request: FastifyRequest,
  key: string,
  limits: { readonly fallback: number; readonly max: number },
): number {
  const value = bodyOf(request)[key] ?? limits.fallback;
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= limits.max) {
    return value as number;
  }
  throw new BrokerError('ERR_REQUEST', `${key}: expected an integer from 1 to ${limits.max}`);
}

function bodyOf(request: FastifyRequest): Readonly<Record<string, unknown>> {
  const body: unknown = request.body ?? {};
  if (typeof body === 'object' && !Buffer.isBuffer(body)) return body as Record<string, unknown>;
  throw new BrokerError('ERR_REQUEST', 'body: expected a JSON object');
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address);
}
