/** Devices: what the registry has of them, and what operators change about them. */

import type { RegistryAction } from '@fieldproof/protocol/registry-actions';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';
import type { Directory } from '../../registry/directory.ts';
import type { Device } from '../../registry/registry.ts';
import type { Sightings } from '../../registry/sightings.ts';
import { textIn } from './body-fields.ts';

export interface DeviceRoutesOptions {
  readonly directory: Directory;
  readonly isOnline: (deviceId: string) => boolean;
  readonly sightings: Sightings;
  readonly disconnect: (deviceId: string) => void;
  readonly now: () => number;
}

export function addDeviceRoutes(app: FastifyInstance, options: DeviceRoutesOptions): void {
  const { directory } = options;

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
}

/** The device that a request's path names. @throws {BrokerError} ERR_DEVICE_UNKNOWN. */
export function requireDevice(directory: Directory, request: FastifyRequest): Device {
  const { id } = request.params as { readonly id: string };
  const device = directory.get(id);
  if (device) return device;
  throw new BrokerError('ERR_DEVICE_UNKNOWN', `device ${id.slice(0, 64)}: not enrolled`);
}

/** A device as operators see it. */
export function showDevice(
  device: Device,
  { isOnline, sightings, now }: DeviceRoutesOptions,
): object {
  const { publicKey: _key, retired: _retired, ...shown } = device;
  return {
    ...shown,
    online: isOnline(device.deviceId),
    ...sightings.of(device.deviceId),
    credentialExpired: device.credentialExpires <= now(),
  };
}
