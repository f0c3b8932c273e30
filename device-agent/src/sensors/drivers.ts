/** The drivers by name: a driver's file name is its name in the configuration. Loaded when used. */

import type { SensorDriver } from './sensor.ts';

type Load = () => Promise<SensorDriver>;

export const SENSOR_DRIVERS: Readonly<Record<string, Load>> = {
  replay: async () => (await import('./replay.ts')).replayDriver,
  simulated: async () => (await import('./simulated.ts')).simulatedDriver,
  system: async () => (await import('./system.ts')).systemDriver,
};

/** The driver of a name, or undefined. */
export async function loadSensorDriver(name: string): Promise<SensorDriver | undefined> {
  return Object.hasOwn(SENSOR_DRIVERS, name) ? await SENSOR_DRIVERS[name]!() : undefined;
}
