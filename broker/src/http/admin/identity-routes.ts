/** What changes whose a device is, and which key it has: swap, transfer, unenrol. docs/spec/registry.md sections 2, 3. */

import { fromBase64url } from '@fieldproof/protocol/bytes';
import { publicKeyFromDidKey } from '@fieldproof/protocol/did-key';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';
import { requireEnrolled } from '../../registry/desk.ts';
import { checkReason } from '../../registry/device-fields.ts';
import type { EnrolmentDesk } from '../../registry/enrolment.ts';
import type { TransferDesk } from '../../registry/transfer.ts';
import { bodyOf, textIn } from './body-fields.ts';
import { type DeviceRoutesOptions, requireDevice, showChanged } from './device-routes.ts';
import { endIn, joinLineIn, showToken, type TokenRoutesOptions } from './token-routes.ts';

export interface IdentityRoutesOptions extends DeviceRoutesOptions, TokenRoutesOptions {
  readonly desk: Pick<EnrolmentDesk, 'unenrol'>;
  readonly transfers: Pick<TransferDesk, 'transferByOperator'>;
}

const MAX_OWNERSHIP_CHARACTERS = 1400;

export function addIdentityRoutes(app: FastifyInstance, options: IdentityRoutesOptions): void {
  const { directory, now } = options;

  app.post(
    '/admin/devices/:id/swap',
    { config: { scope: 'enrol', takes: ['compromised', 'hours', 'host'] } },
    async (request, reply) => {
      const { deviceId, group, cell } = requireEnrolled(
        directory,
        requireDevice(directory, request).deviceId,
      );
      const compromised = flagIn(request, 'compromised');
      const expiresAt = endIn(request, options);
      const place = { device: deviceId, compromised, group, cell };
      const lineFor = joinLineIn(request, options);
      const maker = options.access(request, 'enrol');
      const wanted = { uses: 1, expiresAt, ...place };
      const { secret, token } = await options.tokenDesk.create(wanted, maker);
      reply.code(201).header('cache-control', 'no-store');
      return { joinLine: lineFor(secret), token: showToken(token, now()) };
    },
  );

  app.post(
    '/admin/devices/:id/transfer',
    { config: { scope: 'enrol', takes: ['owner', 'ownership', 'reason'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const device = await options.transfers.transferByOperator(deviceId, {
        owner: ownerIn(request),
        ownership: ownershipIn(request),
        reason: checkReason(bodyOf(request).reason),
      });
      return showChanged(device, request, options);
    },
  );

  app.post(
    '/admin/devices/:id/unenrol',
    { config: { scope: 'enrol', takes: ['reason'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const reason = checkReason(bodyOf(request).reason);
      return showChanged(await options.desk.unenrol(deviceId, reason), request, options);
    },
  );
}

function ownerIn(request: FastifyRequest): string {
  const owner = textIn(request, 'owner', { max: 64 });
  publicKeyFromDidKey(owner);
  return owner;
}

function ownershipIn(request: FastifyRequest): Uint8Array {
  const text = textIn(request, 'ownership', { max: MAX_OWNERSHIP_CHARACTERS });
  try {
    return fromBase64url(text.trim());
  } catch (cause) {
    const message = 'ownership: expected the statement of the new owner, base64url';
    throw new BrokerError('ERR_REQUEST', message, { cause });
  }
}

function flagIn(request: FastifyRequest, key: string): boolean {
  const value = bodyOf(request)[key] ?? false;
  if (typeof value === 'boolean') return value;
  throw new BrokerError('ERR_REQUEST', `${key}: expected true or false`);
}
