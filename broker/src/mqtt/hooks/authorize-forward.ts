/** The last look before a message leaves: to a device go its own down messages only. */

import type { AedesPublishPacket, Client } from 'aedes';
import { maySubscribe } from './authorize-subscribe.ts';

export function createAuthorizeForward(network: string) {
  return (client: Client, packet: AedesPublishPacket): AedesPublishPacket | null =>
    maySubscribe(packet.topic, { network, deviceId: client.id }) ? packet : null;
}
