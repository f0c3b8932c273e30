/**
 * An owner's appeal against the suspension of a device: a statement by the owner key, answered by an operator.
 * docs/spec/registry.md section 4.3. Whether it may be made at all is the registry's to say.
 */

import { decode } from './cbor.ts';
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
import { bytes, type Decoded, record, text, uint } from './fields.ts';
import { encodeMessage } from './messages.ts';
import { SERVER_NONCE_BYTES } from './statements.ts';

/** Longest text of an appeal, in UTF-16 units. */
export const MAX_APPEAL_TEXT = 1024;

const appeal = record({
  nonce: bytes(SERVER_NONCE_BYTES),
  device: text(48, /^z6Mk/),
  suspension: uint(),
  // It is shown in operators' terminals: of the control characters only line feed and tab.
  text: text(MAX_APPEAL_TEXT, /^[\P{Cc}\n\t]+$/u),
});

/** `suspension` is the index of the `suspend` entry, `nonce` that of a hello. */
export type Appeal = Decoded<typeof appeal>;

/**
 * Signs an appeal with the owner key.
 *
 * @throws {ProtocolError} ERR_MESSAGE_MALFORMED when a field is not allowed.
 */
export function sealAppeal(
  body: Appeal,
  { network, signer }: { readonly network: string; readonly signer: Signer },
): Uint8Array {
  const payload = encodeMessage(body);
  appeal(decode(payload), '');
  const externalAad = statementAad(network, 'appeal', body.device);
  return seal({ contentType: CONTENT_TYPES.cbor, payload, externalAad, signer });
}

/**
 * The text in an appeal whose signature has been verified, such as one in the log.
 *
 * @throws {ProtocolError} the shapes' codes.
 */
export function readAppealText(envelope: Uint8Array): string {
  return appeal(decode(parseEnvelope(envelope).payload), '').text;
}

/**
 * Opens an appeal under the key of the owner of the device that it names.
 *
 * @param context.ownerKey - gives the owner key, 32 bytes, of a device; may throw for one that is unknown.
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID and the shapes' codes; freshness of the nonce is the caller's to judge.
 */
export function openAppeal(
  envelope: Uint8Array,
  context: {
    readonly network: string;
    readonly verify: Verify;
    readonly ownerKey: (device: string) => Uint8Array;
  },
): Appeal {
  const { network, verify, ownerKey } = context;
  const claimed = appeal(decode(parseEnvelope(envelope).payload), '');
  const opened = open(envelope, {
    externalAad: statementAad(network, 'appeal', claimed.device),
    publicKey: ownerKey(claimed.device),
    verify,
  });
  if (opened.contentType !== CONTENT_TYPES.cbor) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'appeal: expected content type 60');
  }
  return appeal(decode(opened.payload), '');
}
