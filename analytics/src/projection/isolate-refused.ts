/**
 * Finds the lines of a body that a store refuses for good, where the store does not say which they are: parts are sent
 * until the refused ones are alone. Writing a line twice is idempotent.
 *
 * Where a field's type is refused, the line's fields are sent one by one, so that a metric that changed its type takes
 * no other metric of its instant along.
 */
import type { AnalyticsError } from '../errors.ts';
import { LineReader } from '../line-reader.ts';

/** Requests spent on one body to find its refused lines; then the rest of it counts as refused with them. */
const MAX_REQUESTS = 400;
const [NEWLINE, SPACE] = [10, 32];

/** Lines, and where each begins: a newline may be part of a text. */
export interface LineBody {
  readonly bytes: Uint8Array;
  readonly starts: readonly number[];
}

export interface Isolation {
  /** Sends some lines, however often it takes; what it gives is a refusal for good. */
  readonly attempt: (lines: Uint8Array) => Promise<AnalyticsError | undefined>;
  /** Sets refused lines aside. */
  readonly keep: (lines: Uint8Array, error: AnalyticsError) => Promise<void>;
}

/**
 * Stores every line of a body that can be stored.
 *
 * @returns how many lines were refused, in whole or in part, and the first reason.
 */
export async function storeLines(
  body: LineBody,
  { attempt, keep }: Isolation,
): Promise<{ readonly refused: number; readonly error?: AnalyticsError }> {
  let left = MAX_REQUESTS;
  let refused = 0;
  let first: AnalyticsError | undefined;

  const refuse = async (lines: Uint8Array, error: AnalyticsError, count: number) => {
    await keep(lines, error);
    refused += count;
    first ??= error;
  };
  const fieldByField = async (line: Uint8Array): Promise<boolean> => {
    const fields = fieldsOf(line);
    if (fields.length < 2 || left < fields.length) return false;
    left -= fields.length;
    let isRefused = false;
    for (const field of fields) {
      const error = await attempt(field);
      if (error === undefined) continue;
      await refuse(field, error, isRefused ? 0 : 1);
      isRefused = true;
    }
    return true;
  };
  const store = async (from: number, to: number): Promise<void> => {
    const lines = body.bytes.subarray(body.starts[from], body.starts[to] ?? body.bytes.length);
    const error = await attempt(lines);
    if (error === undefined) return;
    if (to - from === 1) {
      if (error.code === 'ERR_STORE_FIELD_TYPE' && (await fieldByField(lines))) return;
      return refuse(lines, error, 1);
    }
    left -= 2;
    if (left < 0) return refuse(lines, error, to - from);
    const middle = (from + to) >> 1;
    await store(from, middle);
    await store(middle, to);
  };

  await store(0, body.starts.length);
  return first === undefined ? { refused } : { refused, error: first };
}

/** A line for each field of one line; none where it cannot be read. */
function fieldsOf(line: Uint8Array): Uint8Array[] {
  const reader = new LineReader(line);
  if (!reader.next() || reader.error !== undefined || reader.offset < line.length) return [];
  const { seriesStart, seriesEnd, keyStarts, fieldCount } = reader;
  // The last space stands before the time: texts end with a quote before it.
  const fieldsEnd = line.lastIndexOf(SPACE);
  const series = line.subarray(seriesStart, seriesEnd);
  const time = line.subarray(fieldsEnd, line.lastIndexOf(NEWLINE) + 1);
  return Array.from({ length: fieldCount }, (_, i) => {
    const end = i + 1 < fieldCount ? keyStarts[i + 1]! - 1 : fieldsEnd;
    return Buffer.concat([series, Uint8Array.of(SPACE), line.subarray(keyStarts[i], end), time]);
  });
}
