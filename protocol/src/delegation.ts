/**
 * A delegation: a leaf names the gateway that may relay for it, or nobody any more. docs/spec/messages.md 6.2.
 * Whether it is newer than the one before is the registry's to judge.
 */

import { decode } from './cbor.ts';
import type { OpenOptions } from './envelope.ts';
import { CONTENT_TYPES, open, parseEnvelope, type Signer, seal, statementAad } from './envelope.ts';
import { ProtocolError } from './errors.ts';
import { type Decoded, nullable, record, text, uint } from './fields.ts';
import { encodeMessage } from './messages.ts';

const deviceId = text(48, /^z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/);

const delegation = record({
  leaf: deviceId,
  gateway: nullable(deviceId),
  issued: uint(),
  expires: nullable(uint()),
});

/**
 * `gateway` null takes the delegation back. `issued` grows with every delegation of a leaf: Unix ms where it knows the
 * time, else one more than the last. `expires` is Unix ms, null for a leaf that sets no end.
 */
export type DelegationStatement = Decoded<typeof delegation>;

/**
 * Signs a delegation with the key of the leaf.
 *
 * @throws {ProtocolError} ERR_MESSAGE_MALFORMED when a field is not allowed.
 */
export function sealDelegation(
  body: DelegationStatement,
  { network, signer }: { readonly network: string; readonly signer: Signer },
): Uint8Array {
  const payload = encodeMessage(body);
  checked(payload);
  const externalAad = statementAad(network, 'delegation');
  return seal({ contentType: CONTENT_TYPES.cbor, payload, externalAad, signer });
}

/** What a delegation says whose signature nobody has checked; for finding the key. @throws {ProtocolError} the shapes' codes. */
export function readDelegation(statement: Uint8Array): DelegationStatement {
  return checked(parseEnvelope(statement).payload);
}

/**
 * Opens a delegation under the leaf's key.
 *
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID and the shapes' codes.
 */
export function openDelegation(
  statement: Uint8Array,
  context: Omit<OpenOptions, 'externalAad'> & { readonly network: string },
): DelegationStatement {
  const externalAad = statementAad(context.network, 'delegation');
  const opened = open(statement, { ...context, externalAad });
  if (opened.contentType !== CONTENT_TYPES.cbor) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'delegation: expected content type 60');
  }
  return checked(opened.payload);
}

function checked(payload: Uint8Array): DelegationStatement {
  const body = delegation(decode(payload), '');
  if (body.gateway !== body.leaf) return body;
  throw new ProtocolError(
    'ERR_MESSAGE_MALFORMED',
    'gateway: expected another device than the leaf',
  );
}
