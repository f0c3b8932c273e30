/** Whom a gateway lets in: a leaf that proves its key, and has named this gateway. docs/spec/messages.md 6.6. */

import { equalBytes, fromBase64url } from '@fieldproof/protocol/bytes';
import { openDelegation } from '@fieldproof/protocol/delegation';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { openGatewayLogin } from '@fieldproof/protocol/gateway-login';
import { reasonOf } from '../errors.ts';
import type { Delegations } from './delegations.ts';
import type { LeafNonces } from './nonces.ts';

export interface LoginContext {
  readonly network: string;
  /** Device id of this gateway. */
  readonly gateway: string;
  readonly registryKey: Uint8Array | undefined;
  readonly nonces: LeafNonces;
  readonly delegations: Delegations;
  /** Unix ms, null while the clock is not believed. */
  readonly wallMs: number | null;
  readonly mayCome: (leaf: string) => boolean;
  /** Whether the network can be asked now who an unknown leaf without a credential is: anybody can have an id. */
  readonly mayAsk: () => boolean;
}

export type LeafLogin =
  | { readonly ok: true; readonly publicKey: Uint8Array; readonly delegation: Uint8Array }
  /** CONNACK return code: 3, not now; 4, bad proof; 5, not a leaf of this gateway. */
  | { readonly ok: false; readonly returnCode: 3 | 4 | 5; readonly reason: string };

/** Judges the password of a CONNECT, and uses up its nonce when it is let in. */
export function judgeLeafLogin(
  leaf: string,
  password: Uint8Array,
  context: LoginContext,
): LeafLogin {
  const { network, gateway, registryKey, nonces, delegations, wallMs, mayCome, mayAsk } = context;
  try {
    const bytes = fromBase64url(Buffer.from(password).toString('latin1'));
    const opening = { network, gateway, registryKey, leaf, verify };
    const { login, publicKey, isEnrolled } = openGatewayLogin(bytes, opening);
    if (!mayCome(leaf)) return refuse(5, 'not one of the leaves that may come');
    const said = openDelegation(login.delegation, { network, publicKey, verify });
    if (said.leaf !== leaf || said.gateway !== gateway) {
      return refuse(5, 'delegation: names another gateway');
    }
    if (hasExpired(said, wallMs)) return refuse(5, 'delegation: expired');
    const keys = delegations.keysOf(leaf);
    const at = keys.findIndex((key) => equalBytes(key, publicKey));
    // Keys never come back: it may be in the hands of whoever stole it.
    if (at >= 0 && at < keys.length - 1) return refuse(4, 'key: the leaf has had a newer one');
    const known = delegations.get(leaf);
    if (known !== undefined && said.issued < known.said.issued) {
      return refuse(5, 'delegation: not the newest');
    }
    if (known !== undefined && known.problem !== null && said.issued === known.said.issued) {
      return refuse(5, `delegation: refused by the network: ${known.problem}`);
    }
    if (known === undefined && !isEnrolled && !mayAsk()) {
      return refuse(3, 'without a credential of the network, which cannot be asked now');
    }
    // At last: strangers use none up.
    if (!nonces.use(login.nonce)) return refuse(4, 'nonce: not one of ours, or used');
    return { ok: true, publicKey, delegation: login.delegation };
  } catch (error) {
    return refuse(4, reasonOf(error));
  }
}

/** By a clock that is believed. */
export function hasExpired(
  { expires }: { readonly expires: number | null },
  wallMs: number | null,
): boolean {
  return wallMs !== null && expires !== null && expires <= wallMs;
}

function refuse(returnCode: 3 | 4 | 5, reason: string): LeafLogin {
  return { ok: false, returnCode, reason };
}
