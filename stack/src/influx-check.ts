/** Whether INFLUX_URL answers as InfluxDB, asked before anything starts. */

import { StackError } from './errors.ts';

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
