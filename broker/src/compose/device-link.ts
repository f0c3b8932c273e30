/**
 * The way down to devices, for what is made before the MQTT server that needs it in turn. What is for a leaf goes to its
 * gateway too: docs/spec/messages.md 6.5.
 */

import { encodeRelayDown, isLeafDownKind } from '@fieldproof/protocol/relay';
import type { PublishDown } from '../gate/session.ts';
import type { MqttServer } from '../mqtt/mqtt-server.ts';

export class DeviceLink {
  private server: MqttServer | null = null;
  private gatewayOf: (leaf: string) => string | null = () => null;

  /** @param gatewayOf - the gateway that relays for a leaf now, or null. */
  attach(server: MqttServer, gatewayOf: (leaf: string) => string | null): void {
    this.server = server;
    this.gatewayOf = gatewayOf;
  }

  /** Nothing is sent before there is a server. */
  readonly publishDown: PublishDown = (deviceId, kind, message) => {
    const { server } = this;
    if (server === null) {
      message.done?.();
      return false;
    }
    const gateway = this.onlineGatewayOf(deviceId);
    if (gateway === null || !isLeafDownKind(kind)) {
      return server.publishDown(deviceId, kind, message);
    }
    const envelope = encodeRelayDown({ leaf: deviceId, kind, envelope: message.envelope });
    // A session of its own may be one that it has left without a word.
    if (!server.isOnline(deviceId)) {
      return server.publishDown(gateway, 'relay-down', { ...message, envelope });
    }
    const wasRelayed = server.publishDown(gateway, 'relay-down', { envelope });
    return server.publishDown(deviceId, kind, message) || wasRelayed;
  };

  readonly isOnline = (deviceId: string): boolean => this.server?.isOnline(deviceId) ?? false;

  /** Whether there is a way to a device: a session of its own, or of its gateway. */
  readonly isReachable = (deviceId: string): boolean =>
    this.isOnline(deviceId) || this.onlineGatewayOf(deviceId) !== null;

  private onlineGatewayOf(deviceId: string): string | null {
    const gateway = this.gatewayOf(deviceId);
    return gateway !== null && this.isOnline(gateway) ? gateway : null;
  }
}
