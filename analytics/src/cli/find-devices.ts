/** Devices by what a person types: a name, an id, the beginning of either, or a group. */
import { AnalyticsError } from '../errors.ts';
import type { ApiClient } from './api-client.ts';

export interface DeviceName {
  readonly device: string;
  readonly name: string | null;
}

interface Listed extends DeviceName {
  readonly group: string | null;
}

/**
 * The device that `text` names, or all of a group.
 *
 * @throws {AnalyticsError} ERR_USAGE without either; ERR_CONFIG_DEVICE when none or several fit.
 */
export async function findDevices(
  client: ApiClient,
  text: string | undefined,
  group: unknown,
): Promise<readonly DeviceName[]> {
  if ((text === undefined) === (group === undefined)) {
    throw new AnalyticsError('ERR_USAGE', 'device: expected a device, or --group, and not both');
  }
  const { devices } = await client.json<{ devices: readonly Listed[] }>('GET', '/v1/devices');
  if (text === undefined) {
    const found = devices.filter((each) => each.group === group);
    if (found.length > 0) return found;
    throw new AnalyticsError('ERR_CONFIG_DEVICE', `--group ${String(group)}: has no devices`);
  }
  const exact = devices.filter(({ device, name }) => device === text || name === text);
  const found =
    exact.length > 0
      ? exact
      : devices.filter(({ device, name }) => device.startsWith(text) || name?.startsWith(text));
  if (found.length === 1) return found;
  const got = found.length === 0 ? 'none' : `${found.length}: ${found.map(nameOf).join(', ')}`;
  throw new AnalyticsError(
    'ERR_CONFIG_DEVICE',
    `device ${text}: expected one that fits, got ${got}`,
  );
}

function nameOf({ device, name }: DeviceName): string {
  return `${name ?? '?'} (${device.slice(0, 16)}…)`;
}
