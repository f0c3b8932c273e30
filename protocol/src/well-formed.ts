/** Texts as CBOR and JSON take them: cutting one at a number of characters can leave half of one behind. */

/** The text with U+FFFD in place of each lone surrogate. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\u{fffd}');
}

/** At most `max` UTF-16 units, the last of them `…` where the text is longer; well-formed. */
export function cutText(text: string, max: number): string {
  return wellFormed(text.length > max ? `${text.slice(0, max - 1)}…` : text);
}
