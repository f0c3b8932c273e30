/** Reads a CSV file row by row (RFC 4180) with bounded memory: one record and one read buffer. */

import { createReadStream } from 'node:fs';

/** Longest record: protects from a file that is no CSV. */
const MAX_RECORD_CHARS = 65_536;
const READ_BYTES = 16_384;

/**
 * The records of a file as lists of fields, the header included. Empty lines are skipped.
 *
 * @param separator - one character.
 * @throws {Error} when the file cannot be read or a record is longer than 65,536 characters.
 */
export async function* csvRows(path: string, separator: string): AsyncGenerator<string[]> {
  const stream = createReadStream(path, { encoding: 'utf8', highWaterMark: READ_BYTES });
  let fields: string[] = [];
  let field = '';
  let size = 0;
  let quoted = false;
  let afterQuote = false;
  let first = true;
  try {
    for await (const chunk of stream as AsyncIterable<string>) {
      for (const char of first ? chunk.replace(/^\uFEFF/, '') : chunk) {
        first = false;
        size += 1;
        if (size > MAX_RECORD_CHARS) {
          throw new Error(`${path}: expected records of at most ${MAX_RECORD_CHARS} characters`);
        }
        if (quoted) {
          if (char === '"') {
            quoted = false;
            afterQuote = true;
          } else field += char;
          continue;
        }
        if (char === '"' && (field === '' || afterQuote)) {
          // A doubled quote inside a quoted field is one quote.
          if (afterQuote) field += '"';
          quoted = true;
          afterQuote = false;
          continue;
        }
        afterQuote = false;
        if (char === separator) {
          fields.push(field);
          field = '';
        } else if (char === '\n') {
          fields.push(field.endsWith('\r') ? field.slice(0, -1) : field);
          if (fields.length > 1 || fields[0] !== '') yield fields;
          fields = [];
          field = '';
          size = 0;
        } else field += char;
      }
    }
  } finally {
    stream.destroy();
  }
  if (field !== '' || fields.length > 0) yield [...fields, field];
}
