/** What `doctor` sees of the data folder: files and who can read them, the configuration, its sensors. */

import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, systemClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { loadDeviceKey } from './device-key.ts';
import { type Finding, fail, ok, skip, warn } from './doctor.ts';
import { AGENT_ERRORS, type AgentErrorCode, reasonOf, toldCodeOf } from './errors.ts';
import { silentLog } from './log.ts';
import { loadSensorDriver } from './sensors/drivers.ts';

const READ_TIMEOUT_MS = 8000;
/** What only the agent's user may read. */
const SECRETS = ['device.key', 'join-line', 'owner.json'];

/** A failure with the remedy of its code. */
export function failFor(code: string, error: unknown): Finding {
  const known = toldCodeOf(error);
  const remedy =
    known !== undefined && Object.hasOwn(AGENT_ERRORS, known)
      ? AGENT_ERRORS[known as AgentErrorCode].remedy
      : 'Remove what it names as the reason, look again.';
  return fail(code, reasonOf(error).split('\n').join('; '), remedy);
}

/** Key and folder: there, of one user, read by nobody else. */
export async function checkFiles(dataDir: string): Promise<readonly Finding[]> {
  const folder = await lstat(dataDir).catch(() => undefined);
  if (folder === undefined) {
    const remedy = "Run fieldproof-agent init --join '<join line>' --data <folder>, or name it.";
    return [fail('folder', `${dataDir} is not there`, remedy)];
  }
  const findings: Finding[] = [];
  if ((folder.mode & 0o077) !== 0) {
    findings.push(warn('folder', `${dataDir}: others see into it`, `Run chmod 700 ${dataDir}`));
  } else findings.push(ok('folder', dataDir));
  findings.push(
    await loadDeviceKey(dataDir).then(
      ({ deviceId }) => ok('key', deviceId),
      (error: unknown) => failFor('key', error),
    ),
  );
  const names = await readdir(dataDir);
  for (const name of SECRETS.filter((each) => each !== 'device.key' && names.includes(each))) {
    const path = join(dataDir, name);
    if (((await lstat(path)).mode & 0o077) === 0) continue;
    findings.push(fail('files-readable', `${path}: others can read it`, `Run chmod 600 ${path}`));
  }
  for (const path of await pathsBelow(dataDir)) {
    const uid = await lstat(path).then(
      (found) => found.uid,
      () => folder.uid,
    );
    if (uid === folder.uid) continue;
    const remedy = `Run chown -R ${folder.uid}:${folder.gid} ${dataDir}, or install again.`;
    findings.push(fail('files-owner', `${path} and ${dataDir} have different owners`, remedy));
    break;
  }
  return findings;
}

/** What lies in the data folder and in those of its state: a command that was run as root leaves files there too. */
async function pathsBelow(dataDir: string): Promise<string[]> {
  const folders = [
    dataDir,
    ...['', 'outbox', 'parked', 'raw'].map((n) => join(dataDir, 'state', n)),
  ];
  const found = await Promise.all(
    folders.map(async (folder) => {
      const names = await readdir(folder).catch(() => []);
      return names.map((name) => join(folder, name));
    }),
  );
  return found.flat();
}

/** Opens each sensor once and asks it once; a sensor that speaks by itself is opened only. */
export async function checkSensors(
  config: AgentConfig | undefined,
  options: { readonly dataDir: string; readonly root: string; readonly clock?: Clock },
): Promise<readonly Finding[]> {
  if (config === undefined) return [skip('sensors', 'without a configuration')];
  if (config.sensors.length === 0) {
    return [warn('sensors', 'none is configured', 'Add one to agent.yaml: agent.example.yaml.')];
  }
  const { clock = systemClock } = options;
  const startMs = clock.monotonicMs();
  return await Promise.all(
    config.sensors.map(async ({ driver: name, profile, intervalMs, options: own }) => {
      const code = `sensor-${profile}`;
      try {
        const driver = await loadSensorDriver(name);
        if (driver === undefined) throw new Error(`${name}: no such driver`);
        const sensor = await driver.create({
          ...{ options: own, profile, intervalMs, clock, log: silentLog },
          ...{ dataDir: options.dataDir, root: options.root },
          bootMs: () => clock.monotonicMs() - startMs,
          wallOffsetMs: () => Math.round(clock.wallMs() - (clock.monotonicMs() - startMs)),
          reject: () => {},
        });
        if (sensor.kind === 'push') {
          return ok(code, `${name}: opened, ${sensor.metrics.length} metrics; it speaks by itself`);
        }
        const readings = await soon(sensor.read());
        if (readings.length > 0) return ok(code, `${name}: ${readings.length} readings`);
        return warn(code, `${name}: no readings now`, AGENT_ERRORS.ERR_AGENT_SENSOR.remedy);
      } catch (error) {
        return fail(code, `${name}: ${reasonOf(error)}`, AGENT_ERRORS.ERR_AGENT_SENSOR.remedy);
      }
    }),
  );
}

function soon<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = `no answer within ${READ_TIMEOUT_MS} ms`;
    timer = setTimeout(() => reject(new Error(message)), READ_TIMEOUT_MS);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
