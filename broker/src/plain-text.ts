/**
 * Text of strangers where people read it: no control characters, which move a terminal's cursor, and nothing that turns
 * the order of letters round or breaks a line unseen. What enters is refused for them, what is shown loses them. Pure.
 */

/** Of the bidirectional ones those that embed, override and isolate; the marks are part of ordinary Arabic and Hebrew. */
const UNSEEN = '\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}\\u202a-\\u202e\\u2066-\\u2069';
const LINE = new RegExp(`^[^${UNSEEN}]*$`, 'u');
/** Of control characters, those that a text of several lines needs. */
const LINES = new RegExp(`^(?:[^${UNSEEN}]|[\\n\\t])*$`, 'u');
const RUN = new RegExp(`[${UNSEEN}]+`, 'gu');
const EACH = new RegExp(`[${UNSEEN}]`, 'gu');

/** Whether a text is one line that shows all that is in it. */
export function isPlainLine(text: string): boolean {
  return LINE.test(text);
}

/** The same of a text of several lines. */
export function isPlainText(text: string): boolean {
  return LINES.test(text);
}

/** A text of one line that cannot move the cursor. */
export function plainLine(text: string): string {
  return text.replace(RUN, ' ');
}

/** The same of several lines. */
export function plainLines(text: string): string {
  return text.split('\n').map(plainLine).join('\n');
}

/** JSON whose strings show nothing to a terminal but what can be seen; it says the same. */
export function plainJson(json: string): string {
  return json.replace(EACH, (character) => {
    // Between the strings of JSON there are no others.
    if (character === '\n') return character;
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
