/** The device that a person means: by its id, the end or beginning of it, or its name. */

import { BrokerError } from '../errors.ts';
import type { AdminClient } from './admin-client.ts';

interface Named {
  readonly deviceId: string;
  readonly name: string;
}

const ID_LENGTH = 48;
/** Shorter parts would find others tomorrow. */
const MIN_PART = 6;

/**
 * Path of a device in the admin API.
 *
 * @throws {BrokerError} ERR_DEVICE_UNKNOWN when there is none, ERR_REQUEST when several are meant or the part is too short.
 */
export async function findDeviceUrl(client: AdminClient, text: string): Promise<string> {
  return `/admin/devices/${encodeURIComponent(await findDevice(client, text))}`;
}

/** The id of that device. @throws as {@link findDeviceUrl}. */
export async function findDevice(client: AdminClient, text: string): Promise<string> {
  if (text.length === ID_LENGTH && text.startsWith('z6Mk')) return text;
  const answer = await client.call('GET', '/admin/devices');
  const { devices } = answer as { readonly devices: readonly Named[] };
  // A device chooses its name: one that is part of another's id must not stand for that other.
  const found = devices.filter(({ deviceId, name }) => name === text || isPart(deviceId, text));
  if (found.length === 1) return found[0]!.deviceId;
  if (found.length === 0 && text.length < MIN_PART && devices.some(isOf(text))) {
    const message = `${text}: too short, expected ${MIN_PART} or more characters of an id, or a name`;
    throw new BrokerError('ERR_REQUEST', message);
  }
  if (found.length === 0) throw new BrokerError('ERR_DEVICE_UNKNOWN', `${text}: no device`);
  const ids = found.map(({ deviceId }) => deviceId).join(', ');
  throw new BrokerError('ERR_REQUEST', `${text}: expected one device, got ${ids}`);
}

function isPart(deviceId: string, text: string): boolean {
  return text.length >= MIN_PART && isOf(text)({ deviceId });
}

/** Whether a text is at an end of a device's id. */
function isOf(text: string): (device: Pick<Named, 'deviceId'>) => boolean {
  return ({ deviceId }) => deviceId.endsWith(text) || deviceId.startsWith(text);
}
