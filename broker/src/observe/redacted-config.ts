/** The settings as they may be shown to others. Pure. */

import type { BrokerConfig } from '../config.ts';

/** Settings whose value is an address in which there may be a secret. */
const ADDRESSES: ReadonlySet<string> = new Set(['databaseUrl', 'webhookUrl']);

/** Addresses without user, password, query and fragment; everything else as it is: secrets are in files. */
export function redactConfig(config: Partial<BrokerConfig>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(config).map(([key, value]) => [
      key,
      ADDRESSES.has(key) && typeof value === 'string' && value !== '' ? bareAddress(value) : value,
    ]),
  );
}

function bareAddress(url: string): string {
  // Anything else may be a password in the wrong place.
  if (!/^(postgres|postgresql|http|https):\/\//i.test(url) || !URL.canParse(url)) {
    return '[not an address]';
  }
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}
