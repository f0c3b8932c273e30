/**
 * base58btc, the alphabet of Bitcoin without a checksum (draft-msporny-base58), for keys and identifiers.
 *
 * Time grows with the square of the length, so both directions take short inputs only.
 */

import { ProtocolError } from './errors.ts';

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
const VALUES = new Int8Array(128).fill(-1);
for (let i = 0; i < 58; i++) VALUES[ALPHABET.charCodeAt(i)] = i;

/** Longest input of either direction, in bytes and in characters. Protects from quadratic time. */
const MAX_LENGTH = 256;

/**
 * The base58btc text of a byte string. Each leading zero byte is a leading `1`.
 *
 * @throws {ProtocolError} ERR_ARGUMENT above 256 bytes.
 */
export function encodeBase58(bytes: Uint8Array): string {
  checkLength(bytes.length, 'bytes');
  let zeros = 0;
  while (zeros < bytes.length && bytes[zeros] === 0) zeros++;
  const digits: number[] = [];
  for (let i = zeros; i < bytes.length; i++) {
    let carry = bytes[i]!;
    for (let j = 0; j < digits.length; j++) {
      carry += digits[j]! * 256;
      digits[j] = carry % 58;
      carry = (carry / 58) | 0;
    }
    for (; carry > 0; carry = (carry / 58) | 0) digits.push(carry % 58);
  }
  let text = '1'.repeat(zeros);
  for (let j = digits.length - 1; j >= 0; j--) text += ALPHABET[digits[j]!]!;
  return text;
}

/**
 * The bytes of a base58btc text; every text without foreign characters is the one text of its bytes.
 *
 * @throws {ProtocolError} ERR_ARGUMENT on another character, or above 256 characters.
 */
export function decodeBase58(text: string): Uint8Array {
  checkLength(text.length, 'characters');
  let zeros = 0;
  while (zeros < text.length && text[zeros] === '1') zeros++;
  const digits: number[] = [];
  for (let i = zeros; i < text.length; i++) {
    const code = text.charCodeAt(i);
    let carry = code < 128 ? VALUES[code]! : -1;
    if (carry < 0) {
      throw new ProtocolError('ERR_ARGUMENT', `base58: no such character at position ${i}`);
    }
    for (let j = 0; j < digits.length; j++) {
      carry += digits[j]! * 58;
      digits[j] = carry & 0xff;
      carry >>= 8;
    }
    for (; carry > 0; carry >>= 8) digits.push(carry & 0xff);
  }
  const bytes = new Uint8Array(zeros + digits.length);
  for (let j = 0; j < digits.length; j++) bytes[zeros + j] = digits[digits.length - 1 - j]!;
  return bytes;
}

function checkLength(length: number, unit: string): void {
  if (length <= MAX_LENGTH) return;
  throw new ProtocolError(
    'ERR_ARGUMENT',
    `base58: expected at most ${MAX_LENGTH} ${unit}, got ${length}`,
  );
}
