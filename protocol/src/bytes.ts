/**
 * Byte strings: comparison, concatenation, hex, base64url and UTF-8.
 *
 * Everything here refuses what it cannot represent exactly; nothing repairs its input. Runs in browsers.
 * Leaves out padded, standard base64, which only signed notes use (`base64.ts`).
 */

import { ProtocolError } from './errors.ts';

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const BASE64URL_VALUES = new Int8Array(128).fill(-1);
for (let i = 0; i < 64; i++) BASE64URL_VALUES[BASE64URL.charCodeAt(i)] = i;

// ignoreBOM keeps a leading U+FEFF: text must come back exactly as it was signed.
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const utf8Encoder = new TextEncoder();
const LONE_SURROGATE = /\p{Surrogate}/u;

/** The given byte strings, one after the other, in a new array. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Whether both hold the same bytes. Not constant-time: for public values only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Bytewise lexicographic order (RFC 8949 section 4.2.1): negative, zero or positive. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/**
 * As `compareBytes` for the ranges a..aEnd and b..bEnd of one array, without making views: it orders map keys in
 * the codec's inner loops, hence five positional arguments.
 */
export function compareRanges(
  bytes: Uint8Array,
  a: number,
  aEnd: number,
  b: number,
  bEnd: number,
): number {
  let i = a;
  let j = b;
  while (i < aEnd && j < bEnd) {
    const difference = bytes[i++]! - bytes[j++]!;
    if (difference !== 0) return difference;
  }
  return aEnd - i - (bEnd - j);
}

/** Lower-case hexadecimal, two digits a byte. */
export function toHex(bytes: Uint8Array): string {
  let hex = '';
  for (const byte of bytes) hex += HEX[byte]!;
  return hex;
}

/**
 * Bytes of hexadecimal text, either case.
 *
 * @throws {ProtocolError} ERR_ARGUMENT on an odd length or another character.
 */
export function fromHex(hex: string): Uint8Array {
  if (hex.length % 2 !== 0) {
    throw new ProtocolError('ERR_ARGUMENT', `hex: expected an even length, got ${hex.length}`);
  }
  const bad = /[^0-9a-fA-F]/.exec(hex);
  if (bad) {
    throw new ProtocolError('ERR_ARGUMENT', `hex: expected 0-9a-f at position ${bad.index}`);
  }
  const out = new Uint8Array(hex.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}

/** base64url without padding (RFC 4648 section 5). */
export function toBase64url(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const group = (bytes[i]! << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text += BASE64URL[group >> 18]! + BASE64URL[(group >> 12) & 63]!;
    if (left > 1) text += BASE64URL[(group >> 6) & 63]!;
    if (left > 2) text += BASE64URL[group & 63]!;
  }
  return text;
}

/**
 * Bytes of unpadded base64url text. One text per byte string: padding, white space, the standard alphabet and
 * non-zero leftover bits (RFC 4648 section 3.5) are refused.
 *
 * @throws {ProtocolError} ERR_ARGUMENT.
 */
export function fromBase64url(text: string): Uint8Array {
  const tail = text.length % 4;
  if (tail === 1) {
    throw new ProtocolError('ERR_ARGUMENT', `base64url: ${text.length} characters is no length`);
  }
  const out = new Uint8Array(Math.floor((text.length * 3) / 4));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const value = code < 128 ? BASE64URL_VALUES[code]! : -1;
    if (value < 0) {
      throw new ProtocolError('ERR_ARGUMENT', `base64url: expected A-Za-z0-9-_ at position ${i}`);
    }
    held = ((held << 6) | value) & 0xffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = (held >> bits) & 0xff;
    }
  }
  if ((held & ((1 << bits) - 1)) !== 0) {
    throw new ProtocolError('ERR_ARGUMENT', 'base64url: expected zero bits after the last byte');
  }
  return out;
}

/**
 * UTF-8 bytes of a text.
 *
 * @throws {ProtocolError} ERR_ARGUMENT on a lone surrogate, which has no UTF-8 form.
 */
export function encodeUtf8(text: string): Uint8Array {
  if (LONE_SURROGATE.test(text)) {
    throw new ProtocolError('ERR_ARGUMENT', 'text: expected Unicode, got a lone surrogate');
  }
  return utf8Encoder.encode(text);
}

/**
 * The text of UTF-8 bytes, byte order mark included. Overlong forms, surrogates and truncation are refused.
 *
 * @throws {ProtocolError} ERR_ARGUMENT on invalid UTF-8 (RFC 3629).
 */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8Decoder.decode(bytes);
  } catch (cause) {
    throw new ProtocolError('ERR_ARGUMENT', 'text: expected valid UTF-8', { cause });
  }
}
