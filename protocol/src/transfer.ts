/** Transfer: a device gets another owner, as both want. docs/spec/identity.md section 8. */

import { decode } from './cbor.ts';
import { CONTENT_TYPES, type Signer, seal, statementAad } from './envelope.ts';
import { bytes, type Decoded, record, text } from './fields.ts';
import { encodeMessage } from './messages.ts';
import { openRequest, type RequestContext, type SignedRequest } from './signed-request.ts';
import { openOwnership, SERVER_NONCE_BYTES } from './statements.ts';

const transfer = record({
  nonce: bytes(SERVER_NONCE_BYTES),
  device: text(48, /^z6Mk/),
  owner: text(64, /^did:key:z6Mk/),
  ownership: bytes({ max: 1024 }),
});

/** `owner` is the new one, `ownership` its statement; `nonce` is that of a hello. */
export type Transfer = Decoded<typeof transfer>;

/**
 * Signs a transfer with the key of the present owner.
 *
 * @throws {ProtocolError} ERR_MESSAGE_MALFORMED when a field is not allowed.
 */
export function sealTransfer(
  body: Transfer,
  { network, signer }: { readonly network: string; readonly signer: Signer },
): Uint8Array {
  const payload = encodeMessage(body);
  transfer(decode(payload), '');
  const externalAad = statementAad(network, 'transfer', body.device);
  return seal({ contentType: CONTENT_TYPES.cbor, payload, externalAad, signer });
}

/**
 * Opens a transfer under the key that signed it, and the new owner's statement under theirs.
 *
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID, ERR_DID_MALFORMED, ERR_KEY_INVALID and the shapes' codes; freshness of
 * the nonce is the caller's to judge.
 */
export function openTransfer(
  request: Uint8Array,
  context: RequestContext,
): SignedRequest<Transfer> {
  const opened = openRequest(request, { purpose: 'transfer', body: transfer }, context);
  const { ownership, owner, device } = opened.body;
  openOwnership(ownership, { ...context, owner, devices: [device] });
  return opened;
}
