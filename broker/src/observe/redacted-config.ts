/** The settings as they may be shown to others. Pure. */

import type { BrokerConfig } from '../config.ts';

/**
 * Settings whose value is an address in which there may be a secret, and whether its path may be one: that of a webhook
 * often is, that of a database is its name.
 */
const ADDRESSES: ReadonlyMap<string, { readonly isPathSecret: boolean }> = new Map([
  ['databaseUrl', { isPathSecret: false }],
  ['webhookUrl', { isPathSecret: true }],
]);

/** Addresses without what may be secret in them; everything else as it is: secrets are in files. */
export function redactConfig(config: Partial<BrokerConfig>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(config).map(([key, value]) => {
      const address = ADDRESSES.get(key);
      const isSet = address !== undefined && typeof value === 'string' && value !== '';
      return [key, isSet ? bareAddress(value, address) : value];
    }),
  );
}

/** Without user, password, query, fragment, and maybe path. */
function bareAddress(url: string, { isPathSecret }: { readonly isPathSecret: boolean }): string {
  // Anything else may be a password in the wrong place.
  if (!/^(postgres|postgresql|http|https):\/\//i.test(url) || !URL.canParse(url)) {
    return '[not an address]';
  }
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${isPathSecret && pathname !== '/' ? '/[redacted]' : pathname}`;
}
