/**
 * What the requests about a device have in common that one of several keys may sign: which of them did, and that the
 * signature is for this network, this purpose and this device.
 */

import { equalBytes } from './bytes.ts';
import { type CborValue, decode } from './cbor.ts';
import { kidOf } from './ed25519.ts';
import { CONTENT_TYPES, open, parseEnvelope, statementAad, type Verify } from './envelope.ts';
import { ProtocolError } from './errors.ts';
import type { Decoder } from './fields.ts';

/** Who may have signed, by device. */
export interface RequestContext {
  readonly network: string;
  readonly verify: Verify;
  /** Gives the keys, 32 bytes each, that may sign for a device; may throw for one that is unknown. */
  readonly signers: (device: string) => readonly Uint8Array[];
}

/** A request whose signature has been verified. */
export interface SignedRequest<T> {
  readonly body: T;
  /** The one of the signers under whose key it verified. */
  readonly signedBy: Uint8Array;
}

/**
 * Opens a COSE_Sign1 with `external_aad` = [network, purpose, device] under that of the signers whose kid it names.
 *
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID and the shapes' codes; freshness of a nonce is the caller's to judge.
 */
export function openRequest<T extends { readonly device: string }>(
  request: Uint8Array,
  { purpose, body }: { readonly purpose: string; readonly body: Decoder<T> },
  { network, verify, signers }: RequestContext,
): SignedRequest<T> {
  const unverified = parseEnvelope(request);
  const claimed = body(decode(unverified.payload), '');
  const signedBy = signers(claimed.device).find((key) => equalBytes(kidOf(key), unverified.kid));
  if (signedBy === undefined) {
    throw new ProtocolError(
      'ERR_SIGNATURE_INVALID',
      `${purpose}: expected the kid of a key that may sign it`,
    );
  }
  const externalAad = statementAad(network, purpose, claimed.device);
  const opened = open(request, { externalAad, publicKey: signedBy, verify });
  if (opened.contentType !== CONTENT_TYPES.cbor) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', `${purpose}: expected content type 60`);
  }
  const payload: CborValue = decode(opened.payload);
  return { body: body(payload, ''), signedBy };
}
