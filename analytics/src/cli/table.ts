/** Text tables for terminals: aligned columns, numbers to the right, nothing that a terminal obeys. */

export type Cell = string | number | boolean | null;

const CONTROL = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** `text` with control and invisible characters written out: a device's name must not steer a terminal. */
export function printable(text: string): string {
  return text.replaceAll(CONTROL, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/**
 * The table with a header line; null is a dash. No trailing spaces.
 *
 * @param options.right - names of further columns that go to the right, as numbers do.
 */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly Cell[])[],
  options: { readonly right?: readonly string[] } = {},
): string {
  const texts = rows.map((row) => row.map((cell) => (cell === null ? '-' : printable(`${cell}`))));
  const widths = header.map((name, i) =>
    texts.reduce((width, row) => Math.max(width, row[i]?.length ?? 0), name.length),
  );
  const right = header.map(
    (name, i) =>
      options.right?.includes(name) ||
      (rows.some((row) => typeof row[i] === 'number') &&
        rows.every((row) => row[i] === null || typeof row[i] === 'number')),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  return `${[header, ...texts].map(line).join('\n')}\n`;
}

/** "12 s", "3 min", "5 h", "2 d": how long ago. */
export function ageText(ageMs: number): string {
  const seconds = Math.max(0, Math.floor(ageMs / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
