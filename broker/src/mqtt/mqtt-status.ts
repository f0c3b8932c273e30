/** The MQTT side in the status and the metrics: the door, the desk and the broker of the devices together. */

import type { Door, DoorStatus } from './door.ts';
import type { FrontDesk } from './front-desk.ts';
import type { HeldPackets } from './held-packets.ts';
import type { DeviceSessionsStatus, MqttServer } from './mqtt-server.ts';

export type MqttStatus = ReturnType<FrontDesk['status']> &
  DoorStatus &
  DeviceSessionsStatus & {
    /** Of packets that have not come whole. */
    readonly heldBytes: number;
  };

export function mqttStatus(parts: {
  readonly desk: FrontDesk;
  readonly door: Door;
  readonly held: HeldPackets;
  readonly devices: MqttServer;
}): MqttStatus {
  const { desk, door, held, devices } = parts;
  const { bytes: heldBytes } = held;
  return { ...desk.status(), ...door.status(), heldBytes, ...devices.status() };
}
