/**
 * Who is counted as one, where connections and requests are counted by the address that they come from.
 *
 * Of IPv6 the first 64 bits are what one subscriber usually has (RFC 6177, RFC 4291 section 2.5.1), who may take any
 * address in them; so they are one. An IPv4 address is one, also where it is written as an IPv6 one (`::ffff:…`).
 */

import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';

/** This machine: behind a reverse proxy on it everybody comes from there. */
export const LOOPBACK: readonly string[] = ['127.0.0.0/8', '::1'];

/** What an address counts as. */
export interface AddressShare {
  /** The IPv4 address, or the first four groups of the IPv6 address. */
  readonly name: string;
  /** Limits for single addresses are not for it. */
  readonly isTrusted: boolean;
}

/** What an address counts as; for what is no address, its own text. */
export type AddressRule = (address: string) => AddressShare;

/**
 * Makes the rule.
 *
 * @param trusted - addresses and subnets (`10.0.0.0/8`) to which the limits of single addresses do not apply.
 * @throws {TypeError} when one of them is neither; see {@link isAddressOrSubnet}.
 */
export function addressRule(trusted: readonly string[] = LOOPBACK): AddressRule {
  const list = new BlockList();
  for (const entry of trusted) {
    const [address = '', bits] = entry.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (!isAddressOrSubnet(entry)) throw new TypeError(`${entry}: no address or subnet`);
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return (address) => {
    const plain = plainAddress(address);
    const family = isIP(plain);
    const isTrusted = family !== 0 && list.check(plain, family === 6 ? 'ipv6' : 'ipv4');
    return { name: family === 6 ? network64(plain) : plain, isTrusted };
  };
}

/** Whether a text is what {@link addressRule} takes. */
export function isAddressOrSubnet(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || address.includes('%') || rest.length > 0) return false;
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
  );
}

/** Without a zone, and an IPv4 address in its own form. */
function plainAddress(address: string): string {
  const v4 = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  if (v4 !== undefined && isIPv4(v4)) return v4;
  return address.split('%', 1)[0]!;
}

/** The first 64 bits of an IPv6 address. */
function network64(address: string): string {
  const [head = '', tail = ''] = address.split('::');
  const groups = head.split(':').filter(Boolean);
  const rest = tail.split(':').filter(Boolean);
  const zeros = Array<string>(Math.max(0, 8 - groups.length - rest.length)).fill('0');
  const first = [...groups, ...zeros, ...rest].slice(0, 4);
  return first.map((group) => Number.parseInt(group, 16).toString(16)).join(':');
}
