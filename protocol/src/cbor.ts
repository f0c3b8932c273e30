/**
 * CBOR (RFC 8949), core deterministic encoding (section 4.2.1): the entry of the codec.
 *
 * `cbor-values.ts` maps the data model to JavaScript, `cbor-encode.ts` writes on top of `cbor-writer.ts`,
 * `cbor-decode.ts` reads on top of `cbor-cursor.ts`, `cbor-diagnose.ts` shows.
 */

export { CborCursor, INDEFINITE } from './cbor-cursor.ts';
export { type DecodeOptions, decode, decodeItem } from './cbor-decode.ts';
export { diagnose } from './cbor-diagnose.ts';
export { encode } from './cbor-encode.ts';
export { type CborMap, type CborValue, Float, Simple, Tagged } from './cbor-values.ts';
export { CborWriter } from './cbor-writer.ts';
