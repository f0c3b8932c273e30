/**
 * What a gateway carries, up and down: `[leaf, kind, envelope]`. docs/spec/messages.md section 6. The envelope inside is
 * opaque here: it has a signature of its own, by the leaf or by a role of the network.
 */

import { type CborValue, decode, encode } from './cbor.ts';
import { MAX_ENVELOPE_BYTES } from './envelope.ts';
import { ProtocolError } from './errors.ts';
import { bytes, type Decoder, text, tuple } from './fields.ts';
import { type DownKind, isDownKind, isUpKind, type UpKind } from './topics.ts';

/** Kinds that leaves send: a relay carries no relay. */
export type LeafKind = Exclude<UpKind, 'relay'>;
/** Kinds that leaves receive. */
export type LeafDownKind = Exclude<DownKind, 'relay-down'>;

export interface Relayed<Kind> {
  /** Device id of the leaf. */
  readonly leaf: string;
  readonly kind: Kind;
  /** At most MAX_ENVELOPE_BYTES; of a decoded one a view of the payload. */
  readonly envelope: Uint8Array;
}

const deviceId = text(48, /^z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/);
const carried = bytes({ max: MAX_ENVELOPE_BYTES });
const SHAPE = { maxDepth: 4, maxItems: 64 } as const;

const up = tuple<readonly [string, LeafKind, Uint8Array]>(deviceId, kindOf(isLeafKind), carried);
const down = tuple<readonly [string, LeafDownKind, Uint8Array]>(
  deviceId,
  kindOf(isLeafDownKind),
  carried,
);

export function isLeafKind(kind: string): kind is LeafKind {
  return isUpKind(kind) && kind !== 'relay';
}

export function isLeafDownKind(kind: string): kind is LeafDownKind {
  return isDownKind(kind) && kind !== 'relay-down';
}

/** The payload of a `relay` envelope. */
export function encodeRelay({ leaf, kind, envelope }: Relayed<LeafKind>): Uint8Array {
  return encode([leaf, kind, envelope]);
}

/** @throws {ProtocolError} ERR_CBOR_… or ERR_MESSAGE_MALFORMED. */
export function decodeRelay(payload: Uint8Array): Relayed<LeafKind> {
  const [leaf, kind, envelope] = up(decode(payload, SHAPE), '');
  return { leaf, kind, envelope };
}

/** A `relay-down` message, which has no signature around the one inside. */
export function encodeRelayDown({ leaf, kind, envelope }: Relayed<LeafDownKind>): Uint8Array {
  return encode([leaf, kind, envelope]);
}

/** @throws {ProtocolError} ERR_CBOR_… or ERR_MESSAGE_MALFORMED. */
export function decodeRelayDown(message: Uint8Array): Relayed<LeafDownKind> {
  const [leaf, kind, envelope] = down(decode(message, SHAPE), '');
  return { leaf, kind, envelope };
}

function kindOf<Kind extends string>(isOne: (kind: string) => kind is Kind): Decoder<Kind> {
  return (value: CborValue, path) => {
    if (typeof value === 'string' && isOne(value)) return value;
    throw new ProtocolError('ERR_MESSAGE_MALFORMED', `${path}: expected a kind that a leaf has`);
  };
}
