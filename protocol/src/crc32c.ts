/**
 * CRC-32C (Castagnoli), the checksum of log frames. RFC 3720 section 12.1 and appendix B.4.
 *
 * Reflected polynomial 0x82f63b78, initial value and final complement 0xffffffff. Eight bytes a step by
 * eight tables ("slicing by 8").
 */

const POLYNOMIAL = 0x82f63b78;

/** tables[k * 256 + b] is the remainder of byte b followed by k zero bytes. */
const TABLES = buildTables();

/**
 * The CRC-32C of a part of a byte string.
 *
 * @param start - first byte, default 0.
 * @param end - byte after the last, default the length.
 * @returns an unsigned 32-bit integer.
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  return extendCrc32c(0, bytes.subarray(start, end));
}

/**
 * The CRC-32C of a byte string of which a beginning has been summed already.
 *
 * @param crc - what {@link crc32c} or this function gave for the bytes before.
 */
export function extendCrc32c(crc: number, bytes: Uint8Array): number {
  const t = TABLES;
  let c = ~crc;
  let at = 0;
  for (const last = bytes.length - 8; at <= last; at += 8) {
    c ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    c =
      t[0x700 + (c & 0xff)]! ^
      t[0x600 + ((c >>> 8) & 0xff)]! ^
      t[0x500 + ((c >>> 16) & 0xff)]! ^
      t[0x400 + (c >>> 24)]! ^
      t[0x300 + bytes[at + 4]!]! ^
      t[0x200 + bytes[at + 5]!]! ^
      t[0x100 + bytes[at + 6]!]! ^
      t[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at += 1) c = t[(c ^ bytes[at]!) & 0xff]! ^ (c >>> 8);
  return ~c >>> 0;
}

function buildTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let c = byte;
    for (let bit = 0; bit < 8; bit += 1) c = (c >>> 1) ^ (c & 1 ? POLYNOMIAL : 0);
    tables[byte] = c;
  }
  for (let i = 256; i < tables.length; i += 1) {
    const c = tables[i - 256]!;
    tables[i] = (c >>> 8) ^ tables[c & 0xff]!;
  }
  return tables;
}
