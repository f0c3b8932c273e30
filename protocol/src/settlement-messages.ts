/** Receipts and rejects: what the broker answers. docs/spec/settlement.md sections 3 and 4. */

import { decode } from './cbor.ts';
import { BOOT_SEED_BYTES } from './envelope.ts';
import {
  array,
  bool,
  bytes,
  type Decoded,
  integer,
  nullable,
  optional,
  record,
  text,
  tuple,
  uint,
} from './fields.ts';
import { encodeMessage } from './messages.ts';

export const MAX_OPEN_BOOTS = 32;
export const MAX_RECEIPT_RANGES = 32;
export const MAX_RECEIPT_REJECTS = 256;

const bootCounter = uint(0xffff_ffff);
const bootSeed = bytes(BOOT_SEED_BYTES);
const hash = bytes(32);
const code = text(64, /^ERR_[A-Z0-9_]+$/);

const receipt = record({
  at: uint(),
  boots: array(
    tuple(
      bootCounter,
      bootSeed,
      integer,
      array(tuple(uint(), uint()), MAX_RECEIPT_RANGES),
      array(tuple(uint(), code), MAX_RECEIPT_REJECTS),
    ),
    MAX_OPEN_BOOTS,
  ),
  entry: tuple(uint(), hash),
  heads: array(tuple(uint(), uint(), hash), 256),
  checkpoint: nullable(text(16_384)),
});

const reject = record({
  digest: hash,
  boot: nullable(tuple(bootCounter, bootSeed)),
  seq: nullable(uint()),
  code,
  remedy: text(512),
  permanent: bool,
  retryAfterMs: optional(uint()),
});

export type Receipt = Decoded<typeof receipt>;
/** [bootCounter, bootSeed, settledThrough (−1: none), ranges, rejected] */
export type ReceiptBoot = Receipt['boots'][number];
export type Reject = Decoded<typeof reject>;

/** @throws {ProtocolError} ERR_CBOR_… or ERR_MESSAGE_MALFORMED. */
export function decodeReceipt(payload: Uint8Array): Receipt {
  return receipt(decode(payload), '');
}

export function encodeReceipt(message: Receipt): Uint8Array {
  return encodeMessage(message);
}

/** @throws {ProtocolError} ERR_CBOR_… or ERR_MESSAGE_MALFORMED. */
export function decodeReject(payload: Uint8Array): Reject {
  return reject(decode(payload), '');
}

export function encodeReject(message: Reject): Uint8Array {
  return encodeMessage(message);
}
