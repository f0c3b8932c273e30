/** What a broker of given settings says of itself in the network descriptor. docs/spec/identity.md section 2.1. Pure. */

import type { BrokerConfig } from './config.ts';
import type { DescriptorContent } from './descriptor.ts';
import { type LanNames, lanUrls, reachable, urlOf } from './listeners.ts';

/** Ports that are bound; 0: none. */
export interface BoundPorts {
  readonly http: number;
  readonly mqtt: number;
  readonly https: number;
  readonly mqtts: number;
}

/** Most addresses of a kind that a descriptor takes. */
const MAX_ADDRESSES = 16;

/** @param ca - SHA-256 of the CA's SubjectPublicKeyInfo; null without TLS. */
export function descriptorContent(
  config: Pick<BrokerConfig, 'host' | 'controlPort' | 'mergeDelayMs'>,
  { names, ports }: { readonly names: LanNames; readonly ports: BoundPorts },
  ca: Uint8Array | null,
): DescriptorContent {
  const host = reachable(config.host);
  const http = [urlOf('http', host, ports.http), ...lanUrls(names, 'https', ports.https)];
  const mqtt = [urlOf('mqtt', host, ports.mqtt), ...lanUrls(names, 'mqtts', ports.mqtts)];
  return {
    ca,
    mergeDelayMs: config.mergeDelayMs,
    addresses: {
      http: http.slice(0, MAX_ADDRESSES),
      mqtt: mqtt.slice(0, MAX_ADDRESSES),
      control: [urlOf('http', host, config.controlPort)],
    },
  };
}
