/** The MQTT side in the status and the metrics: the desk and the broker of the devices together. */

import type { FrontDesk } from './front-desk.ts';
import type { DeviceSessionsStatus, MqttServer } from './mqtt-server.ts';

export type MqttStatus = ReturnType<FrontDesk['status']> & DeviceSessionsStatus;

export function mqttStatus(desk: FrontDesk, devices: MqttServer): MqttStatus {
  return { ...desk.status(), ...devices.status() };
}
