/**
 * LoRaWAN uplinks as network servers publish them, with the payload decoded: which end device, when, what.
 *
 * Shapes: ChirpStack v4 `event/up` (JSON), The Things Stack v3 uplink messages (MQTT and webhook have the same).
 * Leaves out payloads that the network server has not decoded.
 */

import { isMap } from '../schema.ts';
import { atPath } from './metric-value.ts';
import { parseRowTime } from './row-time.ts';

export interface Uplink {
  /** As it stands in `node:<id>/…`: a DevEUI in lower case, or a device id of The Things Stack. */
  readonly node: string;
  /** Unix ms at which the network server had it, undefined where it does not say. */
  readonly timeMs: number | undefined;
  /** The payload as the network server decoded it; null when it did not. */
  readonly decoded: unknown;
}

/** docs/spec/telemetry.md 1.9. */
const NODE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$/;

/** @returns undefined for what is no ChirpStack uplink. */
export function decodeChirpstack(document: unknown): Uplink | undefined {
  const node = idOf(atPath(document, ['deviceInfo', 'devEui']), true);
  if (node === undefined) return undefined;
  const time = atPath(document, ['time']);
  return { node, timeMs: timeOf(time), decoded: atPath(document, ['object']) ?? null };
}

/** @returns undefined for what is no uplink of The Things Stack. */
export function decodeTtn(document: unknown): Uplink | undefined {
  const node = idOf(atPath(document, ['end_device_ids', 'device_id']), false);
  const message = atPath(document, ['uplink_message']);
  if (node === undefined || !isMap(message)) return undefined;
  const time = message.received_at ?? atPath(document, ['received_at']);
  return { node, timeMs: timeOf(time), decoded: message.decoded_payload ?? null };
}

function idOf(found: unknown, isEui: boolean): string | undefined {
  if (typeof found !== 'string' || !NODE.test(found)) return undefined;
  if (!isEui) return found;
  return /^[0-9a-f]{16}$/i.test(found) ? found.toLowerCase() : undefined;
}

function timeOf(found: unknown): number | undefined {
  return typeof found === 'string' && found.length <= 40 ? parseRowTime(found, 'iso') : undefined;
}
