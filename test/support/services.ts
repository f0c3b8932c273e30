/**
 * The servers and programs that tests may need. A missing one skips its suites with a line that says so; with
 * REQUIRE_SERVICES=1 (CI) it fails them.
 */

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { describe, test } from '@jest/globals';
import { REPOSITORY } from './repository.ts';

export { REPOSITORY };

/** The shared published vectors, or null where they are not at hand. */
export const VECTORS_DIR = ((): string | null => {
  const directory = process.env.VECTORS_DIR ?? resolve(REPOSITORY, '../shared/vectors');
  return existsSync(directory) ? directory : null;
})();

export type Service =
  | 'influxd'
  | 'mosquitto'
  | 'mosquitto_pub'
  | 'mosquitto_sub'
  | 'mosquitto_rr'
  | 'chromium'
  | 'python3'
  | 'promtool'
  | 'systemd-analyze'
  | 'cloud-init';

/** What a Python must import to run docs/guides/python-device; a machine may have several, one of which can. */
const PYTHON_MODULES = 'cbor2, cryptography, paho.mqtt.client';

/** The program's path, or null when this machine lacks it. */
export function findService(name: Service): string | null {
  for (const directory of (process.env.PATH ?? '').split(delimiter).concat('/usr/sbin')) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      if (name === 'python3' && !hasModules(path)) continue;
      return path;
    } catch {
      // not here
    }
  }
  return null;
}

/** A `describe` that needs these programs. */
export function describeWith(services: readonly Service[], name: string, body: () => void): void {
  const missing = services.filter((service) => findService(service) === null);
  if (missing.length === 0) {
    describe(name, body);
    return;
  }
  const names = missing.map((service) =>
    service === 'python3' ? `python3 with ${PYTHON_MODULES}` : service,
  );
  const why = `needs ${names.join(', ')}, which this machine does not have`;
  if (process.env.REQUIRE_SERVICES === '1') {
    describe(name, () => {
      test(why, () => {
        throw new Error(`REQUIRE_SERVICES=1: ${why}`);
      });
    });
    return;
  }
  process.stderr.write(`SKIPPED: ${name}: ${why}\n`);
  describe.skip(name, body);
}

function hasModules(python: string): boolean {
  return spawnSync(python, ['-c', `import ${PYTHON_MODULES}`], { stdio: 'ignore' }).status === 0;
}
