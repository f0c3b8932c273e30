/**
 * COSE_Sign1 (RFC 9052 section 4.2) with Ed25519, over our CBOR. The envelope profile is a file of its own.
 *
 * What was signed is kept as received: header and payload are byte views on the message, never encoded again.
 * The choices that the RFC leaves to the application:
 * - tag 18 may be absent; `tag: 'required'` demands it. Any other tag is refused.
 * - a detached (nil) payload is refused unless `detachedPayload` is given, and a payload in both places is refused.
 * - the CBOR around and inside the headers may be non-deterministic; `strict` refuses that. Duplicate labels, within
 *   one header or across both, are refused always (section 3).
 * - h'' and h'a0' both mean an empty protected header, and both are signed as h'' (sections 3 and 4.4).
 * - the algorithm is -19 (Ed25519, RFC 9864) or -8 (EdDSA, RFC 9053), from the protected header only.
 *
 * Leaves out COSE_Sign, counter signatures, keys in headers, and every other algorithm.
 */

import { type CborMap, type CborValue, decode, encode, Tagged } from './cbor.ts';
import { CborWriter } from './cbor-writer.ts';
import {
  algorithmOf,
  checkCritical,
  checkHeaders,
  decodeProtectedHeader,
  type Ed25519Algorithm,
  type Header,
  malformed,
} from './cose-headers.ts';
import { ProtocolError } from './errors.ts';

/** COSE_Sign1_Tagged. */
export const TAG_SIGN1 = 18;

const DEFAULT_MAX_BYTES = 1 << 20;
const SIGNATURE_BYTES = 64;
const PUBLIC_KEY_BYTES = 32;
/** An array of four, and the text "Signature1". */
const SIG_STRUCTURE_HEAD = Uint8Array.of(0x84, 0x6a, ...new TextEncoder().encode('Signature1'));
const EMPTY = new Uint8Array(0);

