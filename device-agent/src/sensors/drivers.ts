/** The drivers by name: a driver's file name is its name in the configuration. Loaded when used. */

import { AgentError, codeOf } from '../errors.ts';
import type { SensorDriver } from './sensor.ts';

type Load = () => Promise<SensorDriver>;

export const SENSOR_DRIVERS: Readonly<Record<string, Load>> = {
  chirpstack: async () => (await import('./chirpstack.ts')).chirpstackDriver,
  exec: async () => (await import('./exec.ts')).execDriver,
  'http-json': async () => (await import('./http-json.ts')).httpJsonDriver,
  'modbus-tcp': async () => (await import('./modbus-tcp.ts')).modbusTcpDriver,
  mqtt: async () => (await import('./mqtt.ts')).mqttDriver,
  replay: async () => (await import('./replay.ts')).replayDriver,
  'serial-line': async () => (await import('./serial-line.ts')).serialLineDriver,
  simulated: async () => (await import('./simulated.ts')).simulatedDriver,
  sysfs: async () => (await import('./sysfs.ts')).sysfsDriver,
  system: async () => (await import('./system.ts')).systemDriver,
  ttn: async () => (await import('./ttn.ts')).ttnDriver,
};

/**
 * The driver of a name, or undefined.
 *
 * @throws {AgentError} ERR_AGENT_BUNDLE when its file is not there: in a bundle each driver is one.
 */
export async function loadSensorDriver(name: string): Promise<SensorDriver | undefined> {
  if (!Object.hasOwn(SENSOR_DRIVERS, name)) return undefined;
  try {
    return await SENSOR_DRIVERS[name]!();
  } catch (cause) {
    if (codeOf(cause) !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new AgentError('ERR_AGENT_BUNDLE', `driver ${name}: its file is missing`, { cause });
  }
}
