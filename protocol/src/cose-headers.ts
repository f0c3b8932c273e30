/**
 * The headers of a COSE message (RFC 9052 section 3): their shape, `crit`, and the algorithms of this package.
 *
 * Floats in headers stay `Float`, so that -8.0 is not taken for the algorithm -8.
 */

import { type CborMap, type CborValue, decode } from './cbor.ts';
import { ProtocolError } from './errors.ts';

/** Ed25519, fully specified (RFC 9864). */
export const ALG_ED25519 = -19;
/** EdDSA (RFC 9053 section 2.2), which leaves the curve to the key. */
export const ALG_EDDSA = -8;

/** Common header parameters (RFC 9052 section 3.1). */
export const LABEL_ALG = 1;
export const LABEL_CRIT = 2;
export const LABEL_CONTENT_TYPE = 3;
export const LABEL_KID = 4;

export type Ed25519Algorithm = typeof ALG_ED25519 | typeof ALG_EDDSA;

export type Header = ReadonlyMap<CborValue, CborValue>;

export interface Headers {
  readonly protectedHeader: Header;
  readonly unprotectedHeader: Header;
}

/**
 * The map in a protected bstr; h'' and h'a0' are the empty map.
 *
 * @throws {ProtocolError} ERR_COSE_MALFORMED, or a CBOR code whose message names the header.
 */
export function decodeProtectedHeader(bytes: Uint8Array, strict: boolean): CborMap {
  if (bytes.length === 0) return new Map();
  let header: CborValue;
  try {
    header = decode(bytes, { strict, keepFloats: true });
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw new ProtocolError(cause.code, `protected header: ${cause.message}`, { cause });
  }
  if (!(header instanceof Map)) {
    throw malformed('protected header: expected a map in a byte string');
  }
  return header;
}

/**
 * Checks labels, the types of the common parameters, and that no label occurs in both headers.
 *
 * @throws {ProtocolError} ERR_COSE_MALFORMED.
 */
export function checkHeaders({ protectedHeader, unprotectedHeader }: Headers): void {
  checkHeader(protectedHeader, 'protected header');
  checkHeader(unprotectedHeader, 'unprotected header');
  // RFC 9052 section 3: a label that occurs in both headers makes the message malformed.
  for (const label of unprotectedHeader.keys()) {
    if (protectedHeader.has(label)) {
      throw malformed(`headers: label ${String(label)} is in both`);
    }
  }
}

/**
 * Refuses a message with a critical label nobody here understands. RFC 9052 section 3.1.
 *
 * @param understood - labels that the caller processes, besides alg, crit, content type and kid.
 * @throws {ProtocolError} ERR_COSE_MALFORMED.
 */
export function checkCritical(
  headers: Headers,
  understood: readonly (number | string)[] = [],
): void {
  const { protectedHeader, unprotectedHeader } = headers;
  if (unprotectedHeader.has(LABEL_CRIT)) throw malformed('crit: expected in the protected header');
  if (!protectedHeader.has(LABEL_CRIT)) return;
  const labels = protectedHeader.get(LABEL_CRIT);
  if (!Array.isArray(labels) || labels.length === 0) {
    throw malformed('crit: expected an array of at least one label');
  }
  for (const label of labels as readonly CborValue[]) {
    if (!isLabel(label)) throw malformed('crit: expected integer or text labels');
    if (!protectedHeader.has(label)) {
      throw malformed(`crit: label ${label} is not in the protected header`);
    }
    const common = typeof label === 'number' && label >= LABEL_ALG && label <= LABEL_KID;
    if (!common && !understood.includes(label as number | string)) {
      throw malformed(`crit: label ${label} is not understood`);
    }
  }
}

/**
 * The algorithm that a protected header states.
 *
 * @throws {ProtocolError} ERR_COSE_ALGORITHM when there is none or it is not Ed25519.
 */
export function algorithmOf(protectedHeader: Header): Ed25519Algorithm {
  const algorithm = protectedHeader.get(LABEL_ALG);
  if (algorithm === ALG_ED25519 || algorithm === ALG_EDDSA) return algorithm;
  const got = isLabel(algorithm) ? `got ${algorithm}` : 'got none';
  throw new ProtocolError(
    'ERR_COSE_ALGORITHM',
    `alg: expected -19 or -8 in the protected header, ${got}`,
  );
}

/** The error of every message whose shape or headers are wrong. */
export function malformed(what: string): ProtocolError {
  return new ProtocolError('ERR_COSE_MALFORMED', what);
}

/** RFC 9052 section 3: labels are int or tstr; section 3.1: the types of the common parameters. */
function checkHeader(header: Header, name: string): void {
  for (const [label, value] of header) {
    if (!isLabel(label)) throw malformed(`${name}: expected integer or text labels`);
    if (label === LABEL_ALG && !isLabel(value)) {
      throw malformed(`${name}: expected an integer or text as alg`);
    }
    if (label === LABEL_CONTENT_TYPE && typeof value !== 'string' && !isUnsigned(value)) {
      throw malformed(`${name}: expected an unsigned integer or text as content type`);
    }
    if (label === LABEL_KID && !(value instanceof Uint8Array)) {
      throw malformed(`${name}: expected a byte string as kid`);
    }
  }
}

function isLabel(value: CborValue): value is number | bigint | string {
  return typeof value === 'string' || typeof value === 'bigint' || Number.isInteger(value);
}

function isUnsigned(value: CborValue): boolean {
  return (typeof value === 'number' || typeof value === 'bigint') && value >= 0;
}