/** The parts of a message. Nothing about the signature is known yet. */
export interface Sign1 {
  /** Content of the protected bstr, as received. */
  readonly protectedBytes: Uint8Array;
  readonly protectedHeader: CborMap;
  readonly unprotectedHeader: CborMap;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

/** A message whose signature was verified. The unprotected header is still anybody's. */
export interface VerifiedSign1 extends Sign1 {
  readonly verified: true;
  readonly algorithm: Ed25519Algorithm;
}

export interface DecodeSign1Options {
  /** Longest message in bytes, default 1 MiB. Protects memory. */
  readonly maxBytes?: number;
  /** Whether tag 18 has to be there. Default 'optional'. */
  readonly tag?: 'required' | 'optional';
  /** Refuse CBOR that is not core deterministic, headers included. Default false. */
  readonly strict?: boolean;
  /** The payload of a message that carries nil. */
  readonly detachedPayload?: Uint8Array;
}

export interface VerifySign1Options extends DecodeSign1Options {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** What both sides know and the message does not carry; empty for none. RFC 9052 section 4.3. */
  readonly externalAad: Uint8Array;
  /** `verify` of `ed25519.ts` or `ed25519-node.ts`. */
  readonly verify: (signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array) => boolean;
  /** Labels that the caller processes, besides 1 to 4, for `crit`. */
  readonly understood?: readonly (number | string)[];
}

export interface EncodeSign1Options {
  /** Has to state algorithm -19 or -8. */
  readonly protectedHeader: Header;
  readonly unprotectedHeader?: Header;
  readonly payload: Uint8Array;
  readonly externalAad: Uint8Array;
  /** Gives the 64-byte Ed25519 signature of the bytes. */
  readonly sign: (message: Uint8Array) => Uint8Array;
  /** Leave the payload out of the message. Default false. */
  readonly detached?: boolean;
}

/**
 * Takes a COSE_Sign1 message apart and checks its shape and headers, not its signature.
 *
 * @throws {ProtocolError} ERR_COSE_MALFORMED; ERR_CBOR_MALFORMED, ERR_CBOR_LIMIT or (strict)
 * ERR_CBOR_NOT_DETERMINISTIC from the CBOR; ERR_CBOR_LIMIT when longer than maxBytes.
 */
export function decodeSign1(bytes: Uint8Array, options: DecodeSign1Options = {}): Sign1 {
  const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
  if (!(bytes instanceof Uint8Array)) {
    throw new ProtocolError('ERR_ARGUMENT', `message: expected a Uint8Array, got ${typeof bytes}`);
  }
  if (bytes.length > maxBytes) {
    throw new ProtocolError(
      'ERR_CBOR_LIMIT',
      `message: expected at most ${maxBytes} bytes, got ${bytes.length}`,
    );
  }
  const strict = options.strict ?? false;
  const parts = untag(decode(bytes, { strict, keepFloats: true }), options.tag ?? 'optional');
  if (!Array.isArray(parts)) throw malformed('message: expected an array of 4');
  if (parts.length !== 4) throw malformed(`message: expected 4 elements, got ${parts.length}`);
  const [protectedBytes, unprotectedHeader, payload, signature] = parts as readonly CborValue[];
  if (!(protectedBytes instanceof Uint8Array)) {
    throw malformed('protected header: expected a byte string');
  }
  if (!(unprotectedHeader instanceof Map)) throw malformed('unprotected header: expected a map');
  if (!(signature instanceof Uint8Array)) throw malformed('signature: expected a byte string');
  const protectedHeader = decodeProtectedHeader(protectedBytes, strict);
  checkHeaders({ protectedHeader, unprotectedHeader });
  return {
    protectedBytes,
    protectedHeader,
    unprotectedHeader,
    payload: choosePayload(payload, options.detachedPayload),
    signature,
  };
}

/**
 * The bytes that are signed (RFC 9052 section 4.4): ["Signature1", protected, external_aad, payload].
 *
 * @param protectedBytes - content of the protected bstr, as received or sent.
 * @throws {ProtocolError} ERR_ARGUMENT when the payload or external_aad is not a Uint8Array.
 */
export function sigStructure(
  protectedBytes: Uint8Array,
  externalAad: Uint8Array,
  payload: Uint8Array,
): Uint8Array {
  return writeSigStructure(new CborWriter(), { protectedBytes, payload }, externalAad).slice();
}

/**
 * The same without memory of its own: written to from the beginning of a writer.
 *
 * @returns a view of the writer's buffer, good until it is written to again.
 */
export function writeSigStructure(
  writer: CborWriter,
  {
    protectedBytes,
    payload,
  }: { readonly protectedBytes: Uint8Array; readonly payload: Uint8Array },
  externalAad: Uint8Array,
): Uint8Array {
  // Anything else than bytes would be encoded as what it is, and signed.
  if (!(externalAad instanceof Uint8Array && payload instanceof Uint8Array)) {
    throw new ProtocolError('ERR_ARGUMENT', 'external_aad and payload: expected Uint8Array');
  }
  // "If there are no protected header parameters, a zero-length byte string is used."
  const empty = protectedBytes.length === 1 && protectedBytes[0] === 0xa0;
  writer.length = 0;
  writer.raw(SIG_STRUCTURE_HEAD);
  writer.byteString(empty ? EMPTY : protectedBytes);
  writer.byteString(externalAad);
  writer.byteString(payload);
  return writer.buffer.subarray(0, writer.length);
}

/**
 * Signs a payload. The message is tagged and deterministically encoded.
 *
 * @throws {ProtocolError} ERR_ARGUMENT when a header cannot be encoded or the signature is not 64 bytes;
 * ERR_COSE_ALGORITHM or ERR_COSE_MALFORMED when `verifySign1` would refuse the headers.
 */
export function encodeSign1(options: EncodeSign1Options): Uint8Array {
  const { protectedHeader, unprotectedHeader = new Map(), payload, externalAad } = options;
  checkHeaders({ protectedHeader, unprotectedHeader });
  algorithmOf(protectedHeader);
  const protectedBytes = encode(protectedHeader);
  const signature = options.sign(sigStructure(protectedBytes, externalAad, payload));
  if (signature.length !== SIGNATURE_BYTES) {
    throw new ProtocolError(
      'ERR_ARGUMENT',
      `signature: expected 64 bytes, got ${signature.length}`,
    );
  }
  const carried = options.detached ? null : payload;
  return encode(new Tagged(TAG_SIGN1, [protectedBytes, unprotectedHeader, carried, signature]));
}

/**
 * Verifies a COSE_Sign1 message and returns what it signed. RFC 9052 section 4.4.
 *
 * @param bytes - the message, tag 18 optional unless options say otherwise.
 * @throws {ProtocolError} as `decodeSign1`; ERR_COSE_ALGORITHM; ERR_COSE_MALFORMED for a critical label that is not
 * understood or a signature that is not 64 bytes; ERR_KEY_INVALID when the key is not 32 bytes;
 * ERR_SIGNATURE_INVALID.
 */
export function verifySign1(bytes: Uint8Array, options: VerifySign1Options): VerifiedSign1 {
  const { publicKey, externalAad, verify } = options;
  if (!(publicKey instanceof Uint8Array) || publicKey.length !== PUBLIC_KEY_BYTES) {
    throw new ProtocolError('ERR_KEY_INVALID', 'public key: expected 32 bytes');
  }
  const message = decodeSign1(bytes, options);
  checkCritical(message, options.understood);
  const algorithm = algorithmOf(message.protectedHeader);
  const { protectedBytes, payload, signature } = message;
  if (signature.length !== SIGNATURE_BYTES) {
    throw malformed(`signature: expected 64 bytes (Ed25519), got ${signature.length}`);
  }
  const signed = sigStructure(protectedBytes, externalAad, payload);
  if (!verify(signature, signed, publicKey)) {
    throw new ProtocolError(
      'ERR_SIGNATURE_INVALID',
      'signature: does not verify under the key and external_aad',
    );
  }
  return { ...message, verified: true, algorithm };
}

function untag(item: CborValue, tag: 'required' | 'optional'): CborValue {
  if (!(item instanceof Tagged)) {
    if (tag === 'required') throw malformed('message: expected tag 18, got no tag');
    return item;
  }
  if (item.tag !== TAG_SIGN1) throw malformed(`message: expected tag 18, got tag ${item.tag}`);
  return item.value;
}

function choosePayload(payload: CborValue, detached: Uint8Array | undefined): Uint8Array {
  if (payload === null) {
    if (detached === undefined) {
      throw malformed(
        'payload: expected a byte string, got nil (detached) and no detached payload',
      );
    }
    return detached;
  }
  if (!(payload instanceof Uint8Array)) throw malformed('payload: expected a byte string');
  if (detached !== undefined) {
    throw malformed('payload: expected nil, since a detached payload is given');
  }
  return payload;
}
