/** The address of an InfluxDB 1.x database in one line, as INFLUX_URL and `--influx-url` give it. */
import { AnalyticsError } from '../errors.ts';

/** What it is called when nobody says otherwise. */
export const DEFAULT_DATABASE = 'fieldproof';

/** InfluxDB's own bound on a name. */
const MAX_NAME_BYTES = 255;

export interface InfluxAddress {
  /** `http://[user:password@]host:port[/prefix]`. May hold a password: never logged. */
  readonly url: string;
  readonly database: string;
}

/**
 * Reads `http://[user:password@]host:port[/prefix…][/database]`: the last part of the path names the database.
 *
 * @param text - the address.
 * @param options.database - goes before the one in the path; empty counts as none.
 * @param options.fallback - when the path names none. Default `fieldproof`.
 * @throws {AnalyticsError} ERR_USAGE; the message does not repeat the address.
 */
export function influxAddress(
  text: string,
  { database = '', fallback = '' }: { readonly database?: string; readonly fallback?: string } = {},
): InfluxAddress {
  const expected = 'InfluxDB address: expected http(s)://host:port/database';
  if (!URL.canParse(text)) throw new AnalyticsError('ERR_USAGE', expected);
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new AnalyticsError('ERR_USAGE', `${expected}, got ${url.protocol}`);
  }
  const parts = url.pathname.split('/').filter((part) => part !== '');
  const named = decoded(parts.pop() ?? '', expected);
  url.pathname = parts.join('/');
  url.search = '';
  url.hash = '';
  const name = database || named || fallback || DEFAULT_DATABASE;
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw new AnalyticsError(
      'ERR_USAGE',
      `InfluxDB database: expected at most ${MAX_NAME_BYTES} bytes, got ${Buffer.byteLength(name)}`,
    );
  }
  return { url: url.href.replace(/\/$/, ''), database: name };
}

function decoded(part: string, expected: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new AnalyticsError('ERR_USAGE', `${expected}, got a path that is not percent-encoded`);
  }
}
