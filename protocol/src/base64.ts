/** Base64 of RFC 4648 section 4: padded, one spelling for every byte string. Runs anywhere. */

/** Encodes bytes, with padding. */
export function encodeBase64(bytes: Uint8Array): string {
  let characters = '';
  for (const byte of bytes) characters += String.fromCharCode(byte);
  return btoa(characters);
}

/**
 * Decodes base64, or returns undefined unless it is exactly what {@link encodeBase64} writes: no white
 * space, padding in place, unused bits zero.
 */
export function decodeBase64(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  const characters = atob(text);
  // Unused bits that are not zero would let one signature have several spellings.
  if (btoa(characters) !== text) return undefined;
  return Uint8Array.from(characters, (character) => character.charCodeAt(0));
}
