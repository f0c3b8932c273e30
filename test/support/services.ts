/**
 * The servers and programs that tests may need. A missing one skips its suites with a line that says so; with
 * REQUIRE_SERVICES=1 (CI) it fails them.
 */

import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { describe, test } from '@jest/globals';

export const REPOSITORY = resolve(import.meta.dirname, '../..');

/** The shared published vectors, or null where they are not at hand. */
export const VECTORS_DIR = ((): string | null => {
  const directory = process.env.VECTORS_DIR ?? resolve(REPOSITORY, '../shared/vectors');
  return existsSync(directory) ? directory : null;
})();

export type Service = 'influxd' | 'mosquitto' | 'mosquitto_pub' | 'chromium';

/** The program's path, or null when this machine lacks it. */
export function findService(name: Service): string | null {
  for (const directory of (process.env.PATH ?? '').split(delimiter).concat('/usr/sbin')) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
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
  const why = `needs ${missing.join(', ')}, which this machine does not have`;
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
