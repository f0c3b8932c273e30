/**
 * Rotation: another key for a device, asked for by the device or by its owner. docs/spec/identity.md section 7.
 * What comes of it, and which boots each key signs, is in registry.md section 3.
 */

import { decode } from './cbor.ts';
import { isAcceptablePublicKey } from './ed25519.ts';
import { CONTENT_TYPES, open, type Signer, seal, statementAad, type Verify } from './envelope.ts';
import { ProtocolError } from './errors.ts';
import { bytes, type Decoded, type Decoder, record, text, uint } from './fields.ts';
import { encodeMessage } from './messages.ts';
import { openRequest, type RequestContext, type SignedRequest } from './signed-request.ts';
import { SERVER_NONCE_BYTES } from './statements.ts';

/** Why a key is replaced: in the course of things or because it is lost, or because somebody else may have it. */
export const ROTATION_CAUSES = ['rotation', 'compromise'] as const;
export type RotationCause = (typeof ROTATION_CAUSES)[number];

const deviceId = text(48, /^z6Mk/);

const cause: Decoder<RotationCause> = (value, path) => {
  const name = text(16)(value, path) as RotationCause;
  if (ROTATION_CAUSES.includes(name)) return name;
  throw new ProtocolError(
    'ERR_MESSAGE_MALFORMED',
    `${path}: expected ${ROTATION_CAUSES.join(', ')}`,
  );
};

const rotation = record({
  nonce: bytes(SERVER_NONCE_BYTES),
  device: deviceId,
  key: bytes(32),
  firstBoot: uint(0xffff_ffff),
  cause,
  proof: bytes({ max: 1024 }),
});

const possession = record({ device: deviceId });

/** `key` is the new one, which signs boots from `firstBoot` on; `nonce` is that of a hello. */
export type Rotation = Decoded<typeof rotation>;

interface Sealing {
  readonly network: string;
  readonly signer: Signer;
}

/** The new key's statement that whoever has it wants to be the device: the `proof` of a rotation. */
export function sealPossession(device: string, { network, signer }: Sealing): Uint8Array {
  return seal({
    contentType: CONTENT_TYPES.cbor,
    payload: encodeMessage({ device }),
    externalAad: statementAad(network, 'possession', device),
    signer,
  });
}

/**
 * Signs a rotation with the device's current key, or its owner's.
 *
 * @throws {ProtocolError} ERR_MESSAGE_MALFORMED when a field is not allowed.
 */
export function sealRotation(body: Rotation, { network, signer }: Sealing): Uint8Array {
  const payload = encodeMessage(body);
  rotation(decode(payload), '');
  const externalAad = statementAad(network, 'rotate', body.device);
  return seal({ contentType: CONTENT_TYPES.cbor, payload, externalAad, signer });
}

/**
 * Opens a rotation under the key that signed it, and its proof under the new key.
 *
 * @throws {ProtocolError} ERR_SIGNATURE_INVALID, ERR_KEY_INVALID when the new key cannot sign, and the shapes' codes;
 * whether nonce, `firstBoot` and the new key may be used is the caller's to judge.
 */
export function openRotation(
  request: Uint8Array,
  context: RequestContext,
): SignedRequest<Rotation> {
  const opened = openRequest(request, { purpose: 'rotate', body: rotation }, context);
  openPossession(opened.body, context);
  return opened;
}

function openPossession(
  { device, key, proof }: Rotation,
  { network, verify }: { readonly network: string; readonly verify: Verify },
): void {
  if (!isAcceptablePublicKey(key)) {
    throw new ProtocolError('ERR_KEY_INVALID', 'key: expected a canonical point of large order');
  }
  const externalAad = statementAad(network, 'possession', device);
  const opened = open(proof, { externalAad, publicKey: key, verify });
  const isForDevice =
    opened.contentType === CONTENT_TYPES.cbor &&
    possession(decode(opened.payload), 'proof').device === device;
  if (!isForDevice) {
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', 'proof: is not for this device');
  }
}
