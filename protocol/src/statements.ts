/**
 * Signed statements outside MQTT: network descriptor, hello, credential, enrolment, ownership, login.
 * docs/spec/identity.md. Each is an envelope without a stamp.
 */

import { equalBytes } from './bytes.ts';
import { type CborValue, decode, encode } from './cbor.ts';
import {
  deviceIdFromPublicKey,
  didKeyFromPublicKey,
  publicKeyFromDeviceId,
  publicKeyFromDidKey,
} from './did-key.ts';
import {
  CONTENT_TYPES,
  type Envelope,
  open,
  parseEnvelope,
  type Signer,
  seal,
  statementAad,
  type Verify,
} from './envelope.ts';
import { ProtocolError } from './errors.ts';
import {
  array,
  bytes,
  type Decoded,
  type Decoder,
  finite,
  nullable,
  optional,
  record,
  text,
  uint,
} from './fields.ts';
import { isNetworkId } from './topics.ts';

/** How long a server nonce may be used. Section 4.2. */
export const NONCE_LIFE_MS = 60_000;
export const SERVER_NONCE_BYTES = 32;
export const TOKEN_BYTES = 16;
/** Most role keys that a descriptor names as compromised. Section 2.1. */
export const MAX_COMPROMISED = 64;

const key = bytes(32);
const did = text(64, /^did:key:z6Mk/);
const deviceId = text(48, /^z6Mk/);
const network: Decoder<string> = (value, path) => {
  const id = text(32)(value, path);
  if (!isNetworkId(id)) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', `${path}: expected a network id`);
  }
  return id;
};
/** Section 5.2. */
const name = text(64, /^\P{Cc}{1,64}$/u);
const cell = text(15, /^(?:[0-9a-f]{15})?$/);
const urls = array(text(256), 16);

const descriptor = record({
  network,
  version: uint(),
  issued: uint(),
  expires: uint(),
  keys: record({ registry: key, log: key, control: key, ledger: key }),
  origins: record({ evidence: text(256), ledger: text(256) }),
  ca: nullable(bytes(32)),
  addresses: record({ http: urls, mqtt: urls, control: urls }),
  witnesses: array(key, 64),
  stewards: array(key, 64),
  mergeDelayMs: uint(),
  compromised: optional(array(key, MAX_COMPROMISED)),
});

const hello = record({
  network,
  time: uint(),
  nonce: bytes(SERVER_NONCE_BYTES),
  clientNonce: bytes({ max: 32 }),
  descriptor: uint(),
});

/** A wanted series, in credentials and `registry` entries. */
export const stream = record({ metric: text(128), cadenceMs: uint(), resolution: finite });

const credential = record({
  device: deviceId,
  key,
  owner: did,
  name,
  group: text(64),
  cell,
  streams: array(stream, 256),
  issued: uint(),
  expires: uint(),
  firstBoot: optional(uint(0xffff_ffff)),
});

const enrolment = record({
  nonce: bytes(SERVER_NONCE_BYTES),
  token: nullable(bytes(TOKEN_BYTES)),
  key,
  owner: did,
  ownership: bytes({ max: 1024 }),
  name,
  cell: optional(cell),
  agent: optional(text(128)),
});

const enrolmentAnswer = record({
  credential: bytes({ max: 60_000 }),
  descriptor: bytes({ max: 60_000 }),
  ca: nullable(bytes({ max: 16_384 })),
});

const ownership = record({ device: deviceId });

/** Section 2.1. */
export type Descriptor = Decoded<typeof descriptor>;
/** Section 4.1. */
export type Hello = Decoded<typeof hello>;
/** Section 5.4. */
export type Credential = Decoded<typeof credential>;
/** Section 5.1. */
export type Enrolment = Decoded<typeof enrolment>;
/** Section 5.3. */
export type EnrolmentAnswer = Decoded<typeof enrolmentAnswer>;
export type RoleName = keyof Descriptor['keys'];

interface Opening {
  readonly network: string;
  readonly publicKey: Uint8Array;
  readonly verify: Verify;
}

