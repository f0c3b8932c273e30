/**
 * How a leaf and its gateway prove to each other who they are, without the network: the gateway's hello and the leaf's
 * login. docs/spec/messages.md 6.6. A login for a gateway opens no other door: its external_aad names the gateway.
 */

import { equalBytes } from './bytes.ts';
import { type CborValue, decode } from './cbor.ts';
import { publicKeyFromDeviceId } from './did-key.ts';
import {
  CONTENT_TYPES,
  open,
  parseEnvelope,
  type Signer,
  seal,
  statementAad,
  type Verify,
} from './envelope.ts';
import { ProtocolError } from './errors.ts';
import { bytes, type Decoded, type Decoder, nullable, record, text } from './fields.ts';
import { encodeMessage } from './messages.ts';
import { openCredential, SERVER_NONCE_BYTES } from './statements.ts';

const deviceId = text(48, /^z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/);
const statement = bytes({ max: 32_768 });

const hello = record({
  gateway: deviceId,
  nonce: bytes(SERVER_NONCE_BYTES),
  clientNonce: bytes({ max: 32 }),
  credential: nullable(statement),
});

const login = record({
  leaf: deviceId,
  nonce: bytes(SERVER_NONCE_BYTES),
  credential: nullable(statement),
  delegation: bytes({ max: 1024 }),
});

/** `nonce` is for one login; `credential` the gateway's own, for those who know only its id. */
export type GatewayHello = Decoded<typeof hello>;
/** `delegation` names the gateway; `credential` says which key is the leaf's, where that is not its first. */
export type GatewayLogin = Decoded<typeof login>;

interface Sealing {
  readonly network: string;
  readonly signer: Signer;
}

interface Opening {
  readonly network: string;
  readonly verify: Verify;
  /** Role key `registry`, as far as it is known. */
  readonly registryKey: Uint8Array | undefined;
}

export function sealGatewayHello(body: GatewayHello, { network, signer }: Sealing): Uint8Array {
  return sealed(body, signer, statementAad(network, 'gateway-hello', body.gateway));
}

/**
 * Opens a hello under the key of the gateway that was asked for.
 *
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID and the shapes' codes.
 */
export function openGatewayHello(
  envelope: Uint8Array,
  context: Opening & { readonly gateway: string; readonly clientNonce: Uint8Array },
): GatewayHello {
  const { network, gateway, clientNonce } = context;
  const purpose = { device: gateway, externalAad: statementAad(network, 'gateway-hello', gateway) };
  const body = opened(envelope, { ...purpose, decoder: hello }, context).body;
  if (body.gateway !== gateway || !equalBytes(body.clientNonce, clientNonce)) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'hello: answers another question');
  }
  return body;
}

/** The password bytes of a leaf's CONNECT at its gateway. */
export function sealGatewayLogin(
  body: GatewayLogin,
  { network, signer, gateway }: Sealing & { readonly gateway: string },
): Uint8Array {
  return sealed(body, signer, statementAad(network, 'gateway-login', gateway));
}

/**
 * Opens a leaf's login under its key: that of its credential where the registry has signed it, else its first.
 *
 * @returns what it says, and the key. Freshness of the nonce and the delegation are the caller's to judge.
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID and the shapes' codes.
 */
export function openGatewayLogin(
  envelope: Uint8Array,
  context: Opening & { readonly gateway: string; readonly leaf: string },
): {
  readonly login: GatewayLogin;
  readonly publicKey: Uint8Array;
  /** The registry has signed its credential: the leaf is enrolled, or was. */
  readonly isEnrolled: boolean;
} {
  const { network, gateway, leaf } = context;
  const purpose = { device: leaf, externalAad: statementAad(network, 'gateway-login', gateway) };
  const { body, publicKey, isCredited } = opened(envelope, { ...purpose, decoder: login }, context);
  if (body.leaf !== leaf) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'login: names another device');
  }
  return { login: body, publicKey, isEnrolled: isCredited };
}

function sealed(body: object, signer: Signer, externalAad: Uint8Array): Uint8Array {
  const payload = encodeMessage(body);
  return seal({ contentType: CONTENT_TYPES.cbor, payload, externalAad, signer });
}

function opened<T extends { readonly credential: Uint8Array | null }>(
  envelope: Uint8Array,
  purpose: {
    readonly device: string;
    readonly externalAad: Uint8Array;
    readonly decoder: Decoder<T>;
  },
  { network, verify, registryKey }: Opening,
): { readonly body: T; readonly publicKey: Uint8Array; readonly isCredited: boolean } {
  const { device, externalAad, decoder } = purpose;
  const claimed = decoder(decode(parseEnvelope(envelope).payload), '');
  let credited: Uint8Array | undefined;
  if (claimed.credential !== null && registryKey !== undefined) {
    const of = { network, verify, publicKey: registryKey, device };
    credited = keyIn(claimed.credential, of);
  }
  const publicKey = credited ?? publicKeyFromDeviceId(device);
  const { payload, contentType } = open(envelope, { externalAad, publicKey, verify });
  if (contentType !== CONTENT_TYPES.cbor) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'login: expected content type 60');
  }
  const body: CborValue = decode(payload);
  return { body: decoder(body, ''), publicKey, isCredited: credited !== undefined };
}

/** The key in a credential of the device; undefined when it is not one that the registry key has signed. */
function keyIn(
  credential: Uint8Array,
  context: Parameters<typeof openCredential>[1] & { readonly device: string },
): Uint8Array | undefined {
  try {
    return openCredential(credential, context).key;
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}
