/** Devices: what the registry has of them. What operators change is in the files beside this one. */

import { formatBootName } from '@fieldproof/protocol/boot-name';
import { toHex } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { standingOf } from '@fieldproof/protocol/registry-device';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';
import type { DeviceTexts } from '../../registry/device-texts.ts';
import type { Directory } from '../../registry/directory.ts';
import type { Device } from '../../registry/registry.ts';
import type { Sightings } from '../../registry/sightings.ts';
import { mayUse } from '../scopes.ts';

export interface DeviceRoutesOptions {
  readonly directory: Directory;
  readonly texts: DeviceTexts;
  readonly isOnline: (deviceId: string) => boolean;
  readonly sightings: Sightings;
  readonly now: () => number;
}

export function addDeviceRoutes(app: FastifyInstance, options: DeviceRoutesOptions): void {
  const { directory } = options;

  app.get('/admin/devices', { config: { scope: 'read' } }, async () => ({
    devices: directory.all().map((device) => showDevice(device, options)),
  }));

  app.get('/admin/devices/:id', { config: { scope: 'read' } }, async (request) => {
    return showWhole(requireDevice(directory, request), options);
  });
}

/** The device that a request's path names. @throws {BrokerError} ERR_DEVICE_UNKNOWN. */
export function requireDevice(directory: Directory, request: FastifyRequest): Device {
  const { id } = request.params as { readonly id: string };
  return directory.require(id);
}

/**
 * A device that a request has changed: with the texts of it for who may read them, as `GET` gives them. It is changed also
 * while the database does not answer: the texts are left out then.
 */
export async function showChanged(
  device: Device,
  request: FastifyRequest,
  options: DeviceRoutesOptions,
): Promise<object> {
  if (!mayUse(request.bearer!.scopes, 'read')) return showDevice(device, options);
  try {
    return await showWhole(device, options);
  } catch (error) {
    if (error instanceof BrokerError && error.code === 'ERR_REGISTRY_DATABASE') {
      return showDevice(device, options);
    }
    throw error;
  }
}

async function showWhole(device: Device, options: DeviceRoutesOptions): Promise<object> {
  const { site, notes } = device.texts;
  const written = {
    site: await writtenText(site, options),
    notes: await writtenText(notes, options),
  };
  return { ...showDevice(device, options), written };
}

/** A device as operators see it. */
function showDevice(device: Device, { isOnline, sightings, now }: DeviceRoutesOptions): object {
  const { publicKey, retired, quarantined, released, ...shown } = device;
  const at = now();
  return {
    ...shown,
    // The id of a key takes long to make, and nearly all devices have their first.
    key: retired.length === 0 ? device.deviceId : deviceIdFromPublicKey(publicKey),
    retired: retired.map(({ publicKey: key, ...boots }) => ({
      key: deviceIdFromPublicKey(key),
      ...boots,
    })),
    standing: standingOf(device, at),
    quarantined: quarantined.map(formatBootName),
    released: released.map(formatBootName),
    online: isOnline(device.deviceId),
    ...sightings.of(device.deviceId),
    credentialExpired: device.credentialExpires <= at,
  };
}

/** A text and its salt, hex, which with the hash in the log prove each other; null when there is none here. */
async function writtenText(
  commitment: string | null,
  { texts }: DeviceRoutesOptions,
): Promise<object | null> {
  const found = await texts.find(commitment);
  return found && { text: found.text, salt: toHex(found.salt) };
}
