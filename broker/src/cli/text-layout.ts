/** Tables and paragraphs that fit a terminal. Pure. What comes from devices and owners loses its control characters. */

import { plainLine } from '../plain-text.ts';

const GAP = '  ';
const WIDE =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\uff01-\uff60]/u;

export interface Column<Row> {
  readonly title: string;
  readonly of: (row: Row) => string;
  /** May be cut to as little as this where the terminal is narrow. */
  readonly min?: number;
}

/** Columns of a terminal that a text takes. */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) {
    if (/\p{M}|\u200d/u.test(character)) continue;
    width += WIDE.test(character) ? 2 : 1;
  }
  return width;
}

/** A text of at most a width, cut with an ellipsis. */
export function cut(text: string, width: number): string {
  return widthOf(text) <= width ? text : `${headOf(text, width - 1)}…`;
}

/** As many whole characters as there is room for. */
function headOf(text: string, width: number): string {
  let kept = '';
  let used = 0;
  for (const character of text) {
    used += widthOf(character);
    if (used > width) break;
    kept += character;
  }
  return kept;
}

/** One line each, titles first; columns with a `min` give way, the widest first. */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  width: number,
): string {
  const cells = rows.map((row) => columns.map(({ of }) => plainLine(of(row))));
  const widths = columns.map(({ title }, i) =>
    Math.max(widthOf(title), ...cells.map((line) => widthOf(line[i]!))),
  );
  const room = width - GAP.length * (columns.length - 1);
  const canShrink = (i: number) => widths[i]! > (columns[i]!.min ?? Number.POSITIVE_INFINITY);
  while (widths.reduce((sum, one) => sum + one, 0) > room) {
    const flexible = widths.map((_, i) => i).filter(canShrink);
    if (flexible.length === 0) break;
    const widest = flexible.reduce((a, b) => (widths[b]! > widths[a]! ? b : a));
    widths[widest]! -= 1;
  }
  const line = (texts: readonly string[]) =>
    texts
      .map((text, i) => pad(cut(text, widths[i]!), widths[i]!))
      .join(GAP)
      .trimEnd();
  return [line(columns.map(({ title }) => title)), ...cells.map(line)].join('\n');
}

/** Labels on the left and values on the right, broken at spaces where they are long. */
export function formatFields(
  fields: readonly (readonly [label: string, value: string])[],
  width: number,
): string {
  const labels = Math.max(...fields.map(([label]) => widthOf(label)));
  const room = Math.max(20, width - labels - GAP.length);
  return fields
    .flatMap(([label, value]) =>
      value
        .split('\n')
        .flatMap((line) => wrap(plainLine(line), room))
        .map((line, i) => `${pad(i === 0 ? label : '', labels)}${GAP}${line}`.trimEnd()),
    )
    .join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (widthOf(longer) <= width) {
      line = longer;
      continue;
    }
    if (line !== '') lines.push(line);
    line = word;
    while (widthOf(line) > width) {
      const head = headOf(line, width);
      lines.push(head);
      line = line.slice(head.length);
    }
  }
  return [...lines, line];
}

function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)));
}
