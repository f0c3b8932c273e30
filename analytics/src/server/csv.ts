/**
 * CSV (RFC 4180) that a spreadsheet can open without running anything.
 *
 * Text that begins like a formula gets an apostrophe in front, as OWASP's "CSV injection" page says;
 * numbers are written as they are, so that a negative value stays a number.
 */

export type CsvCell = string | number | boolean | null | undefined;

/** What a spreadsheet may take for the beginning of a formula. */
const FORMULA = /^[\s]*[=+\-@\t\r\uFF0B\uFF0D\uFF1D\uFF20]/;
const NEEDS_QUOTES = /[",\r\n]/;
const ROWS_PER_CHUNK = 2000;

/** One line with its CRLF. */
export function csvLine(cells: readonly CsvCell[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`;
}

/** The document in pieces of some thousand lines, header first. */
export function* csvChunks(
  header: readonly string[],
  rows: Iterable<readonly CsvCell[]>,
): Generator<string> {
  let chunk = csvLine(header);
  let count = 0;
  for (const row of rows) {
    chunk += csvLine(row);
    if (++count % ROWS_PER_CHUNK === 0) {
      yield chunk;
      chunk = '';
    }
  }
  if (chunk !== '') yield chunk;
}

function csvCell(cell: CsvCell): string {
  if (cell === null || cell === undefined) return '';
  if (typeof cell !== 'string') return String(cell);
  const safe = FORMULA.test(cell) ? `'${cell}` : cell;
  return NEEDS_QUOTES.test(safe) || safe !== cell ? `"${safe.replaceAll('"', '""')}"` : safe;
}
