/** The MQTT side in the status and the metrics: the door, the desk and the broker of the devices together. */

import type { Door, DoorStatus } from './door.ts';
import type { FrontDesk } from './front-desk.ts';
import type { DeviceSessionsStatus, MqttServer } from './mqtt-server.ts';

export type MqttStatus = ReturnType<FrontDesk['status']> & DoorStatus & DeviceSessionsStatus;

export function mqttStatus(parts: {
  readonly desk: FrontDesk;
  readonly door: Door;
  readonly devices: MqttServer;
}): MqttStatus {
  const { desk, door, devices } = parts;
  return { ...desk.status(), ...door.status(), ...devices.status() };
}
