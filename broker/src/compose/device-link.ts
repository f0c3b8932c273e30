/** The way down to devices, for what is made before the MQTT server that needs it in turn. */

import type { PublishDown } from '../gate/session.ts';
import type { MqttServer } from '../mqtt/mqtt-server.ts';

export class DeviceLink {
  private server: MqttServer | null = null;

  attach(server: MqttServer): void {
    this.server = server;
  }

  /** Nothing is sent before there is a server. */
  readonly publishDown: PublishDown = (deviceId, kind, message) => {
    if (this.server !== null) return this.server.publishDown(deviceId, kind, message);
    message.done?.();
    return false;
  };

  readonly isOnline = (deviceId: string): boolean => this.server?.isOnline(deviceId) ?? false;
}
