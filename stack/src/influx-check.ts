/**
 * Whether INFLUX_URL answers as InfluxDB, asked before anything starts: a mistyped address is a mistake to name. One
 * that has answered this data folder before is no mistake, and may be down or late after a reboot.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from './data-folder.ts';
import { StackError } from './errors.ts';

const FILE = 'INFLUX';

const TIMEOUT_MS = 5000;

/** @throws {StackError} ERR_INFLUX_UNREACHABLE, without the password that the URL may hold. */
export async function checkInflux(influxUrl: string): Promise<void> {
  const url = new URL(influxUrl);
  const shown = `${url.protocol}//${url.host}`;
  // The last part of the path names the database; what is before it is a prefix.
  const ping = new URL(`${url.pathname.replace(/\/?[^/]*\/?$/, '')}/ping`, url);
  ping.username = '';
  ping.password = '';
  let response: Response;
  try {
    response = await fetch(ping, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (cause) {
    const code = (cause as { cause?: { code?: string } }).cause?.code;
    throw new StackError(
      'ERR_INFLUX_UNREACHABLE',
      `INFLUX_URL ${shown}: no answer${code === undefined ? '' : ` (${code})`}`,
      { cause },
    );
  }
  if (!response.headers.has('x-influxdb-version')) {
    throw new StackError(
      'ERR_INFLUX_UNREACHABLE',
      `INFLUX_URL ${shown}: expected InfluxDB, got an HTTP ${response.status} of something else`,
    );
  }
}

/** Whether this server has answered when the network of this data folder started before. */
export function isKnownInflux(dataDir: string, influxUrl: string): boolean {
  try {
    return readFileSync(join(dataDir, FILE), 'utf8').trim() === new URL(influxUrl).origin;
  } catch {
    return false;
  }
}

/** Remembers that it has. The user and password that the URL may hold are left out. */
export function noteInflux(dataDir: string, influxUrl: string): void {
  replaceFile(join(dataDir, FILE), `${new URL(influxUrl).origin}\n`);
}
