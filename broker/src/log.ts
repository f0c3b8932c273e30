/** The broker's own log: JSON lines by pino, without secrets. */

import pino, { type DestinationStream, type Logger } from 'pino';

export type { Logger } from 'pino';

/** Where secrets could get into a line. */
const SECRETS = ['req.headers.authorization', 'token', 'password', 'joinLine', '*.token', '*.seed'];

/** @param destination - default standard error: standard output carries the `ready` line. */
export function createLogger(
  level: string,
  destination: DestinationStream = pino.destination(2),
): Logger {
  return pino({ name: 'broker', level, redact: SECRETS, base: { pid: process.pid } }, destination);
}
