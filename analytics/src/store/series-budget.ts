/**
 * Keeps a body of lines from creating more series than a store may hold.
 *
 * A device that invents names costs memory for ever. Series are recognised by their raw bytes; a line
 * with the same prefix as the line before costs one comparison. Lines of known series always pass.
 */
import { LineReader } from '../line-reader.ts';

export interface Admission {
  /** The lines that may be written: the body itself when nothing was held back. */
  readonly body: Uint8Array;
  /** Lines held back. */
  readonly refused: number;
  /** Series key of the first of them. */
  readonly firstRefused: string | undefined;
}

/** Which series exist, up to a number of them. */
export class SeriesBudget {
  readonly #maxSeries: number;
  readonly #known: Set<string>;

  /** @param known - escaped series keys (`measurement,tag=value`) that exist already. */
  constructor(maxSeries: number, known: Iterable<string>) {
    this.#maxSeries = maxSeries;
    this.#known = new Set(known);
  }

  /** Splits `body`; new series are counted as existing from here on. */
  admit(body: Uint8Array): Admission {
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const kept: Uint8Array[] = [];
    let keptFrom = 0;
    let refused = 0;
    let firstRefused: string | undefined;
    let previousStart = 0;
    let previousEnd = 0;
    for (const [start, end] of bytes.includes(QUOTE) ? readLines(bytes) : splitLines(bytes)) {
      const length = previousEnd - previousStart;
      const head = Math.min(start + length, end);
      if (length > 0 && bytes.compare(bytes, previousStart, previousEnd, start, head) === 0)
        continue;
      const seriesEnd = endOfSeries(bytes, start, end);
      const key = bytes.toString('utf8', start, seriesEnd);
      if (this.#isAdmitted(key)) {
        previousStart = start;
        // With the space behind it, so that no longer name can match.
        previousEnd = Math.min(seriesEnd + 1, end);
        continue;
      }
      refused++;
      firstRefused ??= key;
      kept.push(bytes.subarray(keptFrom, start));
      keptFrom = end;
      previousEnd = previousStart;
    }
    if (refused === 0) return { body, refused, firstRefused };
    kept.push(bytes.subarray(keptFrom));
    return { body: Buffer.concat(kept), refused, firstRefused };
  }

  #isAdmitted(key: string): boolean {
    if (this.#known.has(key) || key === '' || key.startsWith('#')) return true;
    if (this.#known.size >= this.#maxSeries) return false;
    this.#known.add(key);
    return true;
  }
}

const [NEWLINE, SPACE, QUOTE, BACKSLASH] = [10, 32, 34, 92];

/** Offsets of lines, newline included, where no quote can hide a newline. */
function* splitLines(bytes: Buffer): Generator<readonly [number, number]> {
  let start = 0;
  while (start < bytes.length) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? bytes.length : newline + 1;
    yield [start, end];
    start = end;
  }
}

/** Offsets of lines where string fields may hold newlines. */
function* readLines(bytes: Buffer): Generator<readonly [number, number]> {
  const reader = new LineReader(bytes);
  while (reader.next()) {
    if (reader.error === undefined) yield [reader.seriesStart, reader.offset];
  }
}

function endOfSeries(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && bytes[at] !== SPACE && bytes[at] !== NEWLINE) {
    at += bytes[at] === BACKSLASH ? 2 : 1;
  }
  return Math.min(at, end);
}
