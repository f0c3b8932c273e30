/**
 * The Ed25519 cosignature of a witness on a checkpoint (C2SP tlog-cosignature, version 1): the
 * message it signs and the bytes that carry it. Left out: the ML-DSA-44 type.
 */
import { ProtocolError } from './errors.ts';

const TIMESTAMP_BYTES = 8;
const SIGNATURE_BYTES = 64;

/** A cosignature taken apart; `timestamp` is Unix seconds. */
export interface Cosignature {
  readonly timestamp: number;
  readonly signature: Uint8Array;
}

/**
 * The message that a witness signs.
 *
 * @param text - the note text of the checkpoint, with its last newline.
 * @param timestamp - Unix seconds, when the witness saw the checkpoint.
 * @throws {ProtocolError} ERR_ARGUMENT unless the timestamp is a whole number from 0 below 2^53.
 */
export function cosignatureMessage(text: string, timestamp: number): Uint8Array {
  checkTimestamp(timestamp);
  return new TextEncoder().encode(`cosignature/v1\ntime ${timestamp}\n${text}`);
}

/** timestamped_signature: the timestamp as a big-endian uint64, then the 64 bytes of Ed25519. */
export function encodeCosignature({ timestamp, signature }: Cosignature): Uint8Array {
  checkTimestamp(timestamp);
  if (signature.length !== SIGNATURE_BYTES) {
    throw new ProtocolError(
      'ERR_ARGUMENT',
      `signature: expected ${SIGNATURE_BYTES} bytes, got ${signature.length}`,
    );
  }
  const bytes = new Uint8Array(TIMESTAMP_BYTES + SIGNATURE_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(timestamp));
  bytes.set(signature, TIMESTAMP_BYTES);
  return bytes;
}

/** Reads a timestamped_signature, or returns undefined: wrong length, or a time from 2^53 on. */
export function decodeCosignature(bytes: Uint8Array): Cosignature | undefined {
  if (bytes.length !== TIMESTAMP_BYTES + SIGNATURE_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const timestamp = Number(view.getBigUint64(0));
  if (!Number.isSafeInteger(timestamp)) return undefined;
  return { timestamp, signature: bytes.slice(TIMESTAMP_BYTES) };
}

function checkTimestamp(timestamp: number): void {
  if (Number.isSafeInteger(timestamp) && timestamp >= 0) return;
  throw new ProtocolError('ERR_ARGUMENT', `timestamp: expected Unix seconds, got ${timestamp}`);
}