interface Sealing {
  readonly network: string;
  readonly signer: Signer;
}

export function sealDescriptor(
  body: Descriptor,
  { signer }: { readonly signer: Signer },
): Uint8Array {
  return sealStatement(body, { signer, externalAad: statementAad(body.network, 'descriptor') });
}

/**
 * Opens a descriptor under the pinned root key.
 *
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID, ERR_NETWORK_MISMATCH and the shapes' codes; expiry is the caller's to judge.
 */
export function openDescriptor(envelope: Uint8Array, context: Opening): Descriptor {
  const body = descriptor(statementBody(envelope, context, 'descriptor'), '');
  return sameNetwork(body, context);
}

/** The payload of a descriptor, not signed: a draft. Section 2.4. */
export function encodeDescriptor(body: Descriptor): Uint8Array {
  return encode({ ...body } as unknown as CborValue);
}

/**
 * Reads a draft: nothing about it is signed.
 *
 * @throws {ProtocolError} ERR_CBOR_… and ERR_MESSAGE_MALFORMED.
 */
export function decodeDescriptor(payload: Uint8Array): Descriptor {
  return descriptor(decode(payload), '');
}

export function sealHello(body: Hello, { signer }: { readonly signer: Signer }): Uint8Array {
  return sealStatement(body, { signer, externalAad: statementAad(body.network, 'hello') });
}

/**
 * Opens a hello under the registry key; it must repeat the nonce that this client sent.
 *
 * @throws {ProtocolError} as {@link openDescriptor}; ERR_SIGNATURE_INVALID when the nonce is another.
 */
export function openHello(
  envelope: Uint8Array,
  context: Opening & { readonly clientNonce: Uint8Array },
): Hello {
  const body = hello(statementBody(envelope, context, 'hello'), '');
  const { clientNonce } = context;
  const repeated =
    body.clientNonce.length === clientNonce.length &&
    clientNonce.every((byte, i) => byte === body.clientNonce[i]);
  if (!repeated) {
    throw new ProtocolError('ERR_SIGNATURE_INVALID', 'hello: answers another nonce');
  }
  return sameNetwork(body, context);
}

export function sealCredential(body: Credential, { network, signer }: Sealing): Uint8Array {
  const externalAad = statementAad(network, 'credential', body.device);
  return sealStatement(body, { signer, externalAad });
}

/**
 * Opens a credential under the registry key: that of a device, or that of whichever device a key has become.
 *
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID and the shapes' codes; ERR_MESSAGE_MALFORMED when it is not for it.
 */
export function openCredential(
  envelope: Uint8Array,
  context: Opening & ({ readonly device: string } | { readonly key: Uint8Array }),
): Credential {
  const device =
    'device' in context
      ? context.device
      : credential(decode(parseEnvelope(envelope).payload), '').device;
  const body = credential(statementBody(envelope, context, 'credential', device), '');
  if (body.device !== device) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'device: names another device');
  }
  if ('key' in context && !equalBytes(body.key, context.key)) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'key: is for another key');
  }
  return body;
}

export function sealEnrolment(body: Enrolment, { network, signer }: Sealing): Uint8Array {
  return sealStatement(body, { signer, externalAad: statementAad(network, 'enrol') });
}

/**
 * Opens an enrolment under the key that it carries: it proves possession of that key.
 *
 * @param context.deviceOf - gives the id of the device that a key, by its own id, belongs to; without it each key is a
 * device of its own. The owner's statement may name either.
 * @returns with it the id of the device.
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID, ERR_KEY_INVALID and the shapes' codes.
 */
export function openEnrolment(
  envelope: Uint8Array,
  context: {
    readonly network: string;
    readonly verify: Verify;
    readonly deviceOf?: (keyId: string) => string;
  },
): { readonly enrolment: Enrolment; readonly device: string } {
  const claimed = enrolment(decode(parseEnvelope(envelope).payload), '');
  const opening = { ...context, publicKey: claimed.key };
  const body = enrolment(statementBody(envelope, opening, 'enrol'), '');
  const keyId = deviceIdFromPublicKey(body.key);
  const device = context.deviceOf?.(keyId) ?? keyId;
  openOwnership(body.ownership, { ...context, owner: body.owner, devices: [keyId, device] });
  return { enrolment: body, device };
}

