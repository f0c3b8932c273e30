/** Creates a driver as the agent does, from configuration keys. */

import type { Clock } from '@fieldproof/device-agent/clock';
import { silentLog } from '@fieldproof/device-agent/log';
import type { Problem } from '@fieldproof/device-agent/schema';
import { loadSensorDriver } from '@fieldproof/device-agent/sensors/drivers';
import type { RejectReason, Sensor } from '@fieldproof/device-agent/sensors/sensor';

export async function createSensor(options: {
  readonly driver: string;
  readonly keys: unknown;
  readonly clock: Clock;
  readonly dataDir: string;
  readonly root?: string;
  /** Collects what the driver refuses. */
  readonly rejects?: [reason: RejectReason, detail: string][];
}): Promise<Sensor> {
  const driver = (await loadSensorDriver(options.driver))!;
  const problems: Problem[] = [];
  const checked = driver.options(options.keys, 'sensors[0]', problems);
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return await driver.create({
    options: checked,
    profile: 'test',
    intervalMs: 1000,
    dataDir: options.dataDir,
    clock: options.clock,
    bootMs: () => options.clock.monotonicMs(),
    wallOffsetMs: () => options.clock.wallMs() - options.clock.monotonicMs(),
    log: silentLog,
    reject: (reason, detail) => void options.rejects?.push([reason, detail]),
    root: options.root ?? '/',
  });
}
