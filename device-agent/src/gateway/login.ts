/** Whom a gateway lets in: a leaf that proves its key, and has named this gateway. docs/spec/messages.md 6.6. */

import { fromBase64url } from '@fieldproof/protocol/bytes';
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
}

export type LeafLogin =
  | { readonly ok: true; readonly publicKey: Uint8Array; readonly delegation: Uint8Array }
  /** CONNACK return code: 4, bad proof; 5, not a leaf of this gateway. */
  | { readonly ok: false; readonly returnCode: 4 | 5; readonly reason: string };

/** Judges the password of a CONNECT, and uses up its nonce when it is the leaf's. */
export function judgeLeafLogin(
  leaf: string,
  password: Uint8Array,
  context: LoginContext,
): LeafLogin {
  const { network, gateway, registryKey, nonces, delegations, wallMs, mayCome } = context;
  try {
    const bytes = fromBase64url(Buffer.from(password).toString('latin1'));
    const opening = { network, gateway, registryKey, leaf, verify };
    const { login, publicKey } = openGatewayLogin(bytes, opening);
    if (!nonces.use(login.nonce)) return refuse(4, 'nonce: not one of ours, or used');
    if (!mayCome(leaf)) return refuse(5, 'not one of the leaves that may come');
    const said = openDelegation(login.delegation, { network, publicKey, verify });
    if (said.leaf !== leaf || said.gateway !== gateway) {
      return refuse(5, 'delegation: names another gateway');
    }
    if (wallMs !== null && said.expires !== null && said.expires <= wallMs) {
      return refuse(5, 'delegation: expired');
    }
    const known = delegations.get(leaf);
    if (known !== undefined && said.issued < known.said.issued) {
      return refuse(5, 'delegation: not the newest');
    }
    if (known !== undefined && known.problem !== null && said.issued === known.said.issued) {
      return refuse(5, `delegation: refused by the network: ${known.problem}`);
    }
    return { ok: true, publicKey, delegation: login.delegation };
  } catch (error) {
    return refuse(4, reasonOf(error));
  }
}

function refuse(returnCode: 4 | 5, reason: string): LeafLogin {
  return { ok: false, returnCode, reason };
}
