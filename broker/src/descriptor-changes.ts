/** What one network descriptor says otherwise than another, for people who are about to sign it. Pure. */

import { equalBytes, toHex } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { encodeMessage } from '@fieldproof/protocol/messages';
import type { Descriptor } from '@fieldproof/protocol/statements';

/** A descriptor, or what one should say before its version and times are known. */
type Said = Omit<Descriptor, 'version' | 'issued' | 'expires'> & Partial<Descriptor>;

/**
 * One line for each thing that differs, such as `keys.log: z6MkA… → z6MkB…`; version and times only where both have
 * them.
 */
export function descriptorChanges(from: Said, to: Said): readonly string[] {
  const [before, after] = [flat(from), flat(to)];
  const names = [...new Set([...before.keys(), ...after.keys()])];
  const lines = names.flatMap((name) => {
    const [was, is] = [before.get(name) ?? '', after.get(name) ?? ''];
    if (was === is || (TIMES.has(name) && (was === '' || is === ''))) return [];
    return [`${name}: ${was || 'none'} → ${is || 'none'}`];
  });
  return lines.length > 0 || saysTheSame(from, to) ? lines : ['something else'];
}

/** What it says, one line a thing. */
export function describeDescriptor(descriptor: Descriptor): readonly (readonly [string, string])[] {
  return [...flat(descriptor)].map(([name, value]) => [name, value || 'none']);
}

const TIMES = new Set(['version', 'issued', 'expires']);

function flat(descriptor: Said): Map<string, string> {
  const { network, version, issued, expires, keys, origins, addresses, ca, mergeDelayMs } =
    descriptor;
  const ids = (list: readonly Uint8Array[]) => list.map(deviceIdFromPublicKey).join(' ');
  return new Map([
    ['network', network],
    ['version', version === undefined ? '' : String(version)],
    ['issued', timeOf(issued)],
    ['expires', timeOf(expires)],
    ...Object.entries(keys).map(([role, key]): [string, string] => [
      `keys.${role}`,
      deviceIdFromPublicKey(key),
    ]),
    ...Object.entries(origins).map(([log, line]): [string, string] => [`origins.${log}`, line]),
    ['ca', ca === null ? '' : toHex(ca)],
    ...Object.entries(addresses).map(([kind, urls]): [string, string] => [
      `addresses.${kind}`,
      urls.join(' '),
    ]),
    ['witnesses', ids(descriptor.witnesses)],
    ['stewards', ids(descriptor.stewards)],
    ['mergeDelayMs', String(mergeDelayMs)],
    ['compromised', ids(descriptor.compromised ?? [])],
  ]);
}

function timeOf(ms: number | undefined): string {
  return ms === undefined ? '' : new Date(ms).toISOString();
}

function saysTheSame(a: Said, b: Said): boolean {
  const said = ({ version: _v, issued: _i, expires: _e, ...rest }: Said) => encodeMessage(rest);
  return equalBytes(said(a), said(b));
}