export function encodeEnrolmentAnswer(answer: EnrolmentAnswer): Uint8Array {
  return encode({ ...answer } as unknown as CborValue);
}

export function decodeEnrolmentAnswer(body: Uint8Array): EnrolmentAnswer {
  return enrolmentAnswer(decode(body), '');
}

export function sealOwnership(device: string, { network, signer }: Sealing): Uint8Array {
  return sealStatement({ device }, { signer, externalAad: statementAad(network, 'ownership') });
}

/**
 * Opens an owner's statement that a device is theirs.
 *
 * @param context.owner - did:key of who must have signed it.
 * @param context.devices - of which it must name one.
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID, ERR_DID_MALFORMED, ERR_KEY_INVALID and the shapes' codes.
 */
export function openOwnership(
  envelope: Uint8Array,
  context: {
    readonly network: string;
    readonly verify: Verify;
    readonly owner: string;
    readonly devices: readonly string[];
  },
): void {
  const publicKey = publicKeyFromDidKey(context.owner);
  const body = ownership(statementBody(envelope, { ...context, publicKey }, 'ownership'), '');
  if (!context.devices.includes(body.device)) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'ownership: names another device');
  }
}

/** The password bytes of a CONNECT; the password is their base64url text. Section 6.1. */
export function sealLogin(
  claims: { readonly device: string; readonly nonce: Uint8Array },
  { network, signer }: Sealing,
): Uint8Array {
  const did = didKeyFromPublicKey(publicKeyFromDeviceId(claims.device));
  const body = new Map<number, CborValue>([
    [1, did],
    [3, network],
    [10, claims.nonce],
  ]);
  return seal({
    contentType: CONTENT_TYPES.cwt,
    payload: encode(body),
    externalAad: statementAad(network, 'login'),
    signer,
  });
}

/**
 * Opens a login under the device's current key.
 *
 * @returns the server nonce in it, which the caller must find fresh and unused.
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID, ERR_NETWORK_MISMATCH, ERR_MESSAGE_MALFORMED.
 */
export function openLogin(
  envelope: Uint8Array,
  context: Opening & { readonly device: string },
): Uint8Array {
  const opened = open(envelope, {
    ...context,
    externalAad: statementAad(context.network, 'login'),
  });
  const claims = decode(opened.payload);
  if (opened.contentType !== CONTENT_TYPES.cwt || !(claims instanceof Map)) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'login: expected a CWT claims set');
  }
  const did = didKeyFromPublicKey(publicKeyFromDeviceId(context.device));
  if (claims.get(1) !== did) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'login: iss (1) names another device');
  }
  if (claims.get(3) !== context.network) {
    throw new ProtocolError('ERR_NETWORK_MISMATCH', 'login: aud (3) names another network');
  }
  return bytes(SERVER_NONCE_BYTES)(claims.get(10), 'nonce (10)');
}

function sealStatement(
  body: object,
  options: { readonly signer: Signer; readonly externalAad: Uint8Array },
): Uint8Array {
  return seal({ ...options, contentType: CONTENT_TYPES.cbor, payload: encode(body as CborValue) });
}

function statementBody(
  envelope: Uint8Array,
  context: Opening,
  ...[purpose, subject]: [purpose: string, subject?: string]
): CborValue {
  const externalAad = statementAad(context.network, purpose, subject);
  const opened: Envelope = open(envelope, { ...context, externalAad });
  if (opened.contentType !== CONTENT_TYPES.cbor) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', `${purpose}: expected content type 60`);
  }
  return decode(opened.payload);
}

function sameNetwork<T extends { readonly network: string }>(
  body: T,
  context: { readonly network: string },
): T {
  if (body.network !== context.network) {
    throw new ProtocolError(
      'ERR_NETWORK_MISMATCH',
      `network: expected ${context.network}, got ${body.network}`,
    );
  }
  return body;
}
